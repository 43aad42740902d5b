"""Noise of silhouettes and cameras: how much of it there is, where, and that seeds repeat it."""

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.spatial.transform import Rotation

from fmb.geometry.cameras import pinhole_intrinsics, random_cameras
from fmb.geometry.noise import NOISES, camera, changed_views
from fmb.geometry.views import Views

COUNT, SIDE = 8, 48


@pytest.fixture
def views() -> Views:
    """A disc in each view, its depth too."""
    cameras = random_cameras(np.random.default_rng(5), COUNT, 3.0, pinhole_intrinsics(SIDE, SIDE, 45.0))
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    disc = (np.hypot(row - SIDE / 2, column - SIDE / 2) < 14).astype(float)
    silhouette = np.tile(disc, (COUNT, 1, 1))
    return Views(cameras, silhouette, np.where(silhouette > 0, 3.0, np.nan))


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_seeded_and_pure(views, name):
    before = views.silhouette.copy(), views.cameras.world_from_camera.copy()
    first, again, other = (NOISES[name](views, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(views.silhouette, before[0])
    assert np.array_equal(views.cameras.world_from_camera, before[1])
    assert not changed_views(first, again).any()
    assert changed_views(first, other).any() or name == "blurred"
    assert first.silhouette.shape == views.silhouette.shape
    assert first.silhouette.min() >= 0.0 and first.silhouette.max() <= 1.0
    assert first.depth is views.depth
    assert changed_views(views, first).sum() == (COUNT // 2 if name in ("damaged", "over_segmented") else COUNT)


def test_damage_is_one_connected_eighth_or_so(views):
    noisy = NOISES["damaged"](views, np.random.default_rng(0))
    lost = views.silhouette - noisy.silhouette
    assert set(np.unique(lost)) == {0.0, 1.0}
    share = lost.sum(axis=(1, 2)) / views.silhouette.sum(axis=(1, 2))
    share = share[changed_views(views, noisy)]
    # k-means cells of a disc are of unequal size
    assert np.all((share > 0.05) & (share < 0.25))
    assert abs(share.mean() - 1 / 8) < 0.04
    for view in np.flatnonzero(changed_views(views, noisy)):
        assert label(lost[view])[1] == 1  # cells of k-means are convex
    half = NOISES["damaged"](views, np.random.default_rng(0), 0.5)
    lost = (views.silhouette - half.silhouette).sum(axis=(1, 2)) / views.silhouette.sum(axis=(1, 2))
    assert abs(lost[lost > 0].mean() - 0.5) < 0.05


def test_silhouettes_too_small_to_cluster_stay(views):
    small = np.zeros_like(views.silhouette)
    small[:, 3, :7] = 1.0
    views = views._replace(silhouette=small)
    assert not changed_views(views, NOISES["damaged"](views, np.random.default_rng(0))).any()
    empty = views._replace(silhouette=np.zeros_like(small))
    assert not changed_views(empty, NOISES["over_segmented"](empty, np.random.default_rng(0))).any()


def test_over_segmentation_adds_its_share_glued_to_the_outline(views):
    noisy = NOISES["over_segmented"](views, np.random.default_rng(1), 0.2)
    area = views.silhouette[0].sum()
    for view in np.flatnonzero(changed_views(views, noisy)):
        added = noisy.silhouette[view] - views.silhouette[view]
        assert added.min() == 0.0 and added.sum() == round(0.2 * area)
        assert label(noisy.silhouette[view])[1] == 1


def test_flips_are_as_frequent_as_asked_and_independent_of_the_mask(views):
    noisy = NOISES["flipped"](views, np.random.default_rng(2), 0.1)
    flipped = noisy.silhouette != views.silhouette
    for where in (views.silhouette > 0, views.silhouette == 0):
        count = where.sum()
        # five standard deviations of a binomial share
        assert abs(flipped[where].mean() - 0.1) < 5 * np.sqrt(0.09 / count)
    assert np.array_equal(NOISES["flipped"](views, np.random.default_rng(2), 1.0).silhouette, 1 - views.silhouette)


def test_blur_is_the_gaussian_integral_along_a_straight_edge(views):
    from scipy.stats import norm

    edge = np.zeros_like(views.silhouette)
    edge[:, :, SIDE // 2 :] = 1.0
    soft = NOISES["blurred"](views._replace(silhouette=edge), np.random.default_rng(0), 2.0).silhouette
    # sums of a density at whole numbers are integrals of one with 1/12 less variance (Euler and Maclaurin)
    expected = norm.cdf((np.arange(SIDE) + 0.5 - SIDE / 2) / np.sqrt(4.0 - 1.0 / 12.0))
    # cut off at four standard deviations
    np.testing.assert_allclose(soft[3, 10], expected, atol=2e-4)


def test_cameras_turn_and_shift_by_what_is_asked(views):
    many = views._replace(
        cameras=random_cameras(np.random.default_rng(5), 4000, 3.0, pinhole_intrinsics(4, 4, 45.0)),
        silhouette=np.zeros((4000, 4, 4)),
        depth=None,
    )
    noisy = camera(many, np.random.default_rng(6), 3.0, 5.0)
    before, after = many.cameras.world_from_camera, noisy.cameras.world_from_camera
    turn = Rotation.from_matrix(np.swapaxes(before[:, :3, :3], 1, 2) @ after[:, :3, :3]).magnitude()
    shift = np.linalg.norm(after[:, :3, 3] - before[:, :3, 3], axis=1)
    # root mean square of 12,000 normal numbers: within 4 standard errors of 0.65 %
    assert np.sqrt(np.mean(turn**2)) == pytest.approx(np.deg2rad(3.0), rel=0.026)
    assert np.sqrt(np.mean(shift**2)) == pytest.approx(0.05, rel=0.026)
    still = camera(many, np.random.default_rng(6), 3.0, 0.0)
    assert np.array_equal(still.cameras.world_from_camera[:, :3, 3], before[:, :3, 3])


def test_wrong_strengths_are_named(views):
    for name, strength, message in (
        ("damaged", 0.6, r"damaged: strength 0\.6; must be above 0 and at most 0\.5"),
        ("over_segmented", -1.0, r"over_segmented: strength -1\.0; must be above 0 and at most 1"),
        ("flipped", 1.5, r"flipped: strength 1\.5; must be above 0 and at most 1"),
        ("blurred", 0.0, r"blurred: strength 0\.0; must be above 0"),
        ("camera", 0.0, r"camera: strength 0\.0; must be above 0 and at most 180"),
    ):
        with pytest.raises(ValueError, match=message):
            NOISES[name](views, np.random.default_rng(0), strength)
    with pytest.raises(ValueError, match=r"camera: shift of -1\.0 %; must be at least 0"):
        camera(views, np.random.default_rng(0), 1.0, -1.0)
