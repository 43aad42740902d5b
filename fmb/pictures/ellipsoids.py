"""Ellipsoids that show the components of a mixture, and colours that tell them apart."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.metaballs import HALF_OPAQUE

GOLDEN = 0.6180339887  # of a turn from one component's hue to the next: neighbours differ
SATURATION, BRIGHTNESS = 0.5, 0.95


class Ellipsoids(NamedTuple):
    """Ellipsoids of one standard deviation, and the factor at which the outline of each has alpha one half."""

    centre: Float[np.ndarray, "mixture 3"]
    rotation: Float[np.ndarray, "mixture 3 3"]  # columns are the axes, right-handed
    deviation: Float[np.ndarray, "mixture 3"]  # along each axis
    reach: Float[np.ndarray, " mixture"]  # 0: alpha reaches one half nowhere


class Ball(NamedTuple):
    """A ball that holds an object."""

    centre: Float[np.ndarray, "3"]
    radius: float


def component_ellipsoids(mixture: Mixture) -> Ellipsoids:
    """The ellipsoids of all components.

    On a ray that comes within d standard deviations of a mean, the component's density is exp(log_weight - d^2 / 2),
    so that alpha is one half at d = sqrt(2 (log_weight - log log 2)).
    """
    factor = np.asarray(mixture.precision_cholesky, float)
    precision, rotation = np.linalg.eigh(factor @ np.swapaxes(factor, 1, 2))
    rotation[..., 0] *= np.linalg.det(rotation)[:, None]
    reach = np.sqrt(2.0 * np.maximum(np.asarray(mixture.log_weight, float) - HALF_OPAQUE, 0.0))
    return Ellipsoids(np.asarray(mixture.mean, float), rotation, precision**-0.5, reach)


def enclosing_ball(mixture: Mixture) -> Ball:
    """A ball around the tips of all outlines (or, without any, of one deviation), about the middle of their box."""
    shapes = component_ellipsoids(mixture)
    size = np.where(shapes.reach > 0.0, shapes.reach, 1.0)[:, None] * shapes.deviation
    axis = size[:, None] * shapes.rotation  # to the six tips of each ellipsoid
    tips = np.concatenate([shapes.centre[:, :, None] + axis, shapes.centre[:, :, None] - axis], axis=-1)
    tips = np.swapaxes(tips, 1, 2).reshape(-1, 3)
    centre = 0.5 * (tips.min(axis=0) + tips.max(axis=0))
    return Ball(centre, float(np.linalg.norm(tips - centre, axis=1).max()))


def component_colors(count: int) -> Float[np.ndarray, "mixture 3"]:
    """A colour for each component, 0 to 1; components with near numbers have unlike colours."""
    from matplotlib.colors import hsv_to_rgb

    hue = GOLDEN * np.arange(count) % 1.0
    return hsv_to_rgb(np.stack([hue, np.full(count, SATURATION), np.full(count, BRIGHTNESS)], axis=-1))
