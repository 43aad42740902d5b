"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from importlib import import_module

from fmb.ends import BEGAN, forgiving, leave, open_standard_streams, stoppable
from fmb.surroundings import own_environment  # what is slow to import comes in run_task


def main(argv: list[str], began: float | None = None) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set.

    128 and the signal's number, and one line, where a signal ended it: 130 for Ctrl-C.
    """
    with forgiving():
        try:
            with stoppable(), own_environment():
                run_task(argv, began)
        except (ValueError, FloatingPointError, MemoryError) as error:
            if os.environ.get("FMB_TRACEBACK"):
                raise
            print(f"error: {error or 'not enough memory'}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as stop:
            print("stopped", file=sys.stderr)
            return 128 + getattr(stop, "number", 2)
    return 0


def run_task(argv: list[str], began: float | None) -> None:
    """Runs the task that the arguments name."""
    from fmb.command.load import load_config
    from fmb.command.tasks import TASKS
    from fmb.machine import Clock

    config = load_config(argv, tuple(TASKS))
    task = TASKS[config.task]
    getattr(import_module(task.module), task.function)(config, Clock(began))


def command() -> int:
    """What the installed command `fuzzy-metaballs` runs."""
    open_standard_streams()
    with forgiving() as outlets:
        try:
            code = main(sys.argv[1:], BEGAN)
        except SystemExit as end:  # --help
            code = end.code
        return leave(outlets, code)


if __name__ == "__main__":
    sys.exit(command())
