"""Splats read back into mixtures: our own files, those of others, and files that are none."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fm_render import Mixture
from fmb.files.splats import PROPERTIES, read_splats, splats_from_mixture, write_splats


def mixture(count: int = 6) -> Mixture:
    """Components of weights from faint to opaque, thin ones among them."""
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(count, 3, 3)))
    factor[:, range(3), range(3)] = np.exp(generator.uniform(0.0, 4.0, size=(count, 3)))
    weight = np.array([-3.0, 0.0, 1.0, 3.0, 6.0, 9.6])[:count]
    return Mixture(*map(jnp.asarray, (generator.normal(size=(count, 3)), factor, weight)))


def foreign(count: int, degree: int, **changes: float) -> bytes:
    """A file as the released 3DGS program writes it, without copies."""
    generator = np.random.default_rng(1)
    rest = [f"f_rest_{k}" for k in range(3 * (degree + 1) ** 2 - 3)]
    names = [*PROPERTIES[:9], *rest, *PROPERTIES[9:]]
    values = generator.normal(size=(count, len(names))).astype("<f4")
    for name, value in changes.items():
        values[:, names.index(name)] = value
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [*(f"property float {name}" for name in names), "end_header", ""]
    return "\n".join(lines).encode() + values.tobytes()


def test_round_trip_is_exact_to_float32(tmp_path):
    before, color = mixture(), np.random.default_rng(2).uniform(size=(6, 3))
    model = read_splats(write_splats(tmp_path / "splats.ply", splats_from_mixture(before, color)))
    after = model.mixture
    assert_allclose(after.mean, before.mean, rtol=1e-6)
    # logits near 4 and the logarithms above OPAQUE cost a digit
    assert_allclose(after.log_weight, before.log_weight, atol=2e-4)
    assert_allclose(model.color, color, atol=1e-6)
    for ours, expected in zip(after.precision_cholesky, np.asarray(before.precision_cholesky), strict=True):
        # whitened: what a rounded rotation does to a component 50 times as long as thin
        assert_allclose(np.linalg.solve(expected, ours @ ours.T) @ np.linalg.inv(expected.T), np.eye(3), atol=1e-3)


def test_files_of_others(tmp_path):
    path = tmp_path / "point_cloud.ply"
    path.write_bytes(foreign(7, 3, opacity=2.0, rot_0=3.0, rot_1=0.0, rot_2=0.0, rot_3=0.0, scale_1=-1.0, f_dc_0=0.5))
    model = read_splats(path)
    assert model.mixture.mean.shape == (7, 3)
    # alpha of a splat is 1 - exp(-weight) at its middle
    assert_allclose(-np.expm1(-np.exp(model.mixture.log_weight)), 1 / (1 + np.exp(-2.0)), rtol=1e-6)
    assert_allclose(model.mixture.precision_cholesky[:, 1, 1], np.e, rtol=1e-6)
    assert_allclose(model.color[:, 0], 0.5 + 0.28209479 * 0.5, rtol=1e-6)


def broken_files() -> dict[str, bytes]:
    """Files by the message that they give."""
    good = foreign(3, 0)
    return {
        "not a PLY file": b"solid",
        "not a PLY file ": good.replace(b"end_header", b"end"),
        "of another format than binary_little_endian 1.0": good.replace(b"binary_little", b"binary_big"),
        "its first element must be vertices, at least one": good.replace(b"element vertex 3", b"element face 3"),
        "its first element must be vertices, at least one ": good.replace(b"element vertex 3", b"element vertex 0"),
        "properties that are not plain numbers": good.replace(b"float opacity", b"list uchar int opacity"),
        "no Gaussian splats: opacity, rot_3 missing": good.replace(b"float opacity", b"float a").replace(
            b"rot_3", b"b"
        ),
        "a property of vertices twice": good.replace(b"float nx", b"float x"),
        "2 of 3 splats; the file is cut short": good[:-1],
        "3 of 3 splats have a opacity that is not finite": foreign(3, 0, opacity=np.nan),
        "a quaternion of length 0": foreign(3, 0, rot_0=0, rot_1=0, rot_2=0, rot_3=0),
        "scales or opacities beyond what numbers hold": foreign(3, 0, scale_0=-1e6),
        "scales or opacities beyond what numbers hold ": foreign(3, 0, opacity=-1000.0),
    }


@pytest.mark.parametrize("message", broken_files())
def test_broken_files(tmp_path, message):
    path = tmp_path / "splats.ply"
    path.write_bytes(broken_files()[message])
    with pytest.raises(ValueError, match=r"splats\.ply: ") as error:
        read_splats(path)
    assert message.strip() in str(error.value) and "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ply: no such file"):
        read_splats(tmp_path / "none.ply")
