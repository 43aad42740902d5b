"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from importlib import import_module

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.machine import BEGAN, Clock


def main(argv: list[str], began: float | None = None) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set."""
    try:
        config = load_config(argv, tuple(TASKS))
        task = TASKS[config.task]
        getattr(import_module(task.module), task.function)(config, Clock(began))
    except (ValueError, FloatingPointError, MemoryError) as error:
        if os.environ.get("FMB_TRACEBACK"):
            raise
        print(f"error: {error or 'not enough memory'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def command() -> int:
    """What the installed command `fuzzy-metaballs` runs."""
    return main(sys.argv[1:], BEGAN)


if __name__ == "__main__":
    sys.exit(command())
