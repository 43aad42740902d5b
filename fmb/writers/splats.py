"""Splats as the binary PLY file that 3DGS viewers read."""

from pathlib import Path

import numpy as np

from fmb.assets.splats import MARK, Splats
from util import replacing

PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def write_splats(path: str | Path, splats: Splats) -> Path:
    """Writes the splats, in float32; normals, which 3DGS has but does not use, are 0.

    Raises ValueError for another suffix than .ply, and where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: splats are written as .ply")
    columns = np.column_stack(
        [
            splats.mean,
            np.zeros_like(splats.mean),
            splats.harmonic,
            splats.opacity,
            splats.log_scale,
            splats.quaternion,
        ]
    ).astype("<f4")
    lines = ["ply", "format binary_little_endian 1.0", MARK, f"element vertex {len(columns)}"]
    lines += [*(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with replacing(path) as partial:
        partial.write_bytes("\n".join(lines).encode() + columns.tobytes())
    return path
