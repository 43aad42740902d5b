"""What a run tells while it works: a line that moves in a terminal, plain lines in a log, nothing before an error."""

import ast
import io
import sys
import time
from pathlib import Path

import pytest

from fmb import waiting
from fmb.machine import Clock, progress_bar, say, tell


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_something_move_and_the_lines_stay(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Clock()("optimize"):
        assert screen.getvalue().startswith(waiting.ERASE + "fit ")  # at once
        time.sleep(2.5 * waiting.TICK)
        with progress_bar("fit") as move:
            move(3, 4, 0.25)
    shown = screen.getvalue()
    assert shown.count(waiting.ERASE + "fit ") >= 3  # the clock goes on
    assert shown.endswith(" s   3 of 4 steps, loss 0.2500\n")
    assert all(len(line) < 80 for line in shown.replace(waiting.ERASE, "\n").replace("\r", "\n").split("\n"))


def test_what_is_said_takes_the_moving_line_away(monkeypatch, capsys):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with waiting.part("load"):
        before = len(screen.getvalue())
        say("a word")
        assert screen.getvalue()[before:].startswith(waiting.ERASE)
    assert capsys.readouterr().out == "a word\n"


def test_in_a_log_the_reading_waits_until_the_work_begins(monkeypatch, capsys):
    monkeypatch.setattr(waiting, "LEAST", 0.0)
    with pytest.raises(ValueError, match="odd"), waiting.part("load"):
        raise ValueError("odd")
    with waiting.part("load"):
        pass
    assert capsys.readouterr().err == ""  # an error would now stand alone
    waiting.forget()
    with waiting.part("gmm"):
        pass
    with pytest.raises(ValueError, match="odd"), waiting.part("optimize"):
        raise ValueError("odd")
    assert capsys.readouterr().err == ""
    with waiting.part("optimize"):
        with progress_bar("fit") as move:
            move(1, 2, 0.5)
            assert capsys.readouterr().err.split() == ["starting", "mixture", "0.0", "s"]
        with waiting.part("compile"):
            pass
        assert waiting.note("of all")
    told = capsys.readouterr().err
    assert [line.split() for line in told.splitlines()] == [["compiling", "0.0", "s"], ["fit", "0.0", "s", "of", "all"]]
    assert "\r" not in told and "\033" not in told


def test_summaries_fit_a_terminal(capsys):
    tell("word " * 40, "in /a/" + "b" * 90 + "/", "one\ntwo")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["one", "two"] and "/a/" + "b" * 90 + "/" in lines[-3]
    assert all(len(line) <= 80 for line in lines if " " in line.strip())


def test_words_reach_the_screen_by_one_way():
    """By `tell`, which folds them; names of files, JSON and what --version asks for are printed as they are."""
    as_they_are = {"export.py": {"say"}, "doctor.py": {"say"}, "flags.py": {"print"}, "machine.py": {"say", "print"}}
    for path in (Path(waiting.__file__).parent).rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        names = {ast.unparse(function).rpartition(".")[2] for function in calls}
        assert names & {"say", "print"} <= as_they_are.get(path.name, set()), path
