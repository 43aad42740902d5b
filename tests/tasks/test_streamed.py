"""Task shape on views from disk: all its files, what it tells, and a run that goes on or is refused."""

import json
import signal

import numpy as np
import pytest

import run_fmb
from fmb.files.safe import read_json
from tests.datasets import make_scene, write_plain

SMALL = "--stream-views always --num-mixtures 3 --batch-size 64 --gmm-points 200 --mesh-resolution 16 --cpu"


@pytest.mark.slow
def test_a_run_of_task_shape(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fmb.tasks.streamed.SEEN", 4)
    monkeypatch.setattr("fmb.shape.streaming.GROUP_PIXELS", 1)
    (tmp_path / "data").mkdir()
    write_plain(tmp_path / "data", make_scene(12))
    words = ["--data", str(tmp_path / "data"), *SMALL.split(), "--output-dir", str(tmp_path / "out")]
    assert run_fmb.main([*words, "--num-epochs", "20"]) == 0
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["streamed_views"] == len(metrics["view_iou"]) == len(metrics["view_weight"]) == 11
    assert metrics["train"]["iou"] > 0.8 and np.mean(metrics["view_iou"]) > 0.8
    assert "11 views were fitted to, from disk" in (tmp_path / "out" / "report.html").read_text()
    assert len(json.loads((tmp_path / "out" / "cameras.json").read_text())["views"]) == 4 + 1
    assert "11 views are read from disk while the fit goes on" in capsys.readouterr().out

    def stop(unfinished, make):
        keep(unfinished, make)
        if unfinished.make().step >= 250:
            unfinished._keep()
            signal.raise_signal(signal.SIGTERM)

    from fmb.tasks.unfinished import Unfinished

    keep = Unfinished.offer
    monkeypatch.setattr(Unfinished, "offer", stop)
    words = [*words, "--num-epochs", "20"]
    assert run_fmb.main(words) == 143
    monkeypatch.setattr(Unfinished, "offer", keep)
    mask = tmp_path / "data" / "masks" / "003.png"
    whole = mask.read_bytes()
    mask.write_bytes((tmp_path / "data" / "masks" / "004.png").read_bytes())
    assert run_fmb.main([*words, "--resume"]) == 2
    assert "is another run, data was" in capsys.readouterr().err
    mask.write_bytes(whole)
    assert run_fmb.main([*words, "--resume"]) == 0
    again = read_json(tmp_path / "out" / "metrics.json")
    for name in ("train", "novel", "view_iou", "view_weight", "steps"):
        assert again[name] == metrics[name], name
