"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from importlib import import_module

from fmb.config import load_config
from fmb.machine import BEGAN, Clock

# Module and function of each task, loaded when it is asked for; the first is the default.
TASKS = {
    "shape": ("fmb.tasks.shape", "shape"),
    "pose": ("fmb.tasks.pose", "pose"),
    "track": ("fmb.tasks.track", "track"),
    "export": ("fmb.tasks.export", "export_model"),
    "convert": ("fmb.tasks.convert", "convert"),
}


def main(argv: list[str], began: float | None = None) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set."""
    try:
        config = load_config(argv, tuple(TASKS))
        module, function = TASKS[config.task]
        getattr(import_module(module), function)(config, Clock(began))
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
