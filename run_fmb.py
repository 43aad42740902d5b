"""Fuzzy metaballs from the command line: `python run_fmb.py --help`."""

import gc
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module

from fmb import waiting
from fmb.ends import BEGAN, forgiving, held, leave, open_standard_streams, stoppable
from fmb.surroundings import own_environment  # what is slow to import comes in run_task


def main(argv: list[str], began: float | None = None, alone: bool = False) -> int:
    """Runs the task; 2 and one line on stderr for what the user can mend, or all of it if $FMB_TRACEBACK is set.

    128 and the signal's number, and one line, where a signal ended it: 130 for Ctrl-C. `alone`: nobody else is in the
    process, who could have changed a function of the program, so its compiled programs can be kept.
    """
    with forgiving():
        try:
            with stoppable(), own_environment():
                run_task(argv, began, alone)
        except (ValueError, FloatingPointError, MemoryError) as error:
            if os.environ.get("FMB_TRACEBACK"):
                raise
            waiting.forget()
            print(f"error: {error or 'not enough memory'}", file=sys.stderr)
            return 2
        except RuntimeError as error:
            from fmb.machine import device_words

            words = device_words(error)
            if os.environ.get("FMB_TRACEBACK") or not words:
                raise
            waiting.forget()
            print(f"error: {words}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as stop:
            print("stopped", file=sys.stderr)
            return 128 + getattr(stop, "number", 2)
    return 0


def run_task(argv: list[str], began: float | None, alone: bool) -> None:
    """Runs the task that the arguments name."""
    from fmb.command.load import load_config
    from fmb.command.tasks import TASKS, draws_mesh
    from fmb.geometry.opengl import started_early

    config = load_config(argv, tuple(TASKS))
    with started_early() if draws_mesh(config) else nullcontext():
        with waiting.part("libraries"):
            work = loaded(TASKS[config.task].module, TASKS[config.task].function)
        from fmb.machine import Clock
        from fmb.ready import keep_programs

        if alone:
            keep_programs()
        work(config, Clock(began))


def loaded(module: str, function: str) -> Callable:
    """The function of the module. What importing it makes stays to the end, so it is never looked through for garbage.

    Of a start that saves 0.15 s, of the rest of the default run as much again.
    """
    new, collects = module not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        with held():  # the process crashes where a signal is raised while JAX's own library starts
            import_module("jax")
        return getattr(import_module(module), function)
    finally:
        if new:
            gc.freeze()
        if collects:
            gc.enable()


def command() -> int:
    """What the installed command `fuzzy-metaballs` runs."""
    open_standard_streams()
    with forgiving() as outlets:
        try:
            code = main(sys.argv[1:], BEGAN, alone=True)
        except SystemExit as end:  # --help
            code = end.code
        gc.freeze()  # what is left goes with the process; to take it apart first took 0.2 s
        return leave(outlets, code)


if __name__ == "__main__":
    sys.exit(command())
