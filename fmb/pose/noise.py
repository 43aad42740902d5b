"""How far depths of one image scatter: what they leave of a smooth surface over small windows.

Inverse depth of a plane is linear in the image, and of a smooth surface nearly quadratic. So a quadric is taken from
the inverse depths of each window that lies on the object; what is left is noise, steps of the disparity among it.
Errors that are alike over more than a window are not seen.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

WINDOWS_ACROSS = 6.0  # of an object as wide as the root of its pixels: longer errors bend its surface as a whole
LEAST_SIDE, MOST_SIDE = 5, 21  # pixels of a window; a quadric has six numbers
FEWEST_WINDOWS = 3


def depth_noise(depth: Float[np.ndarray, "height width"], seen: Bool[np.ndarray, "height width"]) -> float:
    """Standard deviation of the depths that are seen of one object, in their unit; the median over windows.

    0 where too few windows lie on the object to tell.
    """
    if not seen.any():
        return 0.0
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    depth, seen = depth[box], seen[box]
    side = int(np.clip(np.sqrt(seen.sum()) / WINDOWS_ACROSS, LEAST_SIDE, MOST_SIDE)) // 2 * 2 + 1
    if min(depth.shape) < side:
        return 0.0
    step = side // 3
    values, whole = (
        np.lib.stride_tricks.sliding_window_view(image, (side, side))[::step, ::step].reshape(-1, side * side)
        for image in (np.where(seen, depth, 1.0), seen)
    )
    values = values[whole.all(axis=1)]
    if len(values) < FEWEST_WINDOWS:
        return 0.0
    rest = (1.0 / values) @ beside_quadrics(side)
    spread = np.sqrt(np.sum(rest**2, axis=1) / (side * side - 6))
    return float(np.median(spread * np.median(values, axis=1) ** 2))  # dz = z^2 d(1/z)


@lru_cache(maxsize=16)
def beside_quadrics(side: int) -> Float[np.ndarray, "pixel pixel"]:
    """What takes from the values of a window of side x side pixels the quadric that is nearest to them."""
    row, column = (index.ravel() - side // 2.0 for index in np.indices((side, side)))
    terms = np.stack([np.ones_like(row), row, column, row * row, row * column, column * column], axis=1)
    return np.eye(side * side) - terms @ np.linalg.pinv(terms)
