import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.shape.sampling import BAND, FAR_EPOCHS, Sampling, outline_band, sample_all, sample_objects, sample_outlines


@pytest.fixture
def silhouette() -> np.ndarray:
    """Two views of 20 x 24 pixels: a rectangle in a corner, and nothing."""
    silhouette = np.zeros((2, 20, 24))
    silhouette[0, :9, :12] = 1.0
    return silhouette


def first_epoch(sampling: Sampling, batch_size: int) -> np.ndarray:
    """The batches of an epoch, one after another."""
    batches = sampling.batches(batch_size, np.random.default_rng(5))
    return np.array(list(itertools.islice(batches, sampling.epoch // batch_size)))


def test_band_lies_around_outlines(silhouette):
    band = outline_band(silhouette)
    assert BAND == 3 and not band[1].any()
    row, column = np.mgrid[:20, :24]
    # both colours among the pixels up to 3 away: up to 3 beyond the last pixel inside, and as many within
    square = np.maximum(row, 0) <= 11, column <= 14
    expected = square[0] & square[1] & ~((row <= 5) & (column <= 8))
    assert np.array_equal(band[0], expected)
    assert np.array_equal(outline_band(1.0 - silhouette), band)


def test_an_epoch_repeats_nothing_and_misses_nothing_near(silhouette):
    sampling = sample_outlines(silhouette, None, 16)
    band = outline_band(silhouette)
    assert np.array_equal(sampling.near, np.flatnonzero(band)) and np.array_equal(sampling.far, np.flatnonzero(~band))
    assert sampling.far_count == -(-np.count_nonzero(~band) // FAR_EPOCHS)
    batch_size = next(size for size in range(8, sampling.epoch) if sampling.epoch % size == 0)
    epoch = first_epoch(sampling, batch_size)
    assert epoch.shape == (sampling.epoch // batch_size, batch_size) and epoch.dtype == np.int32
    assert len(np.unique(epoch)) == epoch.size == sampling.epoch
    assert set(sampling.near) <= set(epoch.ravel())


def test_epochs_differ_and_in_time_all_rays_come(silhouette):
    sampling = sample_outlines(silhouette, None, 16)
    batches = sampling.batches(16, np.random.default_rng(0))
    count = np.zeros(sampling.total)
    for batch in itertools.islice(batches, 200 * (sampling.epoch // 16)):
        assert len(np.unique(batch)) == 16
        count[batch] += 1
    assert count[sampling.near].max() <= 200
    assert count[sampling.near].min() > 0.8 * 200
    expected = 200 * sampling.far_count / len(sampling.far) * (1 - sampling.epoch % 16 / sampling.epoch)
    assert abs(count[sampling.far].mean() / expected - 1.0) < 0.05
    assert count[sampling.far].min() > 0


@pytest.mark.parametrize("batch_size", [16, 700])
def test_weights_make_the_mean_that_over_all_rays(silhouette, batch_size):
    sampling = sample_outlines(silhouette, None, batch_size)
    weight = sampling.weight()
    assert weight.dtype == np.float32
    batches, value = (
        sampling.batches(sampling.epoch, np.random.default_rng(1)),
        np.random.default_rng(2).normal(size=960),
    )
    means = []
    for index in itertools.islice(batches, 400):
        assert_allclose(weight[index].mean(), 1.0, rtol=1e-6)
        means.append(np.mean(weight[index] * value[index]))
    error = np.std(means) / np.sqrt(400)
    assert abs(np.mean(means) - value.mean()) < 4.0 * error + 1e-6
    # of rays near an outline the sum is exact, epoch by epoch
    only_near = np.zeros(960)
    only_near[sampling.near] = value[sampling.near]
    index = next(batches)
    assert_allclose(np.mean(weight[index] * only_near[index]), only_near.mean(), rtol=1e-5)


def test_large_batches_take_more_of_the_others(silhouette):
    sampling = sample_outlines(silhouette, None, 700)
    assert sampling.epoch == 700 and first_epoch(sampling, 700).shape == (1, 700)
    assert len(np.unique(first_epoch(sampling, 700))) == 700
    everything = sample_outlines(silhouette, None, 960)
    assert np.array_equal(np.sort(first_epoch(everything, 960)[0]), np.arange(960))
    assert_allclose(everything.weight(), 1.0, rtol=1e-6)


def test_all_pixels_alike(silhouette):
    sampling = sample_all(silhouette, None, 100)
    assert sampling.epoch == 960 and len(sampling.far) == sampling.far_count == 0
    epoch = first_epoch(sampling, 100)
    assert epoch.shape == (9, 100) and len(np.unique(epoch)) == 900
    assert np.array_equal(sampling.weight(), np.ones(960, np.float32))


@pytest.mark.parametrize("choose", [sample_all, sample_objects, sample_outlines])
def test_pixels_that_say_nothing_never_come(choose, silhouette):
    valid = np.random.default_rng(3).uniform(size=silhouette.shape) > 0.4
    sampling, count = choose(silhouette, valid, 8), int(np.count_nonzero(valid))
    assert len(sampling.near) + len(sampling.far) == count
    batches = sampling.batches(8, np.random.default_rng(4))
    seen = np.unique(list(itertools.islice(batches, 40 * sampling.epoch // 8)))
    assert np.array_equal(seen, np.flatnonzero(valid))
    weight = sampling.weight()
    assert np.array_equal(weight > 0.0, valid.ravel())
    with pytest.raises(ValueError, match=f"batch_size is {count + 1}; must be at most {count}, the number of rays"):
        choose(silhouette, valid, count + 1)


def test_tiny_images():
    dot = np.zeros((1, 1, 1))
    for choose in (sample_all, sample_outlines):
        sampling = choose(dot, None, 1)
        assert np.array_equal(first_epoch(sampling, 1), [[0]])
        assert np.array_equal(sampling.weight(), [1.0])
        with pytest.raises(ValueError, match="batch_size is 2; must be at most 1"):
            choose(dot, None, 2)
    half = np.array([[[0.0, 1.0]]])
    assert np.array_equal(sample_outlines(half, None, 2).near, [0, 1])


def test_even_few_far_pixels_come_now_and_then():
    # three pixels beyond the band: a quarter of them is less than one
    silhouette = np.zeros((1, 1, 9))
    silhouette[..., :3] = 1.0
    sampling = sample_outlines(silhouette, None, 2)
    assert (len(sampling.near), len(sampling.far), sampling.far_count) == (6, 3, 1)
    batches = sampling.batches(7, np.random.default_rng(0))
    assert_allclose(sampling.weight()[next(batches)].mean(), 1.0, rtol=1e-6)
    assert set(np.concatenate([next(batches) for _ in range(40)])) == set(range(9))


def test_the_object_comes_whole_where_depth_is_seen(silhouette):
    sampling = sample_objects(silhouette, None, 16)
    assert np.array_equal(sampling.near, np.flatnonzero(outline_band(silhouette) | (silhouette > 0.5)))
    assert sampling.far_count < len(sampling.far)


def test_the_edge_of_what_is_valid_is_no_outline(silhouette):
    room = ((0, 0), (0, 4), (5, 0))
    filled, valid = np.pad(silhouette, room), np.pad(np.ones((2, 20, 24), bool), room)
    band = outline_band(filled, valid)[:, :20, 5:]
    assert np.array_equal(band, outline_band(silhouette)) and outline_band(filled)[0, 0, 5] and not band[0, 0, 0]
