"""The visual hull as a template: a mesh with the hull's topology and thin parts, and the planes it is nearest to."""

import numpy as np
import trimesh
from scipy.ndimage import gaussian_filter

from fmb.fields.body_symmetry import BLUR, Body, nodes, refined_on_body
from fmb.fields.contour import Grid, contour, tidy
from fmb.fields.metaballs import decimate
from fmb.geometry.symmetry import Plane, plane_symmetry
from fmb.hull.votes import Volume

PADDING = 8  # empty voxels around the hull, which the blur of a body needs
ROUNDING = 0.6  # voxels: deviation of the Gaussian that takes the steps from the hull
THIN = 0.4  # of that Gaussian's values, on the surface: below a half, so that parts one voxel thin stay
EVERY = 3  # voxels between those of the blurred hull that are compared
SMALLEST = 0.05  # share of the volume, below which a piece is left out


GRID = 80  # voxels on an edge


def hull_solid(volume: Volume, faces: int) -> tuple[trimesh.Trimesh, list[Plane]]:
    """The hull's surface with about so many triangles, and planes that it is most like its images at, best first.

    Both in the frame of the volume's box, in which the object's scale is 1. Raises ValueError as `decimate`.
    """
    side = volume.box.edge / len(volume.occupied)
    inside = np.pad(volume.occupied.astype(float), PADDING)
    origin = volume.box.lower + side * (0.5 - PADDING)
    surface = contour(Grid(THIN - gaussian_filter(inside, ROUNDING), origin, side))
    points = origin + side * np.argwhere(inside > 0.5)
    coarse = gaussian_filter(inside, BLUR / side)[::EVERY, ::EVERY, ::EVERY]
    body = Body(coarse, nodes(coarse.shape, origin, EVERY * side), origin, EVERY * side, 1.0)
    axes = np.linalg.eigh(np.cov(points.T))[1].T
    found = [refined_on_body(body, plane_symmetry(axis, float(axis @ points.mean(axis=0)))) for axis in axes]
    found.sort(key=lambda one: -one.score)
    return decimate(tidy(surface, SMALLEST), faces), [one.symmetry.planes[0] for one in found]
