"""Handles of a level set that are thinner than its place is certain: they are cut through or filled.

Solids grow with the level: parts appear, join, close a ring, fill a hole. A ring that closes within `reach` below the
zero is not certain, nor is a hole that fills within `reach` above it (persistence of the first homology, Edelsbrunner
et al. 2002). The solid is grown node by node from the level -reach to 0, without the nodes that would close a ring
(topology-preserving growth, Han et al. 2003); the outside likewise from +reach.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import label

from fmb.fields.contour import Grid

SHELLS = 6  # levels between the certain solid and the zero, in each of which nodes may come in any order
STRIDES = (1, 2, 3)  # thirds of the reach: of cutting and filling the smaller change comes first
AROUND = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if (i, j, k) != (0, 0, 0)])
BESIDE = np.abs(AROUND[:, None] - AROUND[None]).max(axis=2) <= 1  # which of the 26 neighbours touch one another
HALF = 13
BIT = 2 ** np.arange(2 * HALF)
FULL = np.ones((3, 3, 3), bool)  # nodes touch across faces, edges and corners
Empty = Callable[[Float[np.ndarray, "node 3"]], Bool[np.ndarray, " node"]]  # which places are known to be outside


def without_thin_handles(grid: Grid, reach: float, least: float, empty: Empty | None = None) -> Grid:
    """The grid, with other signs at the nodes that close rings or holes within `reach` of the zero, in its unit.

    The grid must be exact between the levels -reach and reach, and positive on its border. Values that change sides
    become `least` at least, so that linear interpolation leaves a gap. Where `empty` is given, a ring is only cut
    through at nodes of which half or more are empty, and a hole only filled where fewer are.
    """
    value = grid.value
    if not any(ring_nodes(sign * value, reach).any() for sign in (1.0, -1.0)):
        return grid
    for stride in STRIDES:
        for sign in (1.0, -1.0):
            level = reach * stride / len(STRIDES)
            ring = ring_nodes(sign * value, level)
            if empty is not None:
                ring = supported(ring, grid, empty, cut=sign > 0.0)
            value = np.where(ring, sign * np.maximum(np.abs(value), least), value)
    return grid._replace(value=value)


def supported(ring: Bool[np.ndarray, "x y z"], grid: Grid, empty: Empty, cut: bool) -> Bool[np.ndarray, "x y z"]:
    """Of connected groups of nodes those of which half or more are empty (to be cut), or of which fewer are."""
    place, group = np.argwhere(ring), label(ring, FULL)[0]
    if not len(place):
        return ring
    number = group[tuple(place.T)]
    share = np.bincount(number, empty(grid.origin + grid.spacing * place)) / np.maximum(np.bincount(number), 1)
    kept = share >= 0.5 if cut else share < 0.5
    kept[0] = False  # nodes in no group
    return kept[group]


def ring_nodes(value: Float[np.ndarray, "x y z"], reach: float) -> Bool[np.ndarray, "x y z"]:
    """The nodes below 0 without which the solid below 0 has no ring that the solid below -reach lacks."""
    value = np.pad(value, 1, constant_values=np.inf)
    part, parts = label(value < -reach, FULL)
    growth, nodes = _Growth(part.reshape(-1), parts, value.shape), np.flatnonzero((value < 0.0) & (part == 0))
    flat, missing = value.reshape(-1), np.zeros(value.shape, bool)
    for level in -reach * (1.0 - np.arange(1, SHELLS + 1) / SHELLS):
        growth.grow(nodes[(flat[nodes] < level) & (growth.part[nodes] == 0)])
    missing.reshape(-1)[nodes[growth.part[nodes] == 0]] = True
    return missing[1:-1, 1:-1, 1:-1]


class _Growth:
    """A solid of numbered parts (0: outside), and which numbers belong together since parts have joined."""

    def __init__(self, part: Int[np.ndarray, " node"], parts: int, shape: tuple[int, ...]):
        self.part, self.joined, self.shape = part.copy(), list(range(parts + 1)), shape
        self.refused = np.zeros(len(part), np.int32)  # neighbours with which a node would have closed a ring
        self.around = np.ravel_multi_index(tuple((AROUND + 1).T), shape) - np.ravel_multi_index((1, 1, 1), shape)

    def grow(self, nodes: Int[np.ndarray, " node"]) -> None:
        """Adds the nodes in the solid's neighbourhood, except those that would close a ring, until none is left."""
        parity = np.stack(np.unravel_index(nodes, self.shape)).T % 2 @ (1, 2, 4)
        while True:
            before = len(nodes)
            for kind in range(8):  # nodes of one kind do not touch, so that none changes what another sees
                self._add(nodes[parity == kind])
            left = self.part[nodes] == 0
            nodes, parity = nodes[left], parity[left]
            if len(nodes) < before:
                continue
            if not self._begin(nodes):
                return

    def _add(self, nodes: Int[np.ndarray, " node"]) -> None:
        beside = self.part[nodes[:, None] + self.around]
        touched = beside.any(axis=1)
        nodes, beside = nodes[touched], beside[touched]
        pattern = (beside > 0) @ BIT
        other = pattern != self.refused[nodes]  # with the same neighbours it would close a ring again
        nodes, beside, pattern = nodes[other], beside[other], pattern[other]
        one = hang_together(beside > 0)
        self.part[nodes[one]] = beside[one].max(axis=1)
        for node, number, there in zip(nodes[~one], beside[~one], pattern[~one].tolist(), strict=True):
            roots = [self._root(int(number[own])) for own in one_of_each(there)]
            if len(set(roots)) < len(roots):
                self.refused[node] = there
                continue
            self.part[node] = roots[0]
            for root in roots[1:]:
                self.joined[root] = roots[0]

    def _begin(self, nodes: Int[np.ndarray, " node"]) -> bool:
        """Begins new parts with nodes that touch none; whether there was one."""
        alone = nodes[~self.part[nodes[:, None] + self.around].any(axis=1)]
        if not len(alone):
            return False
        self.joined.append(len(self.joined))
        self.part[alone[0]] = len(self.joined) - 1
        return True

    def _root(self, number: int) -> int:
        while self.joined[number] != number:
            number = self.joined[number]
        return number


def hang_together(there: Bool[np.ndarray, "node 26"]) -> Bool[np.ndarray, " node"]:
    """Whether the neighbours of each node hang together without it; bits of a number stand for them."""
    mask = there @ BIT
    found = mask & -mask
    while True:
        wider = (WIDER[0][found & (2**HALF - 1)] | WIDER[1][found >> HALF]) & mask
        if np.array_equal(wider, found):
            return found == mask
        found = wider


def groups(there: Bool[np.ndarray, "26"]) -> list[Int[np.ndarray, " neighbour"]]:
    """The groups in which the neighbours of a node hang together without it."""
    left, found = set(np.flatnonzero(there).tolist()), []
    while left:
        new = group = {left.pop()}
        while new:
            new = {other for one in new for other in left if BESIDE[one, other]}
            left, group = left - new, group | new
        found.append(np.array(sorted(group)))
    return found


@lru_cache(maxsize=2**18)  # nodes that may not be added are looked at again and again
def one_of_each(pattern: int) -> tuple[int, ...]:
    """A neighbour of each group in which those of a pattern, whose bits stand for them, hang together."""
    return tuple(int(own[0]) for own in groups(pattern & BIT > 0))


def _wider(neighbours: range) -> Int[np.ndarray, " pattern"]:
    """For each pattern of HALF neighbours those and all beside them."""
    pattern = np.arange(2**HALF)
    return np.bitwise_or.reduce([(pattern >> k & 1) * (BESIDE[n] @ BIT) for k, n in enumerate(neighbours)])


WIDER = _wider(range(HALF)), _wider(range(HALF, 2 * HALF))
