"""One image of an object for the search of a pose: checked, in units of the object's scale, in fewer pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from fm_render import Mixture
from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.views import FOREGROUND, foreground
from fmb.pose.occlusion import hidden_pixels
from fmb.pose.residuals import Pose, Sight

FRONT = 0.05  # scales: depths in a pooled pixel that are further behind its nearest belong to something else
UNIT_FACTOR = 30.0  # a unit is taken for wrong if the seen size and the model's differ by more than this factor
LEAST_DISTANCE, MOST_DISTANCE = 0.05, 200.0  # scales; allowed where no mask tells the size
NEAR = 8  # pixels around the mask that still count
OFF_CENTRE = 0.26  # of both sides of the image; a principal point below it belongs to an image half the size
RIGID = 1e-3  # largest deviation of a start from a rigid motion


class Observation(NamedTuple):
    """One image of the object, lengths in the mixture's unit; None: not observed."""

    intrinsics: Float[ANY_ARRAY, "3 3"]
    depth: Float[ANY_ARRAY, "height width"] | None = None  # along the optical axis; NaN or <= 0: nothing measured
    silhouette: Float[ANY_ARRAY, "height width"] | None = None  # share of the pixel that the object covers, 0 to 1
    valid: Bool[ANY_ARRAY, "height width"] | None = None  # False: the pixel says nothing; None: all count


class ObservedPixels(NamedTuple):
    """Images of directions of unit depth, depth in scales, silhouette, and the weights of both."""

    direction: Float[ANY_ARRAY, "3 height width"]
    depth: Float[ANY_ARRAY, "height width"]
    silhouette: Float[ANY_ARRAY, "height width"]
    mask_weight: Float[ANY_ARRAY, "height width"]
    depth_weight: Float[ANY_ARRAY, "height width"]


def observed_pixels(observation: Observation, scale: float, evidence: str = "both") -> ObservedPixels:
    """The observation in units of `scale`; `evidence` ("depth", "mask" or "both") tells what counts.

    Depth counts where it was measured and, if there is a silhouette, on the object. The silhouette counts but where
    the depth shows something that stands before the object.
    """
    shape = image_size(observation)
    column, row = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    matrix = np.asarray(observation.intrinsics, float)
    y = (row - matrix[1, 2]) / matrix[1, 1]
    x = (column - matrix[0, 2] - matrix[0, 1] * y) / matrix[0, 0]
    valid = np.ones(shape, bool) if observation.valid is None else np.asarray(observation.valid, bool)
    depth = np.zeros(shape) if observation.depth is None else np.nan_to_num(np.asarray(observation.depth, float))
    silhouette = np.zeros(shape) if observation.silhouette is None else np.asarray(observation.silhouette, float)
    masked = valid & (observation.silhouette is not None)
    measured = valid & (depth > 0) & np.isfinite(depth)
    if observation.silhouette is not None:
        masked &= ~hidden_pixels(np.where(valid, depth, 0), silhouette, scale)
        measured &= foreground(silhouette)
    return ObservedPixels(
        np.stack([x, y, np.ones(shape)]),
        np.where(measured, depth, 0) / scale,
        np.where(masked, silhouette, 0),
        (masked & (evidence != "depth")).astype(float),
        (measured & (evidence != "mask")).astype(float),
    )


def image_size(observation: Observation) -> tuple[int, int]:
    """(height, width). Raises ValueError where nothing was observed."""
    image = observation.depth if observation.silhouette is None else observation.silhouette
    if image is None:
        raise ValueError("observation: neither depth nor silhouette")
    return tuple(image.shape)


def nothing_seen(observation: Observation) -> bool:
    """Whether no valid pixel shows the object: the mask is empty, or no depth was measured on it."""
    image_size(observation)
    seen = np.True_ if observation.valid is None else np.asarray(observation.valid, bool)
    if observation.silhouette is not None:
        seen = seen & foreground(np.asarray(observation.silhouette, float))
        if not np.any(seen):
            return True
    if observation.depth is None:
        return False
    depth = np.asarray(observation.depth, float)
    return not np.any(seen & np.isfinite(depth) & (depth > 0))


def pooled(pixels: ObservedPixels, factor: int, most: int | None = None) -> Sight:
    """Rays through the middles of blocks of `factor` x `factor` pixels, mean masks, and mean points of the front.

    Blocks that reach beyond the image count by their part inside. With `most`, at most so many rays near the mask and
    so many points are chosen evenly; their weights stand for the others.
    """
    height, width = (-(-side // factor) for side in pixels.depth.shape)
    pixels = jax.tree.map(lambda image: _blocks(jnp.asarray(image), factor), pixels)
    depth = jnp.where(pixels.depth_weight > 0, pixels.depth, jnp.inf)
    front = pixels.depth_weight * (depth <= depth.min(-1, keepdims=True) + FRONT)
    point = _mean(pixels.direction * pixels.depth[None], front[None])
    direction = _mean(pixels.direction, (pixels.direction[2:] > 0).astype(point.dtype))
    silhouette = _mean(pixels.silhouette, pixels.mask_weight)
    mask_weight, depth_weight = pixels.mask_weight.mean(-1), pixels.depth_weight.mean(-1)
    number = jnp.arange(height * width)
    if most is None or most >= height * width:
        return Sight(direction, silhouette, mask_weight, number, point, depth_weight, number)
    near = (silhouette * mask_weight > 0).astype(point.dtype).reshape(height, width)
    for window in ((2 * NEAR + 1, 1), (1, 2 * NEAR + 1)):
        near = jax.lax.reduce_window(near, jnp.zeros((), near.dtype), jax.lax.max, window, (1, 1), "SAME")
    ray, mask_weight = _chosen(mask_weight * near.reshape(-1), most)
    index, depth_weight = _chosen(depth_weight, most)
    return Sight(direction[:, ray], silhouette[ray], mask_weight, ray, point[:, index], depth_weight, index)


def _chosen(weight: Array, most: int) -> tuple[Array, Array]:
    """Indices of `most` pixels of positive weight, evenly chosen, and weights with which they stand for all."""
    counted = jnp.cumsum(weight > 0)
    share = jnp.maximum(counted[-1] / most, 1)
    wanted = jnp.floor(jnp.arange(most) * share).astype(counted.dtype) + 1
    index = jnp.minimum(jnp.searchsorted(counted, wanted), weight.size - 1)
    return index, jnp.where(wanted <= counted[-1], share * weight[index], 0).astype(weight.dtype)


def _blocks(image: Array, factor: int) -> Array:
    """[..., height, width] as [..., block, pixel of the block], filled up with zeros."""
    *lead, height, width = image.shape
    rows, columns = -(-height // factor), -(-width // factor)
    margin = [(0, 0)] * len(lead) + [(0, rows * factor - height), (0, columns * factor - width)]
    image = jnp.pad(image, margin).reshape(*lead, rows, factor, columns, factor)
    return image.swapaxes(-3, -2).reshape(*lead, rows * columns, factor * factor)


def _mean(value: Array, weight: Array) -> Array:
    total = weight.sum(-1)
    return (value * weight).sum(-1) / jnp.where(total > 0, total, 1)


def check_observation(name: str, observation: Observation, scale: float) -> Observation:
    """The same observation, after a check of shapes, values and units for an object of size `scale`.

    Raises ValueError that begins with `name`, the file or option that it comes from.
    """
    shape = image_size(observation)
    for field in ("depth", "silhouette", "valid"):
        image = getattr(observation, field)
        if image is not None and (len(shape) != 2 or image.shape != shape or 0 in shape):
            raise ValueError(
                f"{name}: {field} of shape {image.shape}; all images must be (height, width), none of it 0"
            )
    _check_intrinsics(name, np.asarray(observation.intrinsics, float), shape)
    valid = np.ones(shape, bool) if observation.valid is None else np.asarray(observation.valid, bool)
    seen = valid
    if observation.silhouette is not None:
        silhouette = np.asarray(observation.silhouette, float)
        if not np.all((silhouette >= 0) & (silhouette <= 1)):
            raise ValueError(f"{name}: silhouette must lie between 0 and 1")
        seen = valid & foreground(silhouette)
        if not seen.any():
            raise ValueError(f"{name}: the mask is empty: no valid pixel of the silhouette reaches {FOREGROUND}")
    if observation.depth is not None:
        depth = np.asarray(observation.depth, float)
        measured = valid & np.isfinite(depth) & (depth > 0)
        if not measured.any():
            raise ValueError(f"{name}: no valid pixel has a depth above 0")
        if not (measured & seen).any():
            raise ValueError(f"{name}: no pixel of the mask has a depth")
        area = float(seen.sum()) if observation.silhouette is not None else None
        _check_unit(name, float(np.median(depth[measured & seen])), area, observation.intrinsics, scale)
    return observation


def _check_intrinsics(name: str, matrix: np.ndarray, shape: tuple[int, int]) -> None:
    if matrix.shape != (3, 3) or not np.all(np.isfinite(matrix)) or not np.all(np.diag(matrix)[:2] > 0):
        raise ValueError(f"{name}: intrinsics must be a finite 3 x 3 matrix of positive focal lengths")
    size = np.array([shape[1], shape[0]], float)
    share = matrix[:2, 2] / size
    if np.any(share <= 0) or np.any(share >= 1) or np.all(share <= OFF_CENTRE):
        point = f"({matrix[0, 2]:g}, {matrix[1, 2]:g})"
        pixels = f"{shape[1]} x {shape[0]} pixels"
        raise ValueError(f"{name}: principal point {point} in an image of {pixels}: intrinsics of another size?")


def _check_unit(name: str, depth: float, area: float | None, intrinsics: ANY_ARRAY, scale: float) -> None:
    ratio = depth / scale
    if area is None:
        low, high = LEAST_DISTANCE, MOST_DISTANCE
    else:
        apparent = np.sqrt(area) / np.sqrt(float(intrinsics[0, 0]) * float(intrinsics[1, 1]))
        low, high = 1 / (UNIT_FACTOR * apparent), UNIT_FACTOR / apparent
    if not low <= ratio <= high:
        unit = "millimetres?" if ratio > high else "metres, and a model in millimetres?"
        raise ValueError(f"{name}: median depth is {ratio:,.3g} times the model's size: {unit}")


def check_start(name: str, start: Float[ANY_ARRAY, "4 4"], mixture: Mixture, observation: Observation) -> np.ndarray:
    """The start, world_from_camera, after a check: it is rigid, and the middle of some component is in the image.

    Raises ValueError that begins with `name`.
    """
    start = np.asarray(start, float)
    turn = start[:3, :3]
    rigid = np.all(np.isfinite(start)) and np.allclose(start[3], [0, 0, 0, 1], atol=RIGID)
    if not rigid or not np.allclose(turn @ turn.T, np.eye(3), atol=RIGID) or np.linalg.det(turn) < 0:
        raise ValueError(f"{name}: not a rigid motion: 4 x 4, its upper left a rotation, its last row 0 0 0 1")
    place = (np.asarray(mixture.mean, float) - start[None, :3, 3]) @ turn
    x, y, depth = np.asarray(observation.intrinsics, float) @ place.T
    height, width = image_size(observation)
    inside = (depth > 0) & (x > 0) & (x < width * depth) & (y > 0) & (y < height * depth)
    if not inside.any():
        raise ValueError(f"{name}: nothing of the object is in the image from there")
    return start


def canonical(mixture: Mixture, middle: Float[np.ndarray, "3"], scale: float) -> Mixture:
    """The mixture about `middle` in units of `scale`."""
    mean = (np.asarray(mixture.mean, float) - middle[None]) / scale
    return Mixture(mean, np.asarray(mixture.precision_cholesky, float) * scale, mixture.log_weight)


def pose_of(world_from_camera: Float[np.ndarray, "4 4"], middle: Float[np.ndarray, "3"], scale: float) -> Pose:
    """The canonical object's pose in the camera."""
    rotation = world_from_camera[:3, :3].T
    return Pose(rotation, rotation @ (middle - world_from_camera[:3, 3]) / scale)


def camera_of(pose: Pose, middle: Float[np.ndarray, "3"], scale: float) -> Float[np.ndarray, "*pose 4 4"]:
    """world_from_camera of canonical poses, the inverse of `pose_of`; rotations are made exact, NaN stays NaN."""
    rotation = np.asarray(pose.rotation, float)
    finite = np.isfinite(rotation).all((-2, -1), keepdims=True)
    left, _, right = np.linalg.svd(np.where(finite, rotation, 0.0))
    turn = np.where(finite, np.swapaxes(left @ right, -1, -2), np.nan)
    camera = np.zeros((*turn.shape[:-2], 4, 4))
    camera[..., :3, :3], camera[..., 3, 3] = turn, 1
    camera[..., :3, 3] = middle - scale * np.einsum("...ij,...j->...i", turn, np.asarray(pose.translation, float))
    return camera
