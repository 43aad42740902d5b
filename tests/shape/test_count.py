"""The number of components from held-back rays: what is held back, when the search ends, and two balls."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.command.yaml_file import to_yaml
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Views, scene_cameras
from fmb.options import ConfigError
from fmb.shape import count
from fmb.shape.count import Choice, Trial, choose_count, gain_of, held_squares
from fmb.shape.options import COUNTED, ModelOptions, OptimizationOptions
from fmb.shape.start import start_mixture
from fmb.shape.symmetry_fit import Aim
from fmb.tasks import counted
from fmb.tasks.counted import with_count
from fmb.tasks.made import command_of

SIZE = (16, 24)


def views_of(places: list[float], number: int = 4) -> Views:
    """Exact masks of balls of radius 0.3 along x."""
    options = RenderingOptions(image_height=SIZE[0], image_width=SIZE[1])
    cameras = scene_cameras(np.random.default_rng(0), number, options)
    rays = pixel_rays(cameras, *SIZE)
    origin, direction = (np.asarray(field, float) for field in rays)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    inside = np.zeros(direction.shape[:-1], bool)
    for place in places:
        away = np.array([place, 0.0, 0.0]) - origin
        inside |= np.linalg.norm(np.cross(away, direction), axis=-1) < 0.3
    return Views(cameras, inside.astype(np.float32))


def test_squares_are_whole_and_one_in_five():
    valid = np.ones((5, 16, 24), bool)
    valid[0, :, :12] = False
    square = held_squares(valid, np.random.default_rng(0))  # of side 3
    assert set(square[0, :, :12].ravel()) >= {0}
    numbers, sizes = np.unique(square[valid], return_counts=True)
    in_image = 6 * 8
    assert_array_equal(numbers, np.arange(1 + (4 * in_image + 6 * 4) // 5))
    assert set(sizes[1:]) <= {9, 3}  # at the lower border a square has one row
    corner = [np.argwhere(square == number).min(0) for number in numbers[1:]]
    assert_array_equal(np.array(corner)[:, 1:] % 3, 0)
    assert np.count_nonzero(np.unique(held_squares(np.ones((1, 3, 3), bool), np.random.default_rng(0)))) == 2


def test_gain_and_its_standard_error():
    gain, doubt = gain_of(Trial(10, np.array([4.0, 2.0, 6.0])), Trial(20, np.array([1.0, 2.0, 3.0])))
    assert_allclose([gain, doubt], [2.0, np.std([3.0, 0.0, 3.0], ddof=1) / np.sqrt(3)])


@pytest.mark.parametrize(
    ("errors", "most", "chosen", "tried"),
    [
        ([9.0, 5.0, 4.9, 0.0], 80, 20, [10, 20, 40]),  # what gains less than its standard error ends it
        ([9.0, 5.0, 3.0, 1.0], 40, 40, [10, 20, 40]),
        ([9.0], 4, 4, [4]),
    ],
)
def test_the_number_is_doubled_while_that_gains(monkeypatch, errors, most, chosen, tried):
    noise = np.array([0.0, 0.4, -0.4])
    made = iter(Trial(0, error + noise * number) for number, error in enumerate(errors))
    monkeypatch.setattr(count, "tried", lambda start, *rest: next(made)._replace(count=start))
    aim, heard = Aim(views_of([0.0]), OptimizationOptions(), np.random.default_rng(0)), []
    choice = choose_count(lambda number: number, aim, most, heard.append)
    assert (choice.count, choice.record()["tried"]) == (chosen, tried)
    assert heard == tried
    assert choice.words.startswith(f"{chosen} components chosen; error of rays held back, by components: {tried[0]}: 9")
    assert ("more were not tried" in choice.words) == (chosen == tried[-1])


def test_two_balls_want_two_components(monkeypatch):
    monkeypatch.setattr(count, "FIRST", 1)
    options = OptimizationOptions(num_epochs=400, batch_size=4096)  # more rays than are left: the batch shrinks
    aim = Aim(views_of([-0.5, 0.5]), options, np.random.default_rng(1))
    model = ModelOptions(init="sphere")
    choice = choose_count(
        lambda number: start_mixture(None, dataclasses.replace(model, num_mixtures=number), 0).mixture, aim, 2
    )
    one, two = choice.trials
    assert choice.count == 2 and two.error.mean() < 0.5 * one.error.mean()
    assert one.error.max() < count.WORST + 1e-6


def test_the_choice_becomes_the_number_of_the_config(monkeypatch):
    config = load_config(["shape", "--num-mixtures", "auto", "--init", "sphere"], tuple(TASKS))
    seen = []

    def chosen(start_of, aim, most):
        seen.append((len(start_of(3).mean), most))
        return Choice(20, (Trial(10, np.ones(2)), Trial(20, np.zeros(2))))

    monkeypatch.setattr(counted, "choose_count", chosen)
    found, told = with_count(config, config.optimization, views_of([0.0]), None)
    assert found.model.num_mixtures == 20 and seen == [(3, count.LAST)]
    assert told["num_mixtures_auto"].pop("why").startswith("20 components chosen")
    assert told["num_mixtures_auto"] == {
        "tried": [10, 20],
        "held_back_error": [1.0, 0.0],
        "gain": [1.0],
        "gain_standard_error": [0.0],
    }
    assert with_count(found, found.optimization, views_of([0.0]), None) == (found, {})  # a number stays


def test_auto_is_read_and_written(tmp_path):
    config = load_config(["convert", "--num-mixtures", "auto"], tuple(TASKS))
    assert config.model.num_mixtures == COUNTED
    assert "--num-mixtures auto" in command_of(config)
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    again = load_config(["shape", "--config", str(tmp_path / "c.yaml")], tuple(TASKS))
    assert again.model.num_mixtures == COUNTED


@pytest.mark.parametrize("task", ["points", "pose", "track", "symmetry", "batch", "tune"])
def test_other_tasks_need_a_number(task, tmp_path):
    with pytest.raises(ConfigError, match=f"--num-mixtures is auto; task {task} needs a number, only shape and conv"):
        load_config([task, "--num-mixtures", "auto"], tuple(TASKS))
