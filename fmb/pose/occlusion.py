"""Which pixels beside the visible object may hide more of it: those whose depth lies in front of it.

The border between two regions belongs to the nearer one. So a pixel outside the mask whose depth is less than that of
the nearest pixel of the object shows what stands before the object, and says nothing about the object's outline; one
whose depth is greater shows the background, and the object ends there.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

from fmb.geometry.cameras import ANY_ARRAY
from fmb.geometry.views import foreground

BEFORE = 0.05  # scales: what is less far in front of the object, such as the table that it stands on, is background
HOLE = 0.03  # of the image's diagonal: so near to a measured pixel, a pixel without depth takes that one's


def hidden_pixels(
    depth: Float[ANY_ARRAY, "height width"], silhouette: Float[ANY_ARRAY, "height width"], scale: float
) -> Bool[np.ndarray, "height width"]:
    """Pixels outside the mask that stand before the object; depth in the unit of `scale`, NaN or <= 0: not measured.

    None where no depth was measured on the object or beside it. Pixels without any depth around them count as
    background, as a camera sees it that looks into the open.
    """
    depth, inside = np.nan_to_num(np.asarray(depth, float)), foreground(np.asarray(silhouette, float))
    measured = (depth > 0.0) & np.isfinite(depth)
    if not np.any(measured & inside) or not np.any(measured & ~inside):
        return np.zeros(depth.shape, bool)
    away, nearest = distance_transform_edt(~measured, return_indices=True)
    filled = np.where(away <= HOLE * np.hypot(*depth.shape), depth[tuple(nearest)], np.inf)
    beside = distance_transform_edt(~(measured & inside), return_distances=False, return_indices=True)
    return ~inside & (filled < depth[tuple(beside)] - BEFORE * scale)
