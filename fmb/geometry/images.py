"""Images of one object: what shows it, and how well two images of it agree. Imports little, for processes that draw."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

FOREGROUND = 0.5  # a pixel belongs to the object from this share or opacity on; the same everywhere


class Images(NamedTuple):
    """What several views show of one object; None: not known."""

    alpha: Float[np.ndarray, "view height width"]  # 0 to 1
    depth: Float[np.ndarray, "view height width"] | None = None  # along the optical axis; NaN is background
    color: Float[np.ndarray, "view height width 3"] | None = None  # 0 to 1
    normal: Float[np.ndarray, "view height width 3"] | None = None  # outward, of length 1; NaN is background


def foreground(image: Any) -> Any:
    """Where a silhouette or an opacity shows the object: from one half on."""
    return image >= FOREGROUND


def view_ious(
    alpha: Float[Any, "view height width"],
    silhouette: Float[Any, "view height width"],
    valid: Bool[Any, "view height width"] | None = None,
) -> Float[np.ndarray, " view"]:
    """Intersection over union in each view, over its valid pixels; 1 where both are empty."""
    counted = True if valid is None else np.asarray(valid)
    rendered, observed = (np.asarray(foreground(image)) & counted for image in (alpha, silhouette))
    both, union = (np.count_nonzero(x, axis=(1, 2)) for x in (rendered & observed, rendered | observed))
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)
