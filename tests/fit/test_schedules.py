import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fmb.fit.schedules import (
    FEWEST_STEPS,
    HURRY,
    MAX_DROPS,
    SCHEDULES,
    Pace,
    begin_pace,
    cosine,
    progress,
    rate,
    see,
    stall_window,
)

SEE = jax.jit(see, static_argnums=(1, 2))
RATE = jax.jit(rate, static_argnums=1)


def begun(schedule: str, total: int, steps_per_epoch: int = 1) -> Pace:
    """The pace of a fit of `total` steps at 0.1 before its first."""
    window = stall_window(schedule, total // steps_per_epoch, steps_per_epoch)
    return begin_pace(jnp.array(0.1), total, window, window + 7)


def seen(pace: Pace, loss: np.ndarray, schedule: str = "plateau", early_stop: bool = True) -> Pace:
    """The pace after these losses, a compiled step of it."""
    return SEE(pace, schedule, early_stop, jnp.array(loss))


@pytest.mark.parametrize(
    ("name", "progress", "factor"),
    [
        ("cosine", [0.0, 0.05, 0.1, 0.55, 1.0], [0.04, 0.52, 1.0, 0.5005, 0.001]),
        ("one_cycle", [0.0, 0.15, 0.3, 0.65, 1.0], [0.04, 0.52, 1.0, 0.50005, 0.0001]),
        ("constant", [0.0, 0.3, 1.0], [1.0, 1.0, 1.0]),
    ],
)
def test_values_at_the_corners(name, progress, factor):
    assert_allclose(SCHEDULES[name](jnp.array(progress)), factor, rtol=1e-12)


@pytest.mark.parametrize(("name", "peak"), [("cosine", 0.1), ("one_cycle", 0.3)])
def test_one_rise_and_one_fall_without_a_jump(name, peak):
    progress = np.linspace(0.0, 1.0, 1001)
    factor = np.asarray(SCHEDULES[name](jnp.array(progress)))
    assert progress[np.argmax(factor)] == pytest.approx(peak) and factor.max() == pytest.approx(1.0)
    change = np.diff(factor)
    assert np.all(change[progress[1:] <= peak] > 0.0) and np.all(change[progress[:-1] >= peak] < 0.0)
    # the steepest part is the line over a tenth of all steps
    assert np.abs(change).max() <= 0.96 / 0.1 * 0.001 * (1.0 + 1e-9)


def test_a_falling_loss_keeps_its_rate():
    pace = begun("plateau", 1000, 100)
    assert pace.window == 40
    noise = np.random.default_rng(0).normal(size=400)
    # the slope of 40 steps with this noise deviates by 1e-3 / sqrt(40^3 / 12), an eighth of its distance to the bound
    pace = seen(pace, 2.0 - 2e-4 * np.arange(400) + 1e-3 * noise)
    assert pace.learning_rate == 0.1 and pace.drops == 0


@pytest.mark.parametrize(("slope", "early_stop"), [(0.0, True), (1e-3, False), (-0.9e-4, True)])
def test_a_flat_loss_drops_the_rate_four_times(slope, early_stop):
    pace = begun("plateau", 1000, 100)
    loss = 2.0 + slope * np.arange(40)
    pace = seen(pace, loss[:39], early_stop=early_stop)
    assert pace.learning_rate == 0.1, "the window is not full"
    pace = seen(pace, loss[39:], early_stop=early_stop)
    for drops in range(1, 4):
        assert pace.learning_rate == pytest.approx(0.1 * 0.1**drops) and pace.end == 1000
        pace = seen(pace, loss[:39], early_stop=early_stop)
        assert pace.drops == drops, "a drop starts a new window"
        pace = seen(pace, loss[39:], early_stop=early_stop)
    assert pace.drops == MAX_DROPS and (pace.step, pace.end) == (160, 160 if early_stop else 1000)
    assert seen(pace, loss, early_stop=early_stop).learning_rate == pytest.approx(1e-5), "no more drops"


def test_only_the_window_counts():
    pace = begun("plateau", 100, 10)
    assert pace.window == 4
    pace = seen(pace, np.array([9.0, 9.0, 9.0, 4.0, 3.0, 2.0, 1.0]))  # flat only before the last 4
    assert pace.drops == 0
    assert seen(pace, np.array([1.5, 2.0])).drops == 1  # 2, 1, 1.5, 2: rises
    assert begun("plateau", 1).window == 3, "a line needs more than two points"


def after_all(pace: Pace, loss: np.ndarray, schedule: str = "cosine", early_stop: bool = True) -> Pace:
    """The pace after a fit with these losses, 100 at a time."""
    while pace.step < pace.end:
        pace = seen(pace, loss[int(pace.step) :][:100], schedule, early_stop)
    return pace


def test_a_stalled_loss_hurries_the_rest_of_the_schedule():
    loss = 1.0 + np.exp(-np.arange(10_000) / 200) + 0.05 * np.random.default_rng(0).normal(size=10_000)
    pace = after_all(begun("cosine", 10_000), loss)
    steps = int(pace.step)
    # flat to 2 % from step 2000 on; it may be cut short from 3000 on, and seven tenths pass three times as fast
    assert steps == pace.end == 3000 + -(-7000 // HURRY)
    place = jnp.arange(steps)
    passed = 0.3 + 0.7 * (place[3000:] - 3000) / (steps - 3000)
    assert_allclose(RATE(pace, "cosine", place)[3000:], 0.1 * cosine(passed), rtol=1e-12)
    assert progress(pace, pace.step) == 1.0 and RATE(pace, "cosine", jnp.array([steps, steps + 5])).tolist() == [
        0.0,
        0.0,
    ]
    # where it was, it goes on from: no jump
    assert RATE(pace, "cosine", place[3000:3001])[0] == pytest.approx(0.1 * float(cosine(jnp.array([0.3]))[0]))


def test_a_loss_that_goes_on_falling_is_left_alone():
    loss = 0.97 ** (np.arange(10_000) / 1000)  # 3 % in each window
    noise = 1.0 + 0.05 * np.random.default_rng(0).normal(size=10_000)
    assert after_all(begun("cosine", 10_000), loss * noise).end == 10_000


@pytest.mark.parametrize(("total", "early_stop"), [(10_000, False), (2 * FEWEST_STEPS - 1, True)])
def test_what_is_not_to_stop_does_not(total, early_stop):
    assert after_all(begun("one_cycle", total), np.ones(total), "one_cycle", early_stop).end == total


def test_a_late_stall_saves_nothing():
    loss = np.r_[0.9 ** (np.arange(8500) / 1000), np.full(1500, 0.4)]
    assert after_all(begun("constant", 10_000), loss, "constant").end == 10_000


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_fits_of_several_lengths_keep_their_own_pace(schedule):
    rows = [(4000, 1500), (6000, 1100)]  # steps in all and in the window
    paces = [begin_pace(jnp.array(0.1), *row, 2000) for row in rows]
    loss = np.stack([np.ones(4000), 0.9 ** (np.arange(4000) / 400)])
    both = jax.tree.map(lambda *x: jnp.stack(x), *paces)
    step = jax.jit(jax.vmap(lambda pace, losses: see(pace, schedule, True, losses)))
    for start in range(0, 4000, 100):
        part = jnp.array(loss[:, start : start + 100])
        both = step(both, part)
        paces = [seen(pace, one, schedule) for pace, one in zip(paces, part, strict=True)]
    for number, alone in enumerate(paces):
        for found, wanted in zip(jax.tree.map(lambda x, number=number: x[number], both), alone, strict=True):
            assert_allclose(found, wanted, rtol=1e-12)
    if schedule == "cosine":
        assert both.end[0] == 1500 + -(-2500 // HURRY) and both.end[1] == 6000
    else:
        assert both.drops.tolist() == [2, 0]
