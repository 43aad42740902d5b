"""Task tune: three real trials, a search that goes on, the front, and what is refused."""

import csv
import json

import numpy as np
import pytest
import trimesh

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.machine import Clock
from fmb.options import ConfigError
from fmb.pictures.trials import front
from fmb.tasks import tune as module
from fmb.tasks.tune import best_of, keys_of, tune

SMALL = "--num-views 5 --image-width 16 --image-height 16 --num-mixtures 3 --batch-size 128 --num-epochs 4 --cpu"
SMALL += " --gmm-points 200"


def config_of(*words: object):
    return load_config(["tune", *SMALL.split(), *map(str, words)], tuple(TASKS), default_file=None)


def search(tmp_path, monkeypatch, measured, *words: object, size=(1.0, 0.7, 0.5)) -> list[dict[str, str]]:
    pytest.importorskip("optuna", reason="the extra `tune`")
    trimesh.creation.box(size).export(tmp_path / "box.ply")
    monkeypatch.setattr(module, "measured", measured)
    keys = "initial_lr=0.01:0.2:log num_mixtures=2:9 schedule=cosine|one_cycle"
    tune(config_of(tmp_path / "box.ply", "--output-dir", tmp_path, "--keys", keys, *words), Clock())
    return list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))


def bowl(config, paths) -> tuple[float, float]:
    """Least at a rate of 0.05; a rate above 0.15 fails."""
    rate = config.optimization.initial_lr
    if rate > 0.15:
        raise FloatingPointError("the loss is nan at step 3")
    return 0.01 + np.log(rate / 0.05) ** 2, 1.0 + config.model.num_mixtures


def test_a_search_goes_on_and_its_best_is_a_config_that_loads(tmp_path, monkeypatch, capsys):
    first = search(tmp_path, monkeypatch, bowl, "--trials", 6)
    rows = search(tmp_path, monkeypatch, bowl, "--trials", 25)
    assert "6 of 25 trials are done already" in capsys.readouterr().out
    assert rows[:6] == first and len({row["initial_lr"] for row in rows}) == len(rows) == 25
    good = [row for row in rows if row["error"]]
    best = min(good, key=lambda row: float(row["error"]))
    found = load_config(["--config", str(tmp_path / "best.yaml")], default_file=None)
    assert found.optimization.initial_lr == pytest.approx(float(best["initial_lr"]), rel=1e-5)
    assert (found.model.num_mixtures, found.optimization.schedule) == (int(best["num_mixtures"]), best["schedule"])
    assert 0.03 < found.optimization.initial_lr < 0.08 and found.optimization.batch_size == 128
    assert {row["failure"] for row in rows if not row["error"]} <= {"the loss is nan at step 3"}
    assert (tmp_path / "01_trials.png").is_file()
    assert json.loads((tmp_path / "metrics.json").read_text())["trials"] == 25
    with pytest.raises(ValueError, match="is another search, num_views was 5 and is 6"):
        search(tmp_path, monkeypatch, bowl, "--num-views", 6)
    with pytest.raises(ValueError, match="is another search, other contents of its inputs; choose"):
        search(tmp_path, monkeypatch, bowl, size=(0.7, 1.0, 0.5))
    with pytest.raises(ValueError, match="most_seconds is 0.5; the fastest of .* trials takes"):
        search(tmp_path, monkeypatch, bowl, "--trials", 25, "--most-seconds", 0.5)


@pytest.mark.slow
def test_three_real_trials(tmp_path, monkeypatch):
    rows = search(tmp_path, monkeypatch, module.measured, "--trials", 3)
    assert len(rows) == 3 and all(0 < float(row["error"]) < 1 and float(row["seconds"]) > 0 for row in rows)


def test_the_front_has_what_no_other_beats():
    error, seconds = np.array([1.0, 2.0, 3.0, 2.0, 1.0]), np.array([5.0, 3.0, 4.0, 3.0, 6.0])
    assert front(error, seconds).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inital_lr=0.1:0.2", "'inital_lr' is no option that changes a fit .did you mean initial_lr"),
        ("num_mixtures=9:2", "must be below the second"),
        ("num_mixtures=5", "must be LOW:HIGH"),
        ("num_mixtures=auto|8", "num_mixtures is 'auto'; must be a whole number"),
        ("initial_lr=0.1:20", "initial_lr is 20.0; must be at most 10"),
        ("schedule=cosine|sine", "schedule is 'sine'"),
        ("initial_lr=0.1:0.2 initial_lr=0.1:0.3", "each once"),
        ("report=true|false", "'report' is no option that changes a fit"),
        ("teachers=0:3", "'teachers' is no option that changes a fit"),
    ],
)
def test_keys_that_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        keys_of(text)


def test_what_a_trial_does_not_do_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("model:\n  symmetry: plane\n")
    config = load_config(["tune", "x.ply", "--config", str(tmp_path / "config.yaml")], tuple(TASKS))
    with pytest.raises(ValueError, match="symmetry is plane; tune does not read it, so it must be none"):
        tune(config, Clock())


def test_keys_are_of_the_options_own_type():
    rate, count, early = keys_of("initial_lr=0.01:0.2:log num_mixtures=20:80 early_stop=true|false")
    assert (rate.values, rate.log, count.values, early.values) == ((0.01, 0.2), True, (20, 80), (True, False))
    with pytest.raises(ValueError, match="all 1 trials failed; the first: why"):
        best_of([{"error": np.nan, "failure": "why"}], config_of("x.ply"))
