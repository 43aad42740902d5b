"""One array from a .npy file."""

import io
from pathlib import Path

import numpy as np

from fmb.files.safe import read_bytes


def read_npy(path: Path) -> np.ndarray:
    """The one array of the file; pickled objects are refused."""
    data = io.BytesIO(read_bytes(path))
    try:
        array = np.load(data, allow_pickle=False)
    except Exception as error:  # whatever numpy and the parser of its header meet in a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise ValueError(f"{path}: not a readable .npy file ({reason})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: an archive; must be one array, .npy")
    return array
