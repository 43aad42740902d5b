"""Models written and read back; files that are none."""

import numpy as np
import pytest

from fmb.files.models import level_of, read_mixture, read_model, write_model
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


@pytest.mark.parametrize(("place", "factor", "log_weight"), [(1e300, 1.0, 0.0), (0.0, 1e200, 0.0), (0.0, 1.0, 500.0)])
def test_models_beyond_float32_are_refused(tmp_path, place, factor, log_weight):
    mean, lower = np.zeros((2, 3)), np.tile(factor * np.eye(3), (2, 1, 1))
    mean[1, 0] = place
    path = write_model(tmp_path / "a.npz", mean, lower, np.array([0.0, log_weight]), {})
    with pytest.raises(ValueError, match=r"a\.npz: .* beyond what float32 holds"):
        read_mixture(path)


@pytest.mark.parametrize("mesh", [None, 3, [1], {}, {"level": "x"}, {"level": None}, {"level": -1.0}, {"level": [1]}])
def test_a_level_that_is_none(mesh):
    assert level_of({"mesh": mesh}) == level_of({}) == 0.0
    assert level_of({"mesh": {"level": 0.5}}) == 0.5
