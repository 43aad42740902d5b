"""How good an encoder is on shapes that it has not seen: silhouettes, solids, cameras."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from fm_render import Cameras
from fmb.fields.metaballs import mesh_mixture
from fmb.fields.options import MeshOptions
from fmb.geometry.comparison import voxel_iou
from fmb.geometry.images import view_ious
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder
from fmb.single_view.prediction import (
    Looked,
    blobs_from,
    look_at_images,
    rank_cameras,
    render_numbers,
    shapes_seen_from,
)
from fmb.single_view.sights import BYTE, Collection, chosen, first_views

VOXEL_MESH = MeshOptions(mesh_resolution=64)


class Measured(NamedTuple):
    """What is known of each shape, from its first sight; NaN: not measured."""

    input_iou: Float[np.ndarray, " shape"]
    novel_iou: Float[np.ndarray, " shape"]  # mean over the views that the encoder does not see
    rotation_degrees: Float[np.ndarray, " shape"]  # of the camera that comes first
    best_rotation_degrees: Float[np.ndarray, " shape"]  # of the best of all hypotheses
    camera_iou: Float[np.ndarray, " shape"]  # of the silhouette from the camera that comes first
    voxel_iou: Float[np.ndarray, " shape"]


def looked_at(encoder: Encoder, layout: Layout, collection: Collection) -> Looked:
    """What the encoder says of the first sight of each shape."""
    inputs = chosen(collection.sights, first_views(collection))
    return look_at_images(encoder, layout, inputs.color / BYTE, np.asarray(inputs.silhouette))


def known_shapes(
    encoder: Encoder, layout: Layout, looked: Looked, collection: Collection
) -> Float[np.ndarray, "shape component number"]:
    """The numbers of each shape by the true camera of its first sight."""
    inputs = chosen(collection.sights, first_views(collection))
    cameras = Cameras(inputs.world_from_camera[:, None], inputs.intrinsics[:, None])
    return shapes_seen_from(encoder, layout, looked, cameras)[:, 0]


def evaluate(
    encoder: Encoder, layout: Layout, collection: Collection, truths: Mapping[int, trimesh.Trimesh] = {}
) -> Measured:
    """The measures of every shape; solids where there is the true mesh, by the number of the shape."""
    looked, first = looked_at(encoder, layout, collection), first_views(collection)
    shapes = known_shapes(encoder, layout, looked, collection)
    given, novel = silhouette_ious(encoder, layout, shapes, collection)
    rows = []
    for number, sight in enumerate(first):
        silhouette = np.asarray(collection.sights.silhouette[sight])
        ranked = rank_cameras(encoder, layout, looked, number, silhouette)
        degrees = turn_degrees(ranked.cameras.world_from_camera, collection.sights.world_from_camera[sight])
        rows.append((degrees[0], degrees.min(), ranked.iou[0]))
    turns = np.array(rows, float)
    solid = np.full(len(first), np.nan)
    for number, truth in truths.items():
        mesh = mesh_of(encoder, layout, shapes[number])
        solid[number] = 0.0 if mesh is None else voxel_iou(mesh, truth)
    return Measured(given, novel, *turns.T, solid)


def silhouette_ious(
    encoder: Encoder, layout: Layout, shapes: Float[np.ndarray, "shape component number"], collection: Collection
) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each shape by its true cameras, in the view that the encoder sees, and in the mean of all others."""
    sights, first = collection.sights, first_views(collection)
    numbers = shapes[np.asarray(sights.shape)]
    cameras = Cameras(*(np.asarray(x)[:, None] for x in (sights.world_from_camera, sights.intrinsics)))
    alpha = render_numbers(encoder, layout, numbers, cameras).alpha[:, 0]
    found = view_ious(alpha, np.asarray(sights.silhouette, float), np.asarray(sights.valid))
    count = np.bincount(sights.shape)
    others = np.bincount(sights.shape, found) - found[first]
    return found[first], others / (count - 1)


def mesh_of(encoder: Encoder, layout: Layout, numbers: Float[np.ndarray, "component number"]) -> trimesh.Trimesh | None:
    """The closed surface of a prediction; None where nothing of it is dense enough."""
    mixture = jax.tree.map(jnp.asarray, blobs_from(encoder, layout, numbers).mixture)
    try:
        return mesh_mixture(mixture, VOXEL_MESH).mesh
    except ValueError:
        return None


def turn_degrees(
    poses: Float[np.ndarray, "hypothesis 4 4"], truth: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, " hypothesis"]:
    """Angles between the turns of cameras and the true one."""
    turn = np.swapaxes(np.asarray(poses, float)[:, :3, :3], 1, 2) @ np.asarray(truth, float)[None, :3, :3]
    return np.rad2deg(Rotation.from_matrix(turn).magnitude())


def summary(
    measured: Measured, rows: Bool[np.ndarray, " shape"] | Int[np.ndarray, " row"] | None = None
) -> dict[str, Any]:
    """Means, of turns medians, of the shapes or of some of them."""
    some = measured if rows is None else Measured(*(field[rows] for field in measured))
    found = {name: float(np.mean(getattr(some, name))) for name in ("input_iou", "novel_iou", "camera_iou")}
    for name in ("rotation_degrees", "best_rotation_degrees"):
        found[name] = float(np.median(getattr(some, name)))
    if np.isfinite(some.voxel_iou).any():
        found["voxel_iou"] = float(np.nanmean(some.voxel_iou))
    return found
