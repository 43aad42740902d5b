"""Which rays a fit looks at: all alike, or those near an outline, or on the object, more often."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from fmb.geometry.views import foreground

BAND = 3  # pixels on either side of an outline that come in every epoch
FAR_EPOCHS = 4  # of the others each comes in about one epoch of so many


class Sampling(NamedTuple):
    """Rays of which an epoch holds all of `near` and `far_count` of `far`, none twice; out of `total` pixels."""

    near: Int[np.ndarray, " near"]
    far: Int[np.ndarray, " far"]
    far_count: int
    total: int

    @property
    def epoch(self) -> int:
        """Number of rays in an epoch."""
        return len(self.near) + self.far_count

    def weight(self) -> Float[np.ndarray, " ray"]:
        """Weight of each ray that makes the mean over an epoch that over all rays; 0 for those that are not valid."""
        weight = np.zeros(self.total, np.float32)
        share = self.epoch / (len(self.near) + len(self.far))
        weight[self.near] = share
        weight[self.far] = share * len(self.far) / max(self.far_count, 1)  # 0 only where there are none
        return weight

    def batches(self, batch_size: int, generator: np.random.Generator) -> Iterator[Int[np.ndarray, " ray"]]:
        """Batch after batch without end.

        What is left of an epoch when no full batch remains is dropped: a short batch would need a program of its own,
        and every epoch drops others.
        """
        while True:
            far = generator.choice(self.far, self.far_count, replace=False, shuffle=False)
            order = generator.permutation(np.concatenate([self.near, far]).astype(np.int32))
            yield from order[: self.epoch // batch_size * batch_size].reshape(-1, batch_size)


def sample_all(silhouette: np.ndarray, valid: np.ndarray | None, batch_size: int) -> Sampling:
    """Every valid pixel in every epoch. Raises ValueError for a batch larger than that."""
    return _sampling(np.ones(silhouette.shape, bool), valid, batch_size)


def sample_outlines(silhouette: np.ndarray, valid: np.ndarray | None, batch_size: int) -> Sampling:
    """Valid pixels near an outline in every epoch, of the others a part. Raises ValueError for too large a batch."""
    return _sampling(outline_band(silhouette, valid), valid, batch_size)


def sample_objects(silhouette: np.ndarray, valid: np.ndarray | None, batch_size: int) -> Sampling:
    """Valid pixels near an outline or on the object in every epoch, of the others a part: depth is seen inside.

    Raises ValueError for too large a batch.
    """
    return _sampling(outline_band(silhouette, valid) | foreground(np.asarray(silhouette)), valid, batch_size)


def outline_band(
    silhouette: Float[np.ndarray, "view height width"], valid: Bool[np.ndarray, "view height width"] | None = None
) -> Bool[np.ndarray, "view height width"]:
    """Pixels with both object and background among the valid ones up to BAND away in row and column."""
    size, inside = (1, 2 * BAND + 1, 2 * BAND + 1), foreground(silhouette)
    object_there, background = (inside, ~inside) if valid is None else (inside & valid, ~inside & valid)
    return ndimage.maximum_filter(object_there, size) & ndimage.maximum_filter(background, size)


def _sampling(near: np.ndarray, valid: np.ndarray | None, batch_size: int) -> Sampling:
    valid = np.ones(near.shape, bool) if valid is None else np.asarray(valid)
    near, far = np.flatnonzero(near & valid), np.flatnonzero(~near & valid)
    count = len(near) + len(far)
    if batch_size > count:
        raise ValueError(f"batch_size is {batch_size}; must be at most {count}, the number of rays")
    far_count = max(-(-len(far) // FAR_EPOCHS), min(len(far), batch_size - len(near)))
    return Sampling(near, far, far_count, valid.size)
