"""Models written and read back; files that are none."""

import numpy as np
import pytest

from fmb.files.models import read_model, write_model


def mixture_arrays(count: int = 3) -> dict[str, np.ndarray]:
    """The arrays of a valid mixture."""
    generator = np.random.default_rng(0)
    factors = np.tril(generator.normal(size=(count, 3, 3)))
    factors[:, range(3), range(3)] = 1.0 + generator.uniform(size=(count, 3))
    return {
        "mean": generator.normal(size=(count, 3)),
        "precision_cholesky": factors,
        "log_weight": generator.normal(size=count),
    }


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


def bad_arrays() -> dict[str, dict[str, np.ndarray]]:
    """What replaces arrays of a valid model, by the message it gives."""
    upper, nan = mixture_arrays()["precision_cholesky"].copy(), np.zeros((3, 3))
    upper[0, 0, 2] = 1.0
    nan[0, 0] = np.nan
    lower = "precision_cholesky must be lower triangular with a positive diagonal"
    return {
        "mean has shape (3, 2); must be (n, 3) with the same n > 0": {"mean": np.zeros((3, 2))},
        "log_weight has shape (3, 1); must": {"log_weight": np.zeros((3, 1)), "mean": np.zeros((0, 3))},
        "precision_cholesky has shape (3, 3); must be (n, 3, 3) with the same n > 0": {"precision_cholesky": np.eye(3)},
        "mean has type int64; must be floating point": {"mean": np.zeros((3, 3), np.int64)},
        "mean has 1 values that are not finite": {"mean": nan},
        lower: {"precision_cholesky": upper},
        f"{lower}$": {"precision_cholesky": np.zeros((3, 3, 3))},
        "metadata must be a text of JSON, an object": {"metadata": np.array("[1]")},
        "metadata must be a text of JSON, an object$": {"metadata": np.array("{")},
        "metadata must be a text of JSON, an object ": {"metadata": np.zeros(3)},
        "not a model.npz, or one that holds pickled objects": {"mean": np.array([None])},
    }


@pytest.mark.parametrize("message", bad_arrays())
def test_bad_models(tmp_path, message):
    path = tmp_path / "model.npz"
    np.savez(path, **{**mixture_arrays(), "metadata": np.array("{}"), **bad_arrays()[message]})
    with pytest.raises(ValueError, match="model.npz: ") as error:
        read_model(path)
    assert message.rstrip("$ ") in str(error.value)


def test_files_that_are_no_model(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(ValueError, match=r"model\.npz: no such file or directory$"):
        read_model(path)
    np.savez(path, **mixture_arrays())
    with pytest.raises(
        ValueError, match="metadata missing; a model has mean, precision_cholesky, log_weight, metadata"
    ):
        read_model(path)
    for content in (b"", b"PK\x03\x04 and then nothing", b"some text", path.read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz: not a model\.npz, or") as error:
            read_model(path)
        assert "\n" not in str(error.value)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"model\.npz: one array; must be an npz archive"):
        read_model(path)
