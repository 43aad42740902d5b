"""Splats look like the mixture they come from, to an independent rasteriser, and become it again, through files too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from fm_render import Mixture, render
from fmb.files.models import read_mixture
from fmb.files.splat_files import MOST_COMPONENTS, PROPERTIES, ROW, read_splats, write_splats
from fmb.files.splats import (
    HARMONIC,
    MOST_COPIES,
    OPAQUE,
    Splats,
    copies,
    mixture_from_splats,
    splats_from_mixture,
)
from fmb.geometry.cameras import Cameras, orbit_cameras, pinhole_intrinsics, pixel_rays
from fmb.geometry.metrics import iou
from tests.files.damage import splat_file

LARGEST_ALPHA, SMALLEST_ALPHA = 0.99, 1 / 255  # of one splat at one pixel, as in 3DGS


opacity = jax.jit(lambda mixture, rays: render(mixture, rays, outputs=("alpha",)).alpha)


def rasterise(splats: Splats, cameras: Cameras, height: int, width: int) -> np.ndarray:
    """Alpha [view, height, width] of the splats, as 3DGS has it (EWA, Zwicker et al. 2001), from front to back."""
    row, column = np.mgrid[:height, :width] + 0.5
    images = []
    for pose, intrinsics in zip(np.asarray(cameras.world_from_camera), np.asarray(cameras.intrinsics), strict=True):
        turn = pose[:3, :3].T
        x, y, z = ((splats.mean - pose[:3, 3]) @ turn.T).T
        focal = intrinsics[0, 0], intrinsics[1, 1]
        zero = np.zeros_like(z)
        slope = np.stack(
            [
                np.stack([focal[0] / z, zero, -focal[0] * x / z**2], -1),
                np.stack([zero, focal[1] / z, -focal[1] * y / z**2], -1),
            ],
            axis=1,
        )
        axes = (
            turn
            @ Rotation.from_quat(splats.quaternion, scalar_first=True).as_matrix()
            * np.exp(splats.log_scale)[:, None]
        )
        flat = slope @ axes
        inverse = np.linalg.inv(flat @ np.swapaxes(flat, 1, 2))
        middle = np.stack([focal[0] * x / z + intrinsics[0, 2], focal[1] * y / z + intrinsics[1, 2]], axis=-1)
        opacity = 1 / (1 + np.exp(-splats.opacity))
        passing = np.ones((height, width))
        for place in np.argsort(z):
            if z[place] <= 0:
                continue
            u, v = column - middle[place, 0], row - middle[place, 1]
            (a, b), (_, c) = inverse[place]
            alpha = np.minimum(LARGEST_ALPHA, opacity[place] * np.exp(-0.5 * (a * u * u + 2 * b * u * v + c * v * v)))
            passing = passing * (1 - np.where(alpha < SMALLEST_ALPHA, 0, alpha))
        images.append(1 - passing)
    return np.stack(images)


def blobs(log_weight: float, count: int = 8) -> Mixture:
    """Overlapping ellipsoids about half a unit long, of weights around exp(log_weight)."""
    generator = np.random.default_rng(3)
    factor = np.tril(generator.normal(size=(count, 3, 3)))
    factor[:, range(3), range(3)] = generator.uniform(3.0, 8.0, size=(count, 3)) * np.exp(log_weight / 12)
    mean = 0.35 * generator.normal(size=(count, 3))
    return Mixture(*map(jnp.asarray, (mean, factor, log_weight + 0.2 * generator.normal(size=count))))


@pytest.mark.parametrize("log_weight", [1.0, 4.0, 9.6])
def test_splats_have_the_same_silhouette(log_weight):
    mixture = blobs(log_weight)
    cameras = orbit_cameras(3, 9.0, pinhole_intrinsics(48, 48, 15.0), elevation=0.4)
    alpha = np.asarray(opacity(mixture, pixel_rays(cameras, 48, 48)))
    drawn = rasterise(splats_from_mixture(mixture), cameras, 48, 48)
    assert (alpha > 0.5).mean() > 0.05
    assert iou(drawn, alpha) >= 0.97
    assert np.abs(drawn - alpha).mean() < 0.04


def test_thin_components_are_as_opaque_as_they_were():
    weight = np.array([0.05, 0.1, 0.15, 2.0, OPAQUE])
    assert copies(weight).tolist() == [1, 1, 2, 20, MOST_COPIES]
    splats = splats_from_mixture(Mixture(np.zeros((5, 3)), np.tile(np.eye(3), (5, 1, 1)), np.log(weight)))
    opacity = 1 / (1 + np.exp(-splats.opacity))
    start = np.cumsum([0, *copies(weight)])
    fall = np.exp(-0.5 * np.linspace(0, 4, 50) ** 2)
    for place, value in enumerate(weight):
        own = opacity[start[place] : start[place + 1], None] * fall
        # at most 0.1 of weight a copy: 5 % of the density at the edges
        assert_allclose(1 - np.prod(1 - own, axis=0), 1 - np.exp(-value * fall), atol=0.02)


def test_opaque_components_stay_half_opaque_where_they_were():
    weight = np.array([9.0, 100.0, 15_000.0])
    splats = splats_from_mixture(Mixture(np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)), np.log(weight)))
    distance = np.sqrt(2 * np.log(weight / np.log(2)))
    for place in range(3):
        opacity, scale = 1 / (1 + np.exp(-splats.opacity[32 * place])), np.exp(splats.log_scale[32 * place, 0])
        assert opacity < 0.99
        assert_allclose((1 - opacity * np.exp(-0.5 * (distance[place] / scale) ** 2)) ** 32, 0.5, rtol=1e-12)


@pytest.mark.parametrize("log_weight", [-1.0, 1.0, 9.6])
def test_splats_become_the_mixture_again(log_weight):
    mixture = blobs(log_weight)
    color = np.random.default_rng(0).uniform(size=(8, 3))
    again, same = mixture_from_splats(splats_from_mixture(mixture, color), widened=True)
    for name, field, expected in zip(Mixture._fields, again, mixture, strict=True):
        assert_allclose(field, expected, rtol=1e-9, atol=1e-9, err_msg=name)
    assert_allclose(same, color, atol=1e-12)


def test_splats_of_others_are_taken_as_they_are():
    splats = splats_from_mixture(blobs(6.0))
    foreign, color = mixture_from_splats(splats)
    assert len(foreign.mean) == 8
    assert_allclose(foreign.log_weight, np.log(32 * np.log1p(np.exp(splats.opacity[::32]))))
    assert_allclose(color, 0.75)
    bright = mixture_from_splats(splats._replace(harmonic=np.full_like(splats.harmonic, 9.0)))[1]
    assert_allclose(bright, 1.0)
    assert_allclose(splats.harmonic[0] * HARMONIC + 0.5, 0.75)


def test_components_without_weight_are_left_out():
    mixture = blobs(1.0)
    mixture = mixture._replace(log_weight=mixture.log_weight.at[2].set(-jnp.inf))
    assert len(np.unique(splats_from_mixture(mixture).mean, axis=0)) == 7
    with pytest.raises(ValueError, match="all its components have weight 0"):
        splats_from_mixture(mixture._replace(log_weight=jnp.full(8, -jnp.inf)))


def mixture(count: int = 6) -> Mixture:
    """Components of weights from faint to opaque, thin ones among them."""
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(count, 3, 3)))
    factor[:, range(3), range(3)] = np.exp(generator.uniform(0.0, 4.0, size=(count, 3)))
    weight = np.array([-3.0, 0.0, 1.0, 3.0, 6.0, 9.6])[:count]
    return Mixture(*map(jnp.asarray, (generator.normal(size=(count, 3)), factor, weight)))


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
    path.write_bytes(
        splat_file(3, 7, opacity=2.0, rot_0=3.0, rot_1=0.0, rot_2=0.0, rot_3=0.0, scale_1=-1.0, f_dc_0=0.5)
    )
    model = read_splats(path)
    assert model.mixture.mean.shape == (7, 3)
    # alpha of a splat is 1 - exp(-weight) at its middle
    assert_allclose(-np.expm1(-np.exp(model.mixture.log_weight)), 1 / (1 + np.exp(-2.0)), rtol=1e-6)
    assert_allclose(model.mixture.precision_cholesky[:, 1, 1], np.e, rtol=1e-6)
    assert_allclose(model.color[:, 0], 0.5 + 0.28209479 * 0.5, rtol=1e-6)


def pair() -> Mixture:
    """Two components, one of them opaque."""
    factor = np.stack([np.diag([1.0, 2.0, 4.0]), 3.0 * np.eye(3)])
    return Mixture(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, -1.0]]), factor, np.array([np.log(0.15), 9.0]))


def test_file_has_the_layout_that_viewers_expect(tmp_path):
    splats = splats_from_mixture(pair(), np.array([[1.0, 0.5, 0.0], [0.25, 0.25, 0.25]]))
    path = write_splats(tmp_path / "splats.ply", splats)
    rows = trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]
    assert rows.dtype.names == PROPERTIES and len(rows) == 34
    assert_allclose([rows[0][name] for name in ("x", "y", "z", "nx", "ny", "nz")], [1, 2, 3, 0, 0, 0])
    assert_allclose([0.5 + 0.28209479 * rows[0][f"f_dc_{k}"] for k in range(3)], [1.0, 0.5, 0.0], atol=1e-6)
    assert_allclose(sorted(np.exp([rows[0][f"scale_{k}"] for k in range(3)])), [0.25, 0.5, 1.0], rtol=1e-6)
    assert_allclose(np.linalg.norm([rows[0][f"rot_{k}"] for k in range(4)]), 1.0, rtol=1e-6)
    # two copies of opacity o: 1 - (1 - o)^2 = 1 - exp(-0.15)
    assert_allclose(1 - (1 / (1 + np.exp(rows[0]["opacity"]))) ** 2, 1 - np.exp(-0.15), rtol=1e-6)


def test_errors(tmp_path):
    splats = splats_from_mixture(pair())
    with pytest.raises(ValueError, match=r"splats\.splat: splats are written as \.ply"):
        write_splats(tmp_path / "splats.splat", splats)
    with pytest.raises(ValueError, match="cannot be written"):
        write_splats(tmp_path / "missing" / "splats.ply", splats)


def rows(name: str, path, change=lambda data: data) -> Mixture:
    """What is read of three splats whose file was changed."""
    path = path / name
    path.write_bytes(change(splat_file(0, 3, opacity=1.0, scale_0=-2.0)))
    return read_splats(path).mixture


def test_text_big_endian_and_comments_are_the_same_splats(tmp_path):
    expected = rows("a.ply", tmp_path)
    head, _, body = splat_file(0, 3, opacity=1.0, scale_0=-2.0).partition(b"end_header\n")
    values = np.frombuffer(body, "<f4").reshape(3, -1)
    text = " ".join(map(str, values.ravel().tolist())).encode()
    variants = {
        "ascii": head.replace(b"binary_little_endian", b"ascii") + b"end_header\n" + text,
        "big": head.replace(b"little", b"big") + b"end_header\n" + values.astype(">f4").tobytes(),
        "crlf": (head + b"end_header\n").replace(b"\n", b"\r\n") + body,
        "comment": head.replace(b"element", b"obj_info x\ncomment Vertical Axis: z\nelement")
        + b"end_header\n"
        + body
        + b"!",
    }
    for name, data in variants.items():
        found = rows("b.ply", tmp_path, lambda _, data=data: data)
        for field, same in zip(found, expected, strict=True):
            assert_allclose(field, same, rtol=1e-6, err_msg=name)


def test_bad_rows_are_left_out_and_counted(tmp_path, capsys):
    data = splat_file(0, 12, opacity=1.0, scale_0=-2.0, scale_1=-2.0, scale_2=-2.0)
    head, end, body = data.partition(b"end_header\n")
    values = np.frombuffer(body, "<f4").reshape(12, -1).copy()
    place = {name: k for k, name in enumerate(PROPERTIES)}
    values[0, place["x"]] = np.nan
    values[1, place["rot_0"] : place["rot_3"] + 1] = 0.0
    values[2, place["scale_1"]] = 30.0
    values[3, place["opacity"]], values[4, place["opacity"]] = np.inf, -np.inf
    values[5, place["nx"]] = np.nan  # not used
    values[6, place["scale_2"]] = -np.inf
    path = tmp_path / "a.ply"
    path.write_bytes(head + end + values.tobytes())
    found = read_splats(path).mixture
    said = f"{path}: 3 of 12 splats are left out: 1 not finite, 1 without a rotation, 1 far away or far too large\n"
    assert capsys.readouterr().err == said
    assert len(found.mean) == 8 and np.isfinite(np.concatenate([field.ravel() for field in found])).all()
    assert np.exp(found.log_weight[0]) == pytest.approx(16.0, abs=1e-3)  # opaque
    thick = np.sqrt(np.linalg.eigvalsh(np.linalg.inv(found.precision_cholesky[2] @ found.precision_cholesky[2].T)))
    assert_allclose(thick, np.exp(-2.0) * np.array([0.01, 1.0, 1.0]), rtol=1e-5)


def test_splats_as_thin_as_nothing_are_merged(tmp_path):
    (tmp_path / "a.ply").write_bytes(splat_file(0, 600, opacity=1.0, scale_0=-2.0, scale_1=-2.0, scale_2=-299.0))
    found = read_splats(tmp_path / "a.ply").mixture
    assert len(found.mean) == MOST_COMPONENTS and all(np.isfinite(field).all() for field in found)


def test_discs_of_2dgs_are_thin(tmp_path):
    head, end, body = splat_file(0, 3, opacity=1.0, scale_0=-2.0).partition(b"end_header\n")
    values = np.frombuffer(body, "<f4").reshape(3, -1)
    kept = [k for k, name in enumerate(PROPERTIES) if name != "scale_2"]
    data = head.replace(b"property float scale_2\n", b"") + end + values[:, kept].tobytes()
    factor = rows("a.ply", tmp_path, lambda _: data).precision_cholesky
    thickest, middle = np.linalg.svd(factor)[1][:, :2].T
    assert_allclose(thickest / middle, 100.0, rtol=1e-5)


def test_packed_splats_of_supersplat(tmp_path):
    generator = np.random.default_rng(3)
    mean, scale = generator.uniform(-1, 1, (300, 3)), generator.uniform(-5, -3, (300, 3))
    turn = Rotation.random(300, rng=generator).as_quat(scalar_first=True)
    level = generator.integers(1, 255, (300, 4))
    largest = np.abs(turn).argmax(axis=1)
    turn *= np.sign(np.take_along_axis(turn, largest[:, None], 1))
    small = np.rint((turn[np.arange(4) != largest[:, None]].reshape(300, 3) / np.sqrt(2) + 0.5) * 1023).astype(
        np.uint32
    )
    packed = largest.astype(np.uint32) << 30 | small[:, 0] << 20 | small[:, 1] << 10 | small[:, 2]

    def bits(part: np.ndarray) -> np.ndarray:
        step = np.rint(part * [2047, 1023, 2047]).astype(np.uint32)
        return step[:, 0] << 21 | step[:, 1] << 11 | step[:, 2]

    color = sum(level[:, k].astype(np.uint32) << (24 - 8 * k) for k in range(4))
    names = [f"{end}_{part}{axis}" for part in ("", "scale_") for axis in "xyz" for end in ("min", "max")]
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 2", *(f"property float {n}" for n in names)]
    kinds = ("position", "rotation", "scale", "color")
    lines += ["element vertex 300", *(f"property uint packed_{kind}" for kind in kinds), "end_header", ""]
    chunks = np.tile([-1, 1] * 3 + [-5, -3] * 3, (2, 1)).astype("<f4")
    values = np.column_stack([bits((mean + 1) / 2), packed, bits((scale + 5) / 2), color]).astype("<u4")
    path = tmp_path / "a.compressed.ply"
    path.write_bytes("\n".join(lines).encode() + chunks.tobytes() + values.tobytes())
    found, shown = read_splats(path)
    assert_allclose(found.mean, mean, atol=2e-3)
    assert_allclose(shown, level[:, :3] / 255, atol=1e-9)
    assert_allclose(-np.expm1(-np.exp(found.log_weight)), level[:, 3] / 255, atol=1e-9)
    axes = Rotation.from_quat(turn, scalar_first=True).as_matrix()
    whitened = np.swapaxes(found.precision_cholesky, 1, 2) @ axes * np.exp(scale)[:, None]
    assert_allclose(np.swapaxes(whitened, 1, 2) @ whitened, np.tile(np.eye(3), (300, 1, 1)), atol=0.05)


def test_dot_splat_and_the_names_of_others(tmp_path):
    row = np.array([([1, 2, 3], [0.1, 0.2, 0.4], [255, 0, 51, 128], [255, 128, 128, 128])], ROW)
    (tmp_path / "a.splat").write_bytes(row.tobytes())
    found, color = read_splats(tmp_path / "a.splat")
    assert_allclose(found.mean, [[1, 2, 3]])
    assert_allclose(found.precision_cholesky[0], np.diag([10, 5, 2.5]), atol=1e-5)
    assert_allclose([*color[0], -np.expm1(-np.exp(found.log_weight[0]))], [1, 0, 0.2, 128 / 255], atol=1e-6)
    with pytest.raises(ValueError, match=r"a\.spz: Niantic's SPZ is not read; save the splats as \.ply"):
        read_mixture(tmp_path / "a.spz")
    (tmp_path / "b.splat").write_bytes(row.tobytes()[:-1])
    with pytest.raises(ValueError, match=r"31 bytes; a \.splat file has 32 for each splat"):
        read_splats(tmp_path / "b.splat")


def test_many_splats_are_merged_in_a_line(tmp_path, capsys):
    path = tmp_path / "a.ply"
    path.write_bytes(splat_file(0, 20_000, opacity=1.0, scale_0=-3.0, scale_1=-3.0, scale_2=-3.0))
    assert len(read_splats(path).mixture.mean) == MOST_COMPONENTS
    assert f"{path}: 20000 splats are merged into {MOST_COMPONENTS} components" in capsys.readouterr().err


def test_splats_far_from_the_origin_keep_their_digits(tmp_path, capsys):
    near = mixture()
    offset = np.array([448123.0, 5411988.0, 233.0])
    path = write_splats(tmp_path / "a.ply", splats_from_mixture(near._replace(mean=np.asarray(near.mean) + offset)))
    assert "coordinates are written without the offset" in capsys.readouterr().err
    assert_allclose(read_splats(path).mixture.mean - offset, near.mean, atol=1e-5)
    assert np.abs(trimesh.load(path).vertices).max() < 10.0
