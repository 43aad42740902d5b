"""What the benchmarks render: mixtures fitted to the default mesh, seen by the default cameras.

So densities, and how many pixels are empty, full or on a rim, are those of use. Nothing depends on time or machine.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from scipy.spatial import cKDTree

from benchmarks.render.cases import Batch
from benchmarks.render.methods import Scene
from fm_render import Mixture, Rays
from fmb.fields.mixtures import fit_gmm
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras, pinhole_intrinsics, pixel_rays, random_cameras
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.interior import sample_interior
from fmb.geometry.rotations import matrix_from_rotation_vector, rigid_transform

MESH = Path(__file__).resolve().parents[2] / "data" / "ibex.ply"
SEED = 0
POINTS = 20_000
DISTANCE, FIELD_OF_VIEW = 3.0, 45.0  # the defaults of config.yaml
VIEWS, SIDE = 20, 64  # of a training set: 81,920 rays


def default_mesh() -> trimesh.Trimesh:
    """The ibex in the canonical frame."""
    mesh = read_mesh(MESH)
    return canonical_frame(mesh).mesh_to_canonical(mesh)


def fitted_mixture(mesh: trimesh.Trimesh, count: int) -> Mixture:
    """GMM of the volume, the start of every fit, in float32."""
    return single(fit_gmm(sample_interior(mesh, POINTS, np.random.default_rng(SEED)), count, SEED))


def scattered_mixture(mesh: trimesh.Trimesh, fitted: Mixture, count: int) -> Mixture:
    """`count` components in the volume, each as the nearest fitted one, only smaller: EM would take minutes."""
    mean = sample_interior(mesh, count, np.random.default_rng(SEED))
    _, nearest = cKDTree(np.asarray(fitted.mean)).query(mean)
    smaller = (count / len(fitted.mean)) ** (1 / 3)
    return single(Mixture(mean, smaller * fitted.precision_cholesky[nearest], fitted.log_weight[nearest]))


def image(mesh: trimesh.Trimesh, height: int, width: int) -> Batch:
    """One view, row by row."""
    return _seen(mesh, _cameras(1, height, width), (height, width))


def scene(mesh: trimesh.Trimesh, height: int, width: int) -> Scene:
    """The view of `image`, with its camera."""
    cameras, seen = _cameras(1, height, width), image(mesh, height, width)
    silhouette, depth = (x.reshape(1, height, width) for x in (seen.silhouette, seen.depth))
    return Scene(single(cameras), seen.rays, silhouette, depth)


def posed_rays(height: int, width: int, pose: Array) -> Rays:
    """Rays [ray, 3] of the camera of `image` turned and moved by `pose`, a rotation vector and a shift."""
    base = single(_cameras(1, height, width))
    turn = rigid_transform(matrix_from_rotation_vector(pose[None, :3]), pose[None, 3:])
    moved = jnp.einsum("vij,vjk->vik", base.world_from_camera, turn, precision="highest")
    return jax.tree.map(lambda x: x.reshape(-1, 3), pixel_rays(base._replace(world_from_camera=moved), height, width))


def training_rays(mesh: trimesh.Trimesh, count: int) -> Batch:
    """The first `count` of the shuffled rays of a training set, as a step of a fit takes them."""
    return shuffled(_seen(mesh, _cameras(VIEWS, SIDE, SIDE), (SIDE, SIDE)), count)


def shuffled(batch: Batch, count: int) -> Batch:
    """`count` of the rays in random order."""
    chosen = np.random.default_rng(SEED).permutation(len(batch.silhouette))[:count]
    return jax.tree.map(lambda x: x[chosen], batch)


def single(arrays):
    """The same in float32."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arrays)


def _cameras(count: int, height: int, width: int) -> Cameras:
    """Random ones, the first always the same; float64."""
    intrinsics = pinhole_intrinsics(height, width, FIELD_OF_VIEW)
    return random_cameras(np.random.default_rng(SEED), count, DISTANCE, intrinsics)


def _seen(mesh: trimesh.Trimesh, cameras: Cameras, image_size: tuple[int, int]) -> Batch:
    views = render_ground_truth(mesh, cameras, image_size, "raycast").views
    rays = jax.tree.map(lambda x: x.reshape(-1, 3), pixel_rays(cameras, *image_size))
    return single(Batch(rays, views.silhouette.ravel(), views.depth.ravel()))
