"""Two checkouts that fit the same views in turns: the protocol with processes that fit nothing, and once for real."""

import json

import pytest
import trimesh

from benchmarks.study import ROOT
from benchmarks.table3 import pairs

# Answers as benchmarks/table3/fit_process.py does; errors are those of its checkout, plus the seed.
FITS_NOTHING = """
import json, pathlib, sys
error = float(pathlib.Path("fm_render.py").read_text())
for line in sys.stdin:
    mesh, noise, seed = json.loads(line)
    if error < 0.0:
        sys.exit(3)
    row = {"model": mesh[:-4], "noise": noise, "seed": seed, "cross_entropy": error + seed, "iou": 0.9}
    row |= {"depth_percent": 1.0, "seconds": 2.0 * error, "cpu_seconds": error, "load": 0.0}
    with open("../turns", "a") as file:
        file.write(pathlib.Path.cwd().name + " ")
    print(json.dumps(row), flush=True)
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two meshes, and a worker that fits nothing."""
    folder, worker = tmp_path / "models", tmp_path / "worker.py"
    folder.mkdir()
    worker.write_text(FITS_NOTHING)
    monkeypatch.setattr(pairs, "WORKER", worker)
    for name in ("ball", "brick"):
        trimesh.creation.icosphere(1, 0.5).export(folder / f"{name}.ply")
    return folder


def checkout(folder, error: float):
    folder.mkdir()
    (folder / "fm_render.py").write_text(str(error))
    return folder


def test_old_and_new_are_compared_pair_by_pair(models, tmp_path, capsys):
    old, new, file = checkout(tmp_path / "old", 4.0), checkout(tmp_path / "new", 1.0), tmp_path / "both.json"
    argv = ["--models", str(models), "--seeds", "0", "1", "--json", str(file)]
    assert pairs.main([*argv, "--old", str(old), "--new", str(new)]) == 0
    assert "-3.00000 ± 0.00000, lower in 4 of 4" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["new less old"]["damaged"]["seconds"]["ratio"] == 0.25
    # means over two models and two seeds; the seeds differ by 1, the models do not
    summary = found["summary"]["old"]["clean"]["cross_entropy"]
    assert summary == {"mean": 4.5, "over_models": 0.0, "over_seeds": pytest.approx(0.5**0.5)}
    assert [row["noise"] for row in found["sides"]["old"]["rows"]] == 4 * ["clean", "damaged"]
    # whoever began is second in the next case
    assert (tmp_path / "turns").read_text().split() == 4 * ["old", "new", "new", "old"]

    # a file stands for the checkout that it came from; here the old one is compared with itself
    assert pairs.main([*argv[:-1], str(tmp_path / "again.json"), "--old", str(file), "--new", str(old)]) == 0
    assert "+0.00000 ± 0.00000, lower in 0 of 4" in capsys.readouterr().out


def test_what_cannot_be_compared_is_said(models, tmp_path, capsys):
    old, dies, file = checkout(tmp_path / "old", 4.0), checkout(tmp_path / "new", -1.0), tmp_path / "both.json"
    argv = ["--models", str(models), "--seeds", "0", "--json", str(file), "--old"]
    assert pairs.main([*argv, str(old)]) == 0
    capsys.readouterr()
    for more, words in (
        ([str(dies)], f"ball clean 0: the process in {dies} ended without a row"),
        ([str(models)], f"{models}: no fm_render.py there; must be a checkout, or a file of this command"),
        ([str(file), "--size", "32"], f"{file}: settings"),
        ([str(file), "--seeds", "1"], f"{file}: no row of ball clean 1"),
        ([str(tmp_path / "none.json")], f"{tmp_path / 'none.json'}: no such file or directory"),
    ):
        assert pairs.main([*argv, *more]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_this_checkout_fits(tmp_path):
    models, file = tmp_path / "models", tmp_path / "rows.json"
    models.mkdir()
    trimesh.creation.icosphere(2, 0.5).export(models / "ball.ply")
    small = ["--seeds", "0", "--views", "4", "--size", "16", "--components", "3", "--json", str(file)]
    assert pairs.main(["--models", str(models), "--old", str(ROOT), *small]) == 0
    rows = json.loads(file.read_text())["sides"]["old"]["rows"]
    assert [row["noise"] for row in rows] == ["clean", "damaged"]
    assert all(0.0 < row["cross_entropy"] < 0.5 and row["cpu_seconds"] > 0.0 for row in rows)
