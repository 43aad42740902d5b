"""How a run ends: signals, a terminal that goes away, and the exit code of each.

Imports nothing heavy, so that Ctrl-C is already heard while all else is imported.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

BEGAN = time.perf_counter()  # when this was imported: near enough to when the program was started
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
UNTOUCHED = (signal.SIG_DFL, signal.default_int_handler)  # what is ignored, as under nohup, stays ignored
AGAIN = 1.0  # seconds until an end that a library has swallowed is asked for again


class Stopped(KeyboardInterrupt):
    """The run was asked to end by signal `number`."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _State:
    holds = 0  # contexts of `held` that are open
    asked = 0  # the signal that asked for the end
    waiting = False  # it came while it was held


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Stopped within, as Ctrl-C does; in the main thread alone, where signals arrive.

    Libraries swallow it (`except BaseException`, callbacks, `__del__`): it is raised again a second later, and in place
    of whatever else goes wrong after it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number, handler in before.items() if handler in UNTOUCHED]
    alarm, unraisable = hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM), sys.unraisablehook
    try:
        sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, Stopped) else unraisable(lost)
        if alarm is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, lambda number, frame: _State.asked and _end(_State.asked))
        for number in mine:
            signal.signal(number, lambda number, frame: _end(number))
        yield
        if _State.asked:
            raise Stopped(_State.asked)
    except Exception:
        if _State.asked:
            raise Stopped(_State.asked) from None
        raise
    finally:
        _State.holds += 1
        calm()
        for number in mine:
            signal.signal(number, before[number])
        if alarm is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, alarm)
        sys.unraisablehook = unraisable
        _State.holds -= 1


def _end(number: int) -> None:
    _State.asked = number
    if _State.holds:
        _State.waiting = True
        return
    if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise Stopped(number)


def calm() -> None:
    """The end was heard: it is not asked for again."""
    _State.asked, _State.waiting = 0, False
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0.0)


@contextmanager
def held() -> Iterator[None]:
    """Signals wait until this context ends: what is done within is done whole. They reach the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.holds += 1
    try:
        yield
    finally:
        _State.holds -= 1
        if _State.waiting and not _State.holds:
            _State.waiting = False
            raise Stopped(_State.asked)


class Outlet:
    """A stream that never fails: its reader may go away, and it may lack letters; a result is worth more."""

    def __init__(self, stream: Any):
        self.stream, self.error = stream, None

    def write(self, text: str) -> int:
        """Writes what can be written, letters that the encoding lacks as escapes."""
        try:
            encoding = self.stream.encoding or "utf-8"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        except (AttributeError, LookupError):
            pass  # a stream of somebody's own
        if self.error is None:
            self._tried(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Hands on what waits."""
        if self.error is None:
            self._tried(self.stream.flush)

    def _tried(self, action: Any, *words: str) -> None:
        try:
            action(*words)
        except (OSError, ValueError) as error:  # ValueError: closed by somebody
            self.error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def forgiving() -> Iterator[list[Outlet]]:
    """Standard output and error as Outlets; gives both, those that exist."""
    with ExitStack() as stack:
        outlets = []
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if stream is not None:
                outlets.append(Outlet(stream))
                stack.enter_context(redirect(outlets[-1]))
        yield outlets


def open_standard_streams() -> None:
    """Opens what of 0, 1 and 2 is closed, so that no file of a result gets the number that C libraries print to."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)


def leave(outlets: list[Outlet], code: int) -> int:
    """The exit code: that of the run, or 2 and one line where its words could not be written (a full disk).

    A reader that has gone away (`| head -1`) is none of the program's business.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends at once, without a word
    for outlet in outlets:
        outlet.flush()
        if outlet.error is None:
            continue
        if outlet.stream is sys.__stdout__ and not isinstance(outlet.error, BrokenPipeError):
            outlets[-1].write(f"error: standard output: {getattr(outlet.error, 'strerror', None) or outlet.error}\n")
            code = code or 2
        # Python tries to write what is left once more when it ends
        with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), outlet.stream.fileno())
    return code
