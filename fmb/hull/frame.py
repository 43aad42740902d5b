"""The canonical frame of a capture: cameras and silhouettes alone tell where the object is and how large."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from fmb.geometry.frames import SCALE_PER_DEVIATION, Frame
from fmb.geometry.views import Views
from fmb.hull.votes import Volume, cast_votes, hull, hull_box, object_pixels, sighted_frame

GRID = 64  # voxels on an edge of the box around the hull
SMOOTHING = 1.0  # voxels; standard deviation of the Gaussian whose slope measures the area


def frame_from_views(views: Views) -> Frame:
    """Frame of the views' visual hull, in the input's unit.

    It is what `fmb.geometry.frames.canonical_frame` gives for the surface of the hull. Space outside an image counts as
    unknown, not as empty, and a voxel is removed only by more views than `fmb.hull.votes` forgives, so damaged masks
    and objects cut by the border matter little. Views that show no object count only if most show none.
    Raises ValueError for fewer than 2 views that show the object and for silhouettes that have no volume in common.
    """
    return framed_hull(views, GRID)[0]


def framed_hull(views: Views, grid: int) -> tuple[Frame, Volume]:
    """The canonical frame, and in it the hull it comes from. Raises ValueError as `frame_from_views` does."""
    sighted = sighted_frame(views)
    seen = views._replace(cameras=sighted.cameras_to_canonical(views.cameras))
    volume = hull(cast_votes(seen, hull_box(seen), grid))
    if not volume.occupied.any():
        empty = np.count_nonzero(~np.any(object_pixels(views), axis=(1, 2)))
        check = "check the cameras" + (f" and the masks, of which {empty} are empty" if empty else "")
        raise ValueError(f"the silhouettes of {len(views.silhouette)} views have no volume in common; {check}")
    inner = surface_frame(volume)
    frame = Frame(sighted.to_world(inner.centre), np.asarray(sighted.scale * inner.scale))
    box = volume.box._replace(lower=inner.to_canonical(volume.box.lower), edge=float(volume.box.edge / inner.scale))
    return frame, volume._replace(box=box)


def surface_frame(volume: Volume) -> Frame:
    """Centroid and scale of the surface of the occupied voxels, weighted by area.

    The area in a voxel is the length of the gradient of the smoothed occupancy (coarea formula). Unlike a count of
    faces it does not depend on the direction of the surface.
    """
    padded = np.pad(volume.occupied.astype(float), 4)
    area = ndimage.gaussian_gradient_magnitude(padded, SMOOTHING, mode="constant")
    ticks = np.arange(len(padded)) - 4 + 0.5
    centre, deviation = np.empty(3), np.empty(3)
    for axis in range(3):
        share = area.sum(axis=tuple({0, 1, 2} - {axis})) / area.sum()
        centre[axis] = share @ ticks
        # the filter itself has widened the surface by SMOOTHING
        deviation[axis] = np.sqrt(max(share @ (ticks - centre[axis]) ** 2 - SMOOTHING**2, 0.0))
    voxel = volume.box.edge / len(volume.occupied)
    return Frame(volume.box.lower + voxel * centre, np.asarray(SCALE_PER_DEVIATION * voxel * deviation.mean()))


def hull_points(volume: Volume, count: int, generator: np.random.Generator) -> Float[np.ndarray, "count 3"]:
    """Points uniform in the occupied voxels, in the frame of the volume's box."""
    voxels = np.argwhere(volume.occupied)
    chosen = voxels[generator.integers(len(voxels), size=count)]
    return volume.box.lower + volume.box.edge / len(volume.occupied) * (chosen + generator.random((count, 3)))
