"""One array from a .npy file."""

import io
from pathlib import Path

import numpy as np

from fmb.files.safe import read_bytes


def read_npy(path: Path) -> np.ndarray:
    """The one array of the file; pickled objects are refused."""
    try:
        array = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if not path.is_file():
            raise
        raise ValueError(f"{path}: not a readable .npy file ({str(error).splitlines()[0][:80]})") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: an archive; must be one array, .npy")
    return array
