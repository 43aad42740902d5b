"""How well a fit agrees with each of its views, and which views it should believe less than the others."""

import numpy as np
from jaxtyping import Bool, Float

from fmb.sampling import BAND, outline_band

FEWEST_VIEWS = 5  # of fewer nobody can say which one is wrong
DEVIATION = 1.4826  # of a normal distribution, in units of its median absolute deviation
FAR = 5.0  # robust standard deviations above the median up to which a view is believed
LEAST_FACTOR, LEAST_PIXELS = 1.5, 0.3  # and at least so many times the median and so much more: some views are harder
STEEPNESS = 4  # power at which the weight falls beyond: at twice the bound it is 1/16


def outline_length(
    silhouette: Float[np.ndarray, "view height width"], valid: Bool[np.ndarray, "view height width"]
) -> Float[np.ndarray, " view"]:
    """Length of the outlines of each view in pixels, roughly; at least 1."""
    return np.maximum((outline_band(silhouette, valid) & valid).sum((1, 2)) / (2 * BAND), 1.0)


def outline_error(
    alpha: Float[np.ndarray, "view height width"],
    silhouette: Float[np.ndarray, "view height width"],
    believed: Bool[np.ndarray, "view height width"],
    length: Float[np.ndarray, " view"],
) -> Float[np.ndarray, " view"]:
    """How far the outlines of each view are off in the mean, in pixels: wrong pixels per length of outline."""
    wrong = ((alpha >= 0.5) != (silhouette >= 0.5)) & believed
    return wrong.sum((1, 2)) / length


def view_iou(
    alpha: Float[np.ndarray, "view height width"],
    silhouette: Float[np.ndarray, "view height width"],
    believed: Bool[np.ndarray, "view height width"],
) -> Float[np.ndarray, " view"]:
    """Intersection over union of each view, over what is believed of it; 1 if both are empty."""
    rendered, observed = ((x >= 0.5) & believed for x in (alpha, silhouette))
    common, union = (rendered & observed).sum((1, 2)), (rendered | observed).sum((1, 2))
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def view_weight(error: Float[np.ndarray, " view"]) -> Float[np.ndarray, " view"]:
    """1 for views whose error is like the others', less for those far beyond: what outvotes them does not average out.

    The bound is FAR robust standard deviations above the median, but not near it. No view of fewer than FEWEST_VIEWS
    loses weight.
    """
    if len(error) < FEWEST_VIEWS:
        return np.ones(len(error))
    middle = np.median(error)
    spread = DEVIATION * np.median(np.abs(error - middle))
    bound = max(middle + FAR * spread, LEAST_FACTOR * middle + LEAST_PIXELS)
    return np.minimum(1.0, bound / np.maximum(error, bound)) ** STEEPNESS
