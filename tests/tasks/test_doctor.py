"""Task doctor: what it says, as text and JSON, and what it complains of."""

import json

import pytest

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.machine import Clock
from fmb.tasks import doctor

GOOD = {"train_iou": 0.97, "unseen_iou": 0.93, "steps": 480, "fit_seconds": 1.0, "steps_per_second": 480.0}
GOOD |= {"seconds": 2.0, "good": True}


def run(monkeypatch, *words: str, works: bool = True, test: dict = GOOD) -> None:
    monkeypatch.setattr(doctor, "probe", lambda name, extra: {"works": works, "why": "no driver", "seconds": 0.1})
    monkeypatch.setattr(doctor, "self_test", lambda cpu: test)
    doctor.doctor(load_config(["doctor", *words], tuple(TASKS), default_file=None), Clock())


def test_text_and_json(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "--output-dir", str(tmp_path / "new" / "folder"))
    text = capsys.readouterr().out
    assert text.endswith("all is well\n") and "IoU 0.970" in text and "EGL           works" in text
    run(monkeypatch, "--json", "--output-dir", str(tmp_path))
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == [] and found["ground_truth"]["raycast"]["works"] and found["output"]["writable"]
    assert (
        found["versions"]["jax"]
        and found["machine"]["cores"] >= 1
        and found["machine"]["memory_free_bytes"] != 0
        and found["device"]["all"]
    )


def test_what_is_wrong_shows_in_the_exit_code(monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"^doctor: 1 of what is needed is wrong: ray casting: no driver$"):
        run(monkeypatch, works=False)
    with pytest.raises(ValueError, match=r"IoU of 0.500; must be 0.95"):
        run(monkeypatch, test=GOOD | {"train_iou": 0.5, "good": False})
    with pytest.raises(ValueError, match="the test's fit fails: no memory"):
        run(monkeypatch, test={"good": False, "why": "no memory"})
    out = capsys.readouterr().out
    assert "EGL           no: no driver" in out and "test          FAILED: no memory" in out


def test_a_fit_that_fails_does_not_end_the_report(monkeypatch):
    def fails(cpu: bool) -> dict:
        raise FloatingPointError("the loss is nan at step 3")

    monkeypatch.setattr(doctor, "fitted_box", fails)
    assert doctor.self_test(True) == {"good": False, "why": "the loss is nan at step 3"}


@pytest.mark.slow
def test_back_ends_are_probed():
    assert doctor.probe("raycast", {})["works"]
    wrong = doctor.probe("EGL", {"PYOPENGL_PLATFORM": "nonsense"})
    assert not wrong["works"] and wrong["why"]
