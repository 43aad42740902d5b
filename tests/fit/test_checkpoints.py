"""Checkpoints: seals, what is kept when, and a fit of a shape that goes on as if nothing had been."""

from pathlib import Path

import jax
import numpy as np
import pytest
import trimesh

import run_fmb
from fmb.files.models import read_mixture
from fmb.files.safe import read_arrays
from fmb.fit.checkpoints import Snapshot, opened, run_digest, sealed
from fmb.tasks import unfinished
from fmb.tasks.unfinished import Unfinished

RUN = run_digest({"seed": 1})


def test_a_seal_tells_what_was_altered():
    arrays = {"a": np.arange(3.0), "b": np.zeros((2, 2), np.int32)}
    whole = sealed(arrays, RUN)
    assert opened(whole, RUN).keys() == arrays.keys()
    for wrong in (
        {**whole, "a": np.arange(3.0) + 1e-12},
        {**whole, "b": np.zeros((2, 2), np.int64)},
        {**whole, "b": np.zeros((4, 1), np.int32)},
        {**whole, "c": np.zeros(1)},
        {name: array for name, array in whole.items() if name != "a"},
        arrays,
    ):
        with pytest.raises(ValueError, match="is not as it was written"):
            opened(wrong, RUN)
    with pytest.raises(ValueError, match="is of a run with other options or data"):
        opened(whole, run_digest({"seed": 2}))


def test_a_broken_checkpoint_is_told_and_the_one_before_it_taken(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(unfinished, "EVERY", -1.0)
    keeper = Unfinished(tmp_path / "out", {"seed": 1}, late=True)
    assert keeper.begin(False) is None and not keeper.folder.exists()
    for step in (1, 2, 3, 4):
        keeper.offer(lambda step=step: Snapshot(step, {"x": np.full(100, float(step))}))
    assert sorted(path.name for path in keeper.latest.iterdir()) == ["3.npz", "4.npz"]
    newest = keeper.latest / "4.npz"
    newest.write_bytes(newest.read_bytes()[:-60])
    assert Unfinished(tmp_path / "out", {"seed": 1}).begin(True)["x"][0] == 3.0
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "4.npz" in told and "the one before it is taken" in told
    altered = {**read_arrays(keeper.latest / "3.npz"), "x": np.zeros(100)}
    np.savez(newest, **altered)
    assert Unfinished(tmp_path / "out", {"seed": 1}).begin(True)["x"][0] == 3.0
    assert "4.npz: is not as it was written" in capsys.readouterr().err
    np.savez(keeper.latest / "3.npz", **altered)
    with pytest.raises(ValueError, match="none of its 2 checkpoints can be used"):
        Unfinished(tmp_path / "out", {"seed": 1}).begin(True)
    with pytest.raises(ValueError, match="is another run, seed was 1 and is 2"):
        Unfinished(tmp_path / "out", {"seed": 2}).begin(True)
    keeper.remove()
    assert not keeper.folder.exists()


def test_a_signal_keeps_the_last_state_of_a_run_that_is_worth_it(tmp_path, monkeypatch, capsys):
    for worth, there in ((5.0, False), (-1.0, True)):
        monkeypatch.setattr(unfinished, "WORTH_KEEPING", worth)
        keeper = Unfinished(tmp_path / "out", {}, late=True)
        keeper.begin(False)
        keeper.offer(lambda: Snapshot(7, {"x": np.zeros(1)}))
        with pytest.raises(KeyboardInterrupt), keeper.kept():
            raise KeyboardInterrupt
        assert (keeper.latest / "7.npz").is_file() is there
    assert "keeps the run up to step 7; --resume goes on with it" in capsys.readouterr().err


SMALL = "--num-views 5 --image-width 16 --image-height 16 --num-mixtures 3 --batch-size 128 --num-epochs 80 --cpu"
SMALL += " --gmm-points 200 --mesh none --report false --ground-truth raycast"


@pytest.mark.slow
def test_a_shape_goes_on_bit_for_bit(tmp_path: Path, monkeypatch, capsys):
    trimesh.creation.box((1.0, 0.7, 0.5)).export(tmp_path / "box.ply")

    def run(place: str, *words: str) -> int:
        return run_fmb.main(
            ["shape", str(tmp_path / "box.ply"), *SMALL.split(), "--output-dir", str(tmp_path / place), *words]
        )

    assert run("once") == 0
    monkeypatch.setattr(unfinished, "WORTH_KEEPING", -1.0)
    seen = []

    def offered(self, make):
        offer(self, make)
        seen.append(make().step)
        if len(seen) == 3:
            raise KeyboardInterrupt

    offer = Unfinished.offer
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "offer", offered)
        assert run("twice") == 130
    assert f"keeps the run up to step {seen[2]}; --resume goes on" in capsys.readouterr().err
    assert run("twice", "--resume", "--num-epochs", "81") == 2
    assert "is another run, num_epochs was 80 and is 81" in capsys.readouterr().err
    assert run("twice", "--resume") == 0
    first, second = (read_mixture(tmp_path / place / "model.npz").mixture for place in ("once", "twice"))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    one, two = ((tmp_path / place / "history.csv").read_text().splitlines() for place in ("once", "twice"))
    assert [line.split(",")[:3] for line in one] == [line.split(",")[:3] for line in two]
    assert not (tmp_path / "twice.unfinished").exists()
    assert run("twice", "--resume") == 2
    assert "no interrupted run to go on with" in capsys.readouterr().err
    assert run("twice", "--resume", "--symmetry", "plane") == 2
    assert "symmetry is plane; --resume needs none" in capsys.readouterr().err
