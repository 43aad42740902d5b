"""Draws what it is asked for; `fmb.pictures.painter` runs this as a program in its own process.

It reads pickled calls from standard input. After each it writes what the call raised, or None, and what it returned to
standard output.
"""

import gc
import os
import pickle
import sys
from pathlib import Path


def main() -> None:
    """Answers until there is nothing more to read."""
    gc.disable()  # nothing is garbage while modules are imported
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from fmb.geometry.opengl_process import end_with_parent

    end_with_parent()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the replies must not contain what libraries print
    # what takes longest, while the first call is still to come
    from matplotlib.figure import Figure  # noqa: F401

    from fmb.pictures import draw  # noqa: F401

    gc.freeze()
    gc.enable()
    while True:
        try:
            function, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        error = result = None
        try:
            result = function(*arguments)
        except (ValueError, OSError, MemoryError) as failure:
            error = failure
        pickle.dump((error, result), replies)
        replies.flush()


if __name__ == "__main__":
    main()
