"""Shape and pose together: the mixture and its cameras from silhouettes whose cameras are only roughly known.

By turns: the mixture is fitted to the silhouettes as the cameras stand, then each camera to its own silhouette. What
silhouettes cannot tell, the world's origin, axes and unit, stays as it was on average.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fm_render import Mixture, product
from fmb.geometry.cameras import Cameras
from fmb.geometry.metrics import pose_error
from fmb.geometry.views import Views
from fmb.pose.estimate import image_equations
from fmb.pose.observation import Observation, ObservedPixels, camera_of, canonical, observed_pixels, pooled, pose_of
from fmb.pose.options import PoseOptions
from fmb.pose.residuals import NormalEquations, Pose
from fmb.pose.search import descend
from fmb.pose.stages import Stage
from fmb.shape.recipe import ShapeFit, ShapeProgram, fit_to_views

CAMERA_STEPS = 9  # trials of each camera a round
STAGE = Stage(1, 1, CAMERA_STEPS, 0.05, 0.03, 0.0)


@dataclass(frozen=True)
class JointOptions:
    """Rounds of shape, then cameras, after which a last fit of the shape follows; how well the cameras were known.

    `degrees` and `percent` (of the scale) are root mean squares of rotation about the camera and of its position.
    """

    rounds: int = 4
    degrees: float = 2.0
    percent: float = 2.0

    def check(self) -> None:
        """ValueError for a number out of range."""
        for name in ("rounds", "degrees", "percent"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be positive")


class JointFit(NamedTuple):
    """The last fit of the shape, the cameras it was made with, and how far each had moved after each round.

    `moved` is root mean square, in radians and in scales.
    """

    shape: ShapeFit
    cameras: Cameras
    moved: Float[np.ndarray, "round 2"]


def fit_shape_and_cameras(
    program: ShapeProgram,
    mixture: Mixture,
    views: Views,
    generator: np.random.Generator,
    options: JointOptions = JointOptions(),
    on_round: Callable[[int, Mixture, Cameras], None] = lambda number, mixture, cameras: None,
) -> JointFit:
    """Mixture and cameras for the silhouettes of `views`, in their frame, which is canonical.

    Each round begins with the mixture of the last. Raises ValueError for options that are not positive.
    """
    options.check()
    given = views.cameras._replace(world_from_camera=np.asarray(views.cameras.world_from_camera, float))
    cameras, moves, refine = given, [], compiled_refinement(mixture, views, options)
    for number in range(options.rounds):
        fit = fit_to_views(program, mixture, views._replace(cameras=cameras), generator)
        mixture = fit.mixture
        pose = aligned(refine(mixture, cameras, given), given.world_from_camera)
        cameras = cameras._replace(world_from_camera=pose)
        moves.append(mean_motion(pose, given.world_from_camera))
        on_round(number, mixture, cameras)
    fit = fit_to_views(program, mixture, views._replace(cameras=cameras), generator)
    return JointFit(fit, cameras, np.array(moves))


def compiled_refinement(
    mixture: Mixture, views: Views, options: JointOptions
) -> Callable[[Mixture, Cameras, Cameras], Float[np.ndarray, "view 4 4"]]:
    """The function of mixture, cameras and the given cameras that fits each camera to its own silhouette."""
    search, dtype = PoseOptions(evidence="mask", num_starts=0), mixture.mean.dtype
    images = []
    for view, matrix in enumerate(np.asarray(views.cameras.intrinsics)):
        valid = None if views.valid is None else np.asarray(views.valid[view])
        observation = Observation(matrix, None, np.asarray(views.silhouette[view]), valid)
        images.append(observed_pixels(observation, 1.0, "mask"))
    pixels = jax.tree.map(lambda *x: jnp.asarray(np.stack(x), dtype), *images)
    deviation = jnp.array([np.deg2rad(options.degrees), options.percent / 100], dtype) / math.sqrt(3)

    def one(mixture: Mixture, view: tuple[ObservedPixels, Pose, Pose]) -> Pose:
        image, pose, given = view
        sight = pooled(image, 1)

        def evaluate(pose: Pose) -> NormalEquations:
            seen = image_equations(search, STAGE, (mixture, mixture), sight, pose)
            return jax.tree.map(jnp.add, seen, prior(pose, given, deviation))

        return descend(evaluate, pose, CAMERA_STEPS)[0].pose

    run = jax.jit(lambda mixture, poses, given: jax.lax.map(lambda view: one(mixture, view), (pixels, poses, given)))

    def refine(mixture: Mixture, cameras: Cameras, given: Cameras) -> Float[np.ndarray, "view 4 4"]:
        middle = np.asarray(mixture.mean, float).mean(0)
        poses, wanted = (
            jax.tree.map(lambda *x: np.stack(x), *(pose_of(camera, middle, 1.0) for camera in np.asarray(x, float)))
            for x in (cameras.world_from_camera, given.world_from_camera)
        )
        inputs = canonical(mixture, middle, 1.0), poses, wanted
        found = run(*jax.tree.map(lambda x: jnp.asarray(x, dtype), inputs))
        return camera_of(jax.device_get(found), middle, 1.0)

    return refine


def prior(pose: Pose, given: Pose, deviation: Float[Array, "2"]) -> NormalEquations:
    """That the camera is near the given one: normal in its rotation about itself and in its position.

    A step (w, v) turns the camera by -w and moves it by w x t - v, in its own axes. The angle stands as its sine.
    """
    turn = product("ij,kj->ik", given.rotation, pose.rotation)  # given camera from camera
    sine = jnp.stack([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    shift = product("ij,kj,k->i", pose.rotation, given.rotation, given.translation) - pose.translation
    eye = jnp.eye(3, dtype=shift.dtype)
    lever = jnp.cross(eye, pose.translation[None]).T  # w x t
    slope = jnp.block([[-eye, jnp.zeros_like(eye)], [lever, -eye]]) / jnp.repeat(deviation, 3)[:, None]
    residual = jnp.concatenate([sine, shift]) / jnp.repeat(deviation, 3)
    loss = product("i,i->", residual, residual) / 2
    return NormalEquations(loss, product("ji,j->i", slope, residual), product("ji,jk->ik", slope, slope), loss[None])


def aligned(pose: Float[np.ndarray, "view 4 4"], reference: Float[np.ndarray, "view 4 4"]) -> np.ndarray:
    """The cameras after the one similarity of the world that brings them closest to the reference.

    Turned by the mean of the turns that each camera asks for, then scaled and moved by least squares of the positions.
    """
    turns = reference[:, :3, :3] @ pose[:, :3, :3].swapaxes(1, 2)
    turn = Rotation.from_matrix(turns).mean().as_matrix()
    position, wanted = pose[:, :3, 3] @ turn.T, reference[:, :3, 3]
    middle, target = position.mean(0), wanted.mean(0)
    spread = np.sum((position - middle) ** 2)
    factor = np.sum((position - middle) * (wanted - target)) / spread if spread > 0 else 1.0
    result = np.array(pose)
    result[:, :3, :3] = turn @ pose[:, :3, :3]
    result[:, :3, 3] = target + factor * (position - middle)
    return result


def mean_motion(pose: Float[np.ndarray, "view 4 4"], reference: Float[np.ndarray, "view 4 4"]) -> np.ndarray:
    """Root mean square of rotation [rad] and translation between cameras."""
    errors = [pose_error(*pair, 1.0) for pair in zip(pose, reference, strict=True)]
    degrees, percent = (
        np.array([getattr(e, name) for e in errors]) for name in ("rotation_degrees", "translation_percent")
    )
    return np.sqrt([np.mean(np.deg2rad(degrees) ** 2), np.mean((percent / 100) ** 2)])
