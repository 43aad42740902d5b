"""A cloud that a surface can be fitted to: what it must have, and its frame."""

import numpy as np
from jaxtyping import Float

from fmb.geometry.frames import Frame, box_frame

FEWEST_POINTS = 100
THINNEST = 1e-6  # of the longest side: a cloud that is thinner lies in a plane, up to rounding


def frame_of_cloud(points: Float[np.ndarray, "point 3"], name: str) -> Frame:
    """The frame in which the cloud's box has its middle at 0 and a longest side of 1.

    Raises ValueError that begins with `name` for points from which no closed surface follows.
    """
    bad = np.count_nonzero(~np.isfinite(points).all(axis=1))
    if bad:
        raise ValueError(f"{name}: {bad} of {len(points)} points are not finite")
    places = len(np.unique(points, axis=0))
    if 1 < places < FEWEST_POINTS or len(points) < FEWEST_POINTS:
        found = f"{len(points)} points" + f" at {places} places" * (1 < places < len(points))
        raise ValueError(f"{name}: {found}; at least {FEWEST_POINTS} are needed")
    with np.errstate(over="ignore"):
        frame = box_frame(points)
    if not 0.0 < float(frame.scale) < np.inf:
        raise ValueError(f"{name}: all {len(points)} points are {'equal' if not frame.scale else 'too far apart'}")
    inside = frame.to_canonical(points)
    spread = np.linalg.svd(inside - inside.mean(axis=0), compute_uv=False) / np.sqrt(len(points))
    if spread[2] < THINNEST:
        words = "on a line" if spread[1] < THINNEST else "in a plane"
        raise ValueError(f"{name}: all {len(points)} points lie {words}; no closed surface follows from them")
    return frame
