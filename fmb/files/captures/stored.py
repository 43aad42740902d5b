"""A data set whose views stay on disk: looked through once, then read by their numbers, a few at a time."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from fmb.files.captures.assembly import DEPTH, INVERSION, Capture, Planned, Told, described
from fmb.files.captures.filling import (
    Layout,
    cameras_of,
    depths_left,
    layout_of,
    masks_left,
    read_views,
    shown_in,
    without_lost,
)
from fmb.files.captures.planes import Plan
from fmb.files.captures.read import reading
from fmb.files.captures.verdicts import Facts, are_inverted, facts_of, together
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views, check_views

BLOCK_PIXELS = 2**22  # of views that are looked through together: 20 MB of masks
LEAST_BLOCK = 4  # views, so that all decoders have something to do

Census = Callable[[Views], Any]  # views to arrays with an entry for each view


class Stored(NamedTuple):
    """What a Capture holds but the views, and how these are read."""

    planned: Planned
    plans: tuple[Plan, ...]
    layout: Layout
    every_pixel: bool  # whether all pixels of all views say something
    names: tuple[str, ...]
    held_out: Bool[np.ndarray, " view"]
    points: Float[np.ndarray, "point 3"] | None
    notices: tuple[str, ...]
    facts: Facts

    @property
    def cameras(self) -> Cameras:
        """Of all views."""
        return cameras_of(self.plans)

    def read(self, index: Int[np.ndarray, " view"]) -> Views:
        """The views of those numbers, in that order: masks, and depths where they are needed.

        Raises ValueError for a file that could be read before and cannot now.
        """
        layout = self.layout._replace(colored=False, deep=self.layout.deep and DEPTH in self.planned.needed)
        plans = [self.plans[number] for number in index]
        with reading(self.planned.folder):
            views, lost = read_views(plans, layout)
        masks_whole(lost)
        return views._replace(valid=None) if self.every_pixel else views

    def capture(self, index: Int[np.ndarray, " view"]) -> Capture:
        """The views of those numbers in memory, as `read_capture` gives them, with their colours."""
        plans = [self.plans[number] for number in index]
        with warnings.catch_warnings(action="ignore"), reading(self.planned.folder):
            views, lost = read_views(plans, self.layout)
        masks_whole(lost)
        views, _, unread = without_lost(views, lost, plans)
        views = views._replace(valid=None) if self.every_pixel else views
        names = tuple(self.names[number] for number in index)
        _, known = depths_left(lost, plans)  # told of all views already
        notices = (*self.notices, *(line for line in unread if line not in known))
        return Capture(views, names, self.held_out[index], self.points, notices, self.planned.kind)


def masks_whole(lost: list) -> None:
    """Raises ValueError for the first mask that could not be read."""
    for parts in lost:
        if parts.mask:
            raise ValueError(parts.mask)


class Part(NamedTuple):
    """What was found in a block of views."""

    lost: list
    facts: Facts
    every_pixel: Bool[np.ndarray, " view"]
    counted: Any


def stored(
    planned: Planned, census: Census, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Stored, Any]:
    """The data set after all its views were looked through once, in memory that does not grow with their number.

    Also what the census gives, for all views that are left.
    Raises ValueError as `read_capture` does, but for no number of pixels.
    """
    with warnings.catch_warnings(action="ignore"), reading(planned.folder):
        layout, numbers = layout_of(planned.plans, DEPTH in planned.needed)
        colored, layout, background = layout.colored, layout._replace(colored=False), []
        parts = list(looked_through(planned, layout, census, on_progress))
        lost = [one for part in parts for one in part.lost]
        kept, unread = masks_left(lost)
        if are_inverted(facts_in(parts, kept)):
            layout, background = layout._replace(inverted=True), [INVERSION.format(len(kept))]
            parts = list(looked_through(planned, layout, census, on_progress))
    plans, facts = [planned.plans[number] for number in kept], facts_in(parts, kept)
    deep, lines = depths_left([lost[number] for number in kept], plans)
    counted = jax.tree.map(lambda *fields: np.concatenate(fields)[kept], *(part.counted for part in parts))
    every_pixel = bool(np.concatenate([part.every_pixel for part in parts])[kept].all())
    kinds = [name for name, there in (("color", colored), ("depth", deep > 0)) if there]
    names, held_out, points, notices = described(
        planned, plans, facts, Told(background, [*unread, *lines, *numbers], kinds)
    )
    layout = layout._replace(colored=colored, deep=deep > 0)
    return Stored(planned, tuple(plans), layout, every_pixel, names, held_out, points, notices, facts), counted


def facts_in(parts: list[Part], kept: Int[np.ndarray, " view"]) -> Facts:
    """The facts of those views."""
    return Facts(*(field[kept] for field in together([part.facts for part in parts])))


def looked_through(
    planned: Planned, layout: Layout, census: Census, on_progress: Callable[[int, int], None]
) -> Iterator[Part]:
    """Block after block of the views, none of which is kept."""
    count = len(planned.plans)
    size = max(LEAST_BLOCK, BLOCK_PIXELS // (layout.size[0] * layout.size[1]))
    for first in range(0, count, size):
        plans = planned.plans[first : first + size]
        views, lost = read_views(plans, layout)
        check_views(views, str(planned.folder))
        facts = facts_of(views.silhouette, shown_in(plans, layout.size))
        yield Part(lost, facts, views.valid.all(axis=(1, 2)), census(views))
        on_progress(first + len(plans), count)
