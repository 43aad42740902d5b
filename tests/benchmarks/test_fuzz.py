"""A few damaged files for every reader; `python -m benchmarks.fuzz` does 50,000."""

import warnings
from functools import partial

import pytest

from benchmarks.fuzz.__main__ import main
from benchmarks.fuzz.corpus import FILES, FOLDERS, TARGETS
from benchmarks.fuzz.worker import ENDS, one_damaged, outcome


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_one_line(name, folder):
    read = partial(TARGETS[name].read, TARGETS[name].write(folder))
    read()
    with warnings.catch_warnings(action="ignore"):  # of libraries
        for seed in range(4 if name in FOLDERS else 12):
            with one_damaged(folder, seed):
                kind, said = outcome(read, str(folder))
                assert kind in ENDS[:2], f"seed {seed}: {said}"


def fails(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("DATA/a: bad"), "refused"),
        (ValueError("bad"), "traceback"),
        (ValueError("DATA/a: bad\nand more"), "traceback"),
        (KeyError("DATA"), "traceback"),
        (MemoryError(), "memory"),
        (ValueError("DATA/a: needs more memory than there is"), "memory"),
    ],
)
def test_ends_are_told_apart(error, kind):
    assert outcome(partial(fails, error), "DATA")[0] == kind
    assert outcome(int, "DATA")[0] == "read"


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("Before\n\n| kind | x |\n\nAfter\n")
    assert main(["--count", "20", "--only", "model.pkl", "--output", str(tmp_path), "--results", str(page)]) == 0
    assert "| all | 22 | " in capsys.readouterr().out
    assert page.read_text().startswith("Before\n\n| kind | files |") and page.read_text().endswith("|\n\nAfter\n")
    assert set(FILES).isdisjoint(FOLDERS)
