"""Signed distances as DeepSDF's users keep them: .npz with `pos` and `neg`, rows x, y, z, distance."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmb.files.safe import check_single, read_arrays
from fmb.machine import replacing

FEWEST = 100  # points on each side


def write_distances(path: Path, pos: Float[np.ndarray, "outside 4"], neg: Float[np.ndarray, "inside 4"]) -> Path:
    """Writes points outside and inside with their distances, those inside negative, in float32."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, pos=pos.astype(np.float32), neg=neg.astype(np.float32))
    return path


def read_distances(path: Path) -> tuple[Float[np.ndarray, "outside 4"], Float[np.ndarray, "inside 4"]]:
    """Points outside and inside with their distances, those inside negative; rows that are not finite are left out.

    Raises ValueError that names the file: no such arrays, too few rows, distances with the wrong sign.
    """
    arrays, sides = read_arrays(path, ("pos", "neg")), []
    for name, sign in (("pos", 1.0), ("neg", -1.0)):
        if name not in arrays:
            raise ValueError(f"{path}: no array {name}; signed distances have pos and neg, rows x, y, z, distance")
        rows = arrays[name]
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind != "f":
            raise ValueError(f"{path}: {name} of shape {rows.shape} and type {rows.dtype}; must be numbers [point, 4]")
        rows = rows[np.isfinite(rows).all(axis=1)].astype(float)  # DeepSDF's own files have rows of nan
        check_single(rows, f"{path}: {name} has")
        if len(rows) < FEWEST:
            raise ValueError(f"{path}: {name} has {len(rows)} points; at least {FEWEST} are needed")
        wrong = np.count_nonzero(sign * rows[:, 3] < 0.0)
        if wrong:
            raise ValueError(f"{path}: {name} has {wrong} distances {'below' if sign > 0 else 'above'} 0")
        sides.append(rows)
    return sides[0], sides[1]
