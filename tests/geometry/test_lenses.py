"""Lenses against their published formulas, point by point; images of them against what a pinhole would see."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from fmb.geometry.lenses import LENSES, WIDEST, Lens, distort, is_pinhole, reach
from fmb.geometry.undistortion import canvas, seen_by, undistorted
from tests.datasets import straight

K1, K2, K3, K4, P1, P2 = -0.11, 0.03, -0.004, 0.001, 0.002, -0.003


def brown(x: float, y: float, k: tuple, p: tuple = (0.0, 0.0), below: tuple = (0.0, 0.0, 0.0)) -> tuple[float, float]:
    """OpenCV's documentation of calib3d: x'' = x' (1 + k1 r² ...) / (1 + k4 r² ...) + 2 p1 x' y' + p2 (r² + 2 x'²)."""
    r = math.hypot(x, y)
    ratio = 1.0 + sum(c * r ** (2 * n + 2) for n, c in enumerate(k))
    ratio /= 1.0 + sum(c * r ** (2 * n + 2) for n, c in enumerate(below))
    return (
        x * ratio + 2 * p[0] * x * y + p[1] * (r * r + 2 * x * x),
        y * ratio + p[0] * (r * r + 2 * y * y) + 2 * p[1] * x * y,
    )


def fisheye(x: float, y: float, k: tuple = ()) -> tuple[float, float]:
    """OpenCV's documentation of fisheye: theta_d = theta (1 + k1 theta² + ...), along the direction of the ray."""
    r = math.hypot(x, y)
    theta = math.atan(r)
    bent = theta * (1.0 + sum(c * theta ** (2 * n + 2) for n, c in enumerate(k)))
    return x * bent / r, y * bent / r


def thin_prism(x: float, y: float) -> tuple[float, float]:
    u, v = fisheye(x, y)
    a, b = brown(u, v, (K1, K2, K3, K4), (P1, P2))
    return a + 0.01 * (u * u + v * v), b - 0.02 * (u * u + v * v)


def aria(x: float, y: float) -> tuple[float, float]:
    u, v = fisheye(x, y, (K1, K2, K3, K4, 1e-4, -1e-5))
    r, (p0, p1), (s0, s1, s2, s3) = u * u + v * v, (P1, P2), (1e-3, -2e-3, 3e-3, 1e-4)
    return (
        u + 2 * p1 * u * v + p0 * (r + 2 * u * u) + s0 * r + s1 * r * r,
        v + 2 * p0 * u * v + p1 * (r + 2 * v * v) + s2 * r + s3 * r * r,
    )


TWINS: dict[str, tuple[tuple[float, ...], Callable]] = {
    "SIMPLE_RADIAL": ((K1,), lambda x, y: brown(x, y, (K1,))),
    "RADIAL": ((K1, K2), lambda x, y: brown(x, y, (K1, K2))),
    "OPENCV": ((K1, K2, P1, P2), lambda x, y: brown(x, y, (K1, K2), (P1, P2))),
    "FULL_OPENCV": (
        (K1, K2, P1, P2, K3, 0.05, 0.02, 0.01),
        lambda x, y: brown(x, y, (K1, K2, K3), (P1, P2), (0.05, 0.02, 0.01)),
    ),
    "SIMPLE_FISHEYE": ((), fisheye),
    "FISHEYE": ((), fisheye),
    "SIMPLE_RADIAL_FISHEYE": ((K1,), lambda x, y: fisheye(x, y, (K1,))),
    "RADIAL_FISHEYE": ((K1, K2), lambda x, y: fisheye(x, y, (K1, K2))),
    "OPENCV_FISHEYE": ((K1, K2, K3, K4), lambda x, y: fisheye(x, y, (K1, K2, K3, K4))),
    "THIN_PRISM_FISHEYE": ((K1, K2, P1, P2, K3, K4, 0.01, -0.02), thin_prism),
    "RAD_TAN_THIN_PRISM_FISHEYE": ((K1, K2, K3, K4, 1e-4, -1e-5, P1, P2, 1e-3, -2e-3, 3e-3, 1e-4), aria),
}


def unified(r: float, alpha: float = 0.6, beta: float = 1.1) -> float:
    """Khomutenko et al., eq. 14: the depth of the ray to the image point."""
    depth = (1 - beta * alpha**2 * r**2) / (alpha * math.sqrt(1 - (2 * alpha - 1) * beta * r**2) + 1 - alpha)
    return r / depth


# lenses whose inverse is in closed form: the ray's distance from the axis as a function of the image point's
BACK: dict[str, tuple[tuple[float, ...], Callable]] = {
    "FOV": ((0.9,), lambda r: math.tan(0.9 * r) / (2 * math.tan(0.45))),
    "SIMPLE_DIVISION": ((-0.2,), lambda r: r / (1 - 0.2 * r * r)),
    "DIVISION": ((0.2,), lambda r: r / (1 + 0.2 * r * r)),
    "EUCM": ((0.6, 1.1), unified),
}


def test_every_model_has_a_twin():
    assert set(TWINS) | set(BACK) == set(LENSES)
    assert all(len(values) == LENSES[name].parameters for name, (values, _) in (TWINS | BACK).items())


@pytest.mark.parametrize("name", LENSES)
def test_lenses_are_as_published(name):
    generator = np.random.default_rng(3)
    points = generator.uniform(-0.6, 0.6, (30, 2))
    if name in TWINS:
        values, twin = TWINS[name]
        expected = np.array([twin(x, y) for x, y in points])
        np.testing.assert_allclose(distort(Lens(name, values), points), expected, atol=1e-12)
    else:
        values, back = BACK[name]
        radius = np.linalg.norm(points, axis=1)
        rays = points * np.array([back(r) / r for r in radius])[:, None]
        np.testing.assert_allclose(distort(Lens(name, values), rays), points, atol=1e-12)
    assert np.isfinite(distort(Lens(name, values), np.zeros((1, 2)))).all()  # on the axis


def test_how_far_a_lens_can_be_followed():
    step = 1.2 * np.deg2rad(80.0) / 800
    assert reach(Lens("SIMPLE_RADIAL", (-0.3,))) == pytest.approx(1 / math.sqrt(0.9), abs=3 * step)  # 3 |k| r² = 1
    assert reach(Lens("DIVISION", (0.2,))) == pytest.approx(math.sqrt(1.25), abs=3 * step)  # 4 k r² = 1
    assert reach(Lens("FISHEYE", ())) == pytest.approx(math.tan(WIDEST))
    straight_ones = [Lens("OPENCV", (0.0,) * 4), Lens("EUCM", (0.0, 1.0)), Lens("DIVISION", (0.0,))]
    assert all(map(is_pinhole, straight_ones)) and not is_pinhole(Lens("FISHEYE", ()))


def scenery(plane: np.ndarray) -> np.ndarray:
    """Something smooth to look at, a function of rays."""
    return 0.5 + 0.25 * np.sin(3.0 * plane[..., 0]) + 0.2 * np.cos(4.0 * plane[..., 1] - plane[..., 0])


def rays_of(intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """(x, y) of the rays of a pinhole's pixels."""
    down, across = np.mgrid[:height, :width] + 0.5
    return (np.stack([across, down], axis=-1) - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]


@pytest.mark.parametrize("name", ["OPENCV", "OPENCV_FISHEYE", "EUCM", "DIVISION"])
def test_undistorted_images_are_a_pinholes(name):
    lens, size = Lens(name, (TWINS | BACK)[name][0]), (80, 60)
    intrinsics = np.array([[60.0, 0.0, 38.0], [0.0, 62.0, 31.0], [0.0, 0.0, 1.0]])
    rays = straight(lens, rays_of(intrinsics, *size))
    view = canvas(lens, intrinsics, size)
    seen = seen_by(view, size[::-1])
    found = undistorted(view, scenery(rays))
    wanted = rays_of(view.intrinsics, *view.size)
    inner = ndimage.binary_erosion(seen)  # half a pixel along the border is not interpolated but continued
    np.testing.assert_allclose(found[inner], scenery(wanted)[inner], atol=4e-3)  # of linear interpolation
    assert seen.mean() > 0.6 and not found[~seen].any()
    # the corners of what the lens sees lie on the canvas
    corners = straight(lens, rays_of(intrinsics, *size))[[0, 0, -1, -1], [0, -1, 0, -1]]
    places = corners * np.diag(view.intrinsics)[:2] + view.intrinsics[:2, 2]
    assert (places > -0.5).all() and (places < np.array(view.size) + 0.5).all()
    # depths are never mixed
    steps = np.where(rays[..., 0] < 0.1, 1.0, 5.0)
    near = undistorted(view, steps, nearest=True)
    assert set(np.unique(near[seen])) == {1.0, 5.0} and np.isnan(near[~seen]).all()


def test_a_fisheye_of_half_a_sphere_is_cut():
    view = canvas(Lens("FISHEYE", ()), np.array([[40.0, 0.0, 64.0], [0.0, 40.0, 64.0], [0.0, 0.0, 1.0]]), (128, 128))
    assert view.size == (256, 256)  # twice its sides, and no more
