"""Whatever a run of a task tells at its end is compared with what it has written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import run_fmb
from fmb import machine
from tests.agreement import disagreements

COLUMNS = 80


@pytest.fixture(scope="package", autouse=True)
def every_number_agrees() -> Iterator[None]:
    """Runs in this process that end well have told nothing that their records do not say, in lines that fit."""
    main, tell = run_fmb.main, machine.say

    def checked(argv: list[str], *more: float) -> int:
        lines: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(machine, "say", lambda *said, **how: (lines.extend(said), tell(*said, **how)))
            code = main(argv, *more)
        text = " ".join(line.strip() for line in lines)
        place = re.search(r" in (\S+)/$", text)
        if code == 0 and place is not None:
            assert [
                line for said in lines for line in said.splitlines() if len(line) > COLUMNS and " " in line.strip()
            ] == []
            assert disagreements(Path(place[1]), text) == []
        return code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_fmb, "main", checked)
        yield
