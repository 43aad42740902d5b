"""What the steps of a fit see: points of the cloud, points near it and everywhere, and points of the surface."""

from typing import NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.sample import sample_surface

from fmb.clouds.enclosure import Enclosure, certain_places
from fmb.clouds.methods import Batch

SPREAD_NEIGHBOUR, SPREAD_SHARE = 50, 0.2  # local samples spread by this share of the distance to that neighbour
DOMAIN = 0.8  # half the side of the cube that holds all samples; the cloud's box has half a longest side of 0.5
EVERYWHERE = 8  # one sample everywhere to so many local ones
PLACES = 4  # one certain place to so many points
CANDIDATES = 4  # neighbours in the cloud of each point of the surface, of which each step takes the nearest


class Target(NamedTuple):
    """A normalised cloud: its points, how far local samples spread from each, and a tree that finds neighbours."""

    points: Float[np.ndarray, "point 3"]
    spread: Float[np.ndarray, " point"]
    tree: cKDTree
    enclosure: Enclosure | None  # None: nothing is said of inside and outside
    normal: Float[np.ndarray, "point 3"] | None  # outward, 0 where unknown; None: none are used


def make_target(
    points: Float[np.ndarray, "point 3"],
    body: Enclosure | None = None,
    normal: Float[np.ndarray, "point 3"] | None = None,
) -> Target:
    """The target of a normalised cloud, with what it encloses and its outward normals if these are wanted."""
    tree = cKDTree(points)
    distance = tree.query(points, min(SPREAD_NEIGHBOUR + 1, len(points)), workers=-1)[0][:, -1]
    return Target(points, SPREAD_SHARE * distance, tree, body, normal)


def draw_batches(
    target: Target,
    surface: trimesh.Trimesh | None,
    needs: tuple[str, ...],
    size: tuple[int, int],
    generator: np.random.Generator,
) -> Batch:
    """Batches for `size` = (steps, points a step), stacked; `surface` is the field's, where the method needs it."""
    steps, count = size
    rows = generator.integers(len(target.points), size=size)
    local = target.points[rows] + target.spread[rows][..., None] * generator.normal(size=(*size, 3))
    everywhere = generator.uniform(-DOMAIN, DOMAIN, (steps, max(1, count // EVERYWHERE), 3))
    nothing = np.zeros((steps, 0, 3))
    nearest, on_surface, near = nothing, nothing, np.zeros((steps, 0, CANDIDATES, 3))
    if "nearest" in needs:
        nearest = target.points[target.tree.query(local, workers=-1)[1]]
    if "surface" in needs:
        # never two from one place in a step, so half as many tell as much
        on_surface = np.asarray(sample_surface(surface, steps * (count // 2), seed=generator)[0])
        on_surface = generator.permutation(on_surface).reshape(steps, -1, 3)
        near = target.points[target.tree.query(on_surface, CANDIDATES, workers=-1)[1]]
    place, depth = nothing, np.zeros((steps, 0))
    if "places" in needs and target.enclosure is not None:
        certain = certain_places(target.enclosure, steps * (count // PLACES), generator)
        place, depth = certain.place.reshape(steps, -1, 3), certain.depth.reshape(steps, -1)
    parts = {"points": target.points[rows], "local": local, "everywhere": everywhere}
    parts = {name: part if name in needs else nothing for name, part in parts.items()}
    normal = nothing if target.normal is None else target.normal[rows]
    return Batch(parts["points"], parts["local"], nearest, parts["everywhere"], on_surface, near, place, depth, normal)
