import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.fit.schedules import FEWEST_STEPS, HURRY, SCHEDULES, Pace, Plateau, cosine


@pytest.mark.parametrize(
    ("name", "progress", "factor"),
    [
        ("cosine", [0.0, 0.05, 0.1, 0.55, 1.0], [0.04, 0.52, 1.0, 0.5005, 0.001]),
        ("one_cycle", [0.0, 0.15, 0.3, 0.65, 1.0], [0.04, 0.52, 1.0, 0.50005, 0.0001]),
        ("constant", [0.0, 0.3, 1.0], [1.0, 1.0, 1.0]),
    ],
)
def test_values_at_the_corners(name, progress, factor):
    assert_allclose(SCHEDULES[name](np.array(progress)), factor, rtol=1e-12)


@pytest.mark.parametrize(("name", "peak"), [("cosine", 0.1), ("one_cycle", 0.3)])
def test_one_rise_and_one_fall_without_a_jump(name, peak):
    progress = np.linspace(0.0, 1.0, 1001)
    factor = SCHEDULES[name](progress)
    assert progress[np.argmax(factor)] == pytest.approx(peak) and factor.max() == pytest.approx(1.0)
    change = np.diff(factor)
    assert np.all(change[progress[1:] <= peak] > 0.0) and np.all(change[progress[:-1] >= peak] < 0.0)
    # the steepest part is the line over a tenth of all steps
    assert np.abs(change).max() <= 0.96 / 0.1 * 0.001 * (1.0 + 1e-9)


def test_a_falling_loss_keeps_its_rate():
    plateau = Plateau(0.1, 100)
    assert plateau.window == 40
    noise = np.random.default_rng(0).normal(size=400)
    # the slope of 40 steps with this noise deviates by 1e-3 / sqrt(40^3 / 12), an eighth of its distance to the bound
    plateau.see(2.0 - 2e-4 * np.arange(400) + 1e-3 * noise)
    assert plateau.learning_rate == 0.1 and not plateau.finished


@pytest.mark.parametrize("slope", [0.0, 1e-3, -0.9e-4])
def test_a_flat_loss_drops_the_rate_four_times(slope):
    plateau = Plateau(0.1, 100)
    loss = 2.0 + slope * np.arange(40)
    plateau.see(loss[:39])
    assert plateau.learning_rate == 0.1, "the window is not full"
    plateau.see(loss[39:])
    for drops in range(1, 4):
        assert plateau.learning_rate == pytest.approx(0.1 * 0.1**drops) and not plateau.finished
        plateau.see(loss[:39])
        assert plateau.drops == drops, "a drop starts a new window"
        plateau.see(loss[39:])
    assert plateau.finished and plateau.drops == 4
    rate = plateau.learning_rate
    plateau.see(loss)
    assert plateau.learning_rate == rate == pytest.approx(1e-5)


def test_only_the_window_counts():
    plateau = Plateau(1.0, 10)
    assert plateau.window == 4
    plateau.see(np.array([9.0, 9.0, 9.0, 4.0, 3.0, 2.0, 1.0]))  # flat only before the last 4
    assert plateau.drops == 0
    plateau.see(np.array([1.5, 2.0]))  # 2, 1, 1.5, 2: rises
    assert plateau.drops == 1
    assert Plateau(1.0, 1).window == 3, "a line needs more than two points"


def see_all(pace: Pace, loss: np.ndarray) -> int:
    """The steps of a fit with these losses, 100 at a time."""
    start = 0
    while start < pace.end:
        part = loss[start : min(start + 100, pace.end)]
        start += len(part)
        pace.see(part, start)
    return start


def test_a_stalled_loss_hurries_the_rest_of_the_schedule():
    pace = Pace(0.1, "cosine", 10_000, True)
    loss = 1.0 + np.exp(-np.arange(10_000) / 200) + 0.05 * np.random.default_rng(0).normal(size=10_000)
    steps = see_all(pace, loss)
    # flat to 2 % from step 2000 on; it may be cut short from 3000 on, and seven tenths pass three times as fast
    assert steps == pace.end == 3000 + -(-7000 // HURRY)
    place = np.arange(steps)
    progress = np.where(place < 3000, place / 10_000, 0.3 + 0.7 * (place - 3000) / (steps - 3000))
    assert_allclose(pace.rate(place)[3000:], 0.1 * cosine(progress)[3000:], rtol=1e-12)
    assert pace.progress(steps) == 1.0 and pace.rate(np.array([steps, steps + 5])).tolist() == [0.0, 0.0]
    # where it was, it goes on from: no jump
    assert pace.rate(np.array([3000]))[0] == pytest.approx(0.1 * cosine(np.array([0.3]))[0])


def test_a_loss_that_goes_on_falling_is_left_alone():
    loss = 0.97 ** (np.arange(10_000) / 1000)  # 3 % in each window
    noise = 1.0 + 0.05 * np.random.default_rng(0).normal(size=10_000)
    assert see_all(Pace(0.1, "cosine", 10_000, True), loss * noise) == 10_000


@pytest.mark.parametrize(("total", "early_stop"), [(10_000, False), (2 * FEWEST_STEPS - 1, True)])
def test_what_is_not_to_stop_does_not(total, early_stop):
    assert see_all(Pace(0.1, "one_cycle", total, early_stop), np.ones(total)) == total


def test_a_late_stall_saves_nothing():
    loss = np.r_[0.9 ** (np.arange(8500) / 1000), np.full(1500, 0.4)]
    assert see_all(Pace(0.1, "constant", 10_000, True), loss) == 10_000
