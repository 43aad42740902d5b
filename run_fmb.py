"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import os
import sys
from collections.abc import Callable

from fmb.config import Config, load_config
from fmb.tasks.convert import convert
from fmb.tasks.export import export_model
from fmb.tasks.pose import pose
from fmb.tasks.shape import shape
from fmb.tasks.track import track
from util import BEGAN, Clock

TASKS: dict[str, Callable[[Config, Clock], None]] = {
    "shape": shape,
    "pose": pose,
    "track": track,
    "export": export_model,
    "convert": convert,
}


def main(argv: list[str], began: float | None = None) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set."""
    try:
        config = load_config(argv, tuple(TASKS))
        TASKS[config.task](config, Clock(began))
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
