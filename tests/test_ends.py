"""How runs end: by signals, also swallowed ones; without a reader, on a full disk, with letters that are lacking."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError

import run_fmb
from fmb.ends import Outlet, held
from fmb.machine import progress_bar, say

ROOT = Path(__file__).resolve().parents[1]
ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def end_me(number: int) -> None:
    """The signal comes now."""
    os.kill(os.getpid(), number)
    time.sleep(1.0)


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C, which a background job ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler, "handlers are put back"


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_ends_a_run_in_one_line(monkeypatch, capsys, number, code):
    monkeypatch.setattr(run_fmb, "run_task", lambda *_: end_me(number))
    assert run_fmb.main([]) == code
    assert capsys.readouterr() == ("", "stopped\n")


def test_an_end_that_is_swallowed_is_asked_for_again(monkeypatch, capsys):
    def deaf(*_: object) -> None:
        for _ in range(2):
            try:
                end_me(signal.SIGTERM)
            except BaseException as error:  # noqa: BLE001
                kept = error
        raise RuntimeError("half imported") from kept

    monkeypatch.setattr(run_fmb, "run_task", deaf)
    assert run_fmb.main([]) == 143
    monkeypatch.setattr(run_fmb, "run_task", lambda *_: [Deaf() and None, time.sleep(5.0)])
    began = time.monotonic()
    assert run_fmb.main([]) == 143 and time.monotonic() - began < 4.0
    assert capsys.readouterr() == ("", "stopped\nstopped\n")


class Deaf:
    """Is asked to end where Python swallows every exception."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)


def test_signals_wait_for_what_is_done_whole(monkeypatch):
    done = []

    def task(*_: object) -> None:
        with held():
            end_me(signal.SIGINT)
            done.append("whole")
        done.append("more")

    monkeypatch.setattr(run_fmb, "run_task", task)
    assert run_fmb.main([]) == 130 and done == ["whole"]


def test_a_device_that_vanishes_is_one_line(monkeypatch, capsys):
    def task(argv: list[str], *_: object) -> None:
        raise JaxRuntimeError("INTERNAL: the device is lost\nmore") if not argv else RuntimeError("a mistake of ours")

    monkeypatch.setattr(run_fmb, "run_task", task)
    assert run_fmb.main([]) == 2
    words = "error: a device has failed, or has no memory left (INTERNAL: the device is lost)\n"
    assert capsys.readouterr().err == words
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_fmb.main(["x"])


def test_ctrl_c_while_all_is_imported():
    program = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); import run_fmb, sys\n"
    program += "class Hook:\n    def find_spec(self, name, *_):\n        name == 'numpy' and os.kill(os.getpid(), 2)\n"
    program += "sys.meta_path.insert(0, Hook()); sys.argv = ['x']; sys.exit(run_fmb.command())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize(
    ("shell", "code", "words"),
    [
        ("{run} --help | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("{run} --help > /dev/full", 2, "error: standard output: No space left on device\n"),
        ("{run} --nonsense 2> /dev/full", 2, ""),
        ("{run} --nonsense >&- 2>&-", 2, ""),
        ("PYTHONIOENCODING=ascii {run} --mesh-file M\u00fcller.ply", 2, "M\\xfcller.ply: no such"),
    ],
)
def test_a_screen_that_fails_is_no_traceback(shell, code, words):
    command = shell.format(run=f"{sys.executable} run_fmb.py")
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert words in done.stderr and len(done.stderr.splitlines()) == bool(words)


def test_a_broken_stream_is_tried_once():
    class Full(io.StringIO):
        tries = 0

        def write(self, text: str) -> int:
            self.tries += 1
            raise OSError(28, "No space left on device")

    outlet = Outlet(Full())
    print("a", "b", file=outlet)
    print("c", file=outlet, flush=True)
    assert outlet.tries == 1 and outlet.error.errno == 28


def test_a_bar_without_a_terminal_is_its_last_line(capsys):
    with progress_bar("fit") as move:
        for step in range(3):
            move(step + 1, 3, 0.5 / (step + 1))
    with progress_bar("nothing"):
        pass
    say("done")
    out, err = capsys.readouterr()
    assert out == "done\n" and " ".join(err.split()) == "fit 0.0 s 3 of 3 steps, loss 0.1667"
    assert "\r" not in err
