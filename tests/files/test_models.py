"""Models written and read back; files that are none."""

import numpy as np
import pytest

from fmb.files.models import read_model, write_model
from tests.files.damage import mixture_arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_model_round_trip(tmp_path, dtype):
    arrays = {name: array.astype(dtype) for name, array in mixture_arrays().items()}
    metadata = {
        "unit": "m",
        "centre": np.zeros(3),
        "scale": np.float32(0.5),
        "names": ["\u00e4", None],
        "nested": {"a": 1},
    }
    model = read_model(write_model(tmp_path / "model.npz", **arrays, metadata=metadata))
    for name, array in arrays.items():
        assert getattr(model, name).dtype == dtype
        np.testing.assert_array_equal(getattr(model, name), array)
    assert model.metadata == {**metadata, "centre": [0.0, 0.0, 0.0], "scale": 0.5}


def test_models_are_the_same_bytes_and_hold_no_pickle(tmp_path):
    paths = [write_model(tmp_path / name, **mixture_arrays(), metadata={"a": 1}) for name in ("a.npz", "b.npz")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with np.load(paths[0], allow_pickle=False) as archive:
        assert sorted(archive.files) == ["log_weight", "mean", "metadata", "precision_cholesky"]
        assert all(archive[name].dtype.kind in "fU" for name in archive.files)
