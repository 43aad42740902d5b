"""How `--help` reads: as wide as the terminal, grouped by section, with the tasks and examples below."""

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from fmb.command.tasks import TASKS, Task
from fmb.config import PROGRAM
from fmb.options import Option, description

METAVARS = {int: "N", float: "X", bool: "true|false", str: "NAME"}
UNBROKEN = "\N{NO-BREAK SPACE}"
NAMED_METAVARS = {"file": "FILE", "dir": "FOLDER", "data": "FOLDER"}  # by the last word of an option's name


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Flags beside texts that break neither at hyphens, so that --mesh-file stays one word, nor before a default."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=help_width())

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [line.replace(UNBROKEN, " ") for line in textwrap.wrap(text, width, break_on_hyphens=False)]


def frame_of_help(tasks: Sequence[str], shown: str) -> dict[str, Any]:
    """What a parser says before and after its flags; those of task `shown`, if it is one."""
    task = TASKS.get(shown) if tasks else None
    several = task and task.several
    subject = (
        ("[FILES]" if task.optional else "FILE [FILE ...]")
        if several
        else f"[FILE]{' [FILE]' * bool(task and task.second)}"
    )
    subject = subject if task and (several or task.works_on) else ""
    words = f"{f'[{shown}]' if shown == tasks[0] else shown} {subject} ".replace("  ", " ") if task else ""
    return {
        "prog": PROGRAM,
        "usage": f"{PROGRAM} {words}[--flag value ...]",
        "description": wrapped(task.text) if task else None,
        "epilog": epilog(tasks, task) if task else None,
        "formatter_class": HelpFormatter,
    }


def help_width() -> int:
    """Columns of the help."""
    return min(100, shutil.get_terminal_size().columns)


def wrapped(text: str, indent: int = 0) -> str:
    """The text in lines that fit, also where argparse indents them by two; all but the first indented."""
    return textwrap.fill(text, help_width() - 2, subsequent_indent=indent * " ", break_on_hyphens=False)


def described_section(kind: type) -> str:
    """What the help says below a section's name."""
    return wrapped(" ".join(kind.__doc__.split()))


def epilog(tasks: Sequence[str], task: Task) -> str:
    """The tasks, a line each, and examples of the one whose help it is."""
    width = max(map(len, TASKS))
    lines = [wrapped(f"  {name:<{width}} {TASKS[name].text}", width + 3) for name in tasks if name in TASKS]
    return "\n".join(["tasks (the first is the default):", *lines, "", "examples:", *map(example_lines, task.examples)])


def example_lines(example: str) -> str:
    """The command, broken as a shell allows where it is too long."""
    command = f"  {PROGRAM} {example}"
    lines = textwrap.wrap(
        command, help_width() - 2, subsequent_indent=6 * " ", break_on_hyphens=False, break_long_words=False
    )
    return " \\\n".join(lines)


def add_flag(group: Any, spec: Option, flag: str) -> None:
    """The option under that flag, with its text and default."""
    default = str(spec.default).lower() if spec.type is bool else spec.default
    metavar = NAMED_METAVARS.get(spec.name.rpartition("_")[2], METAVARS[spec.type])
    text = with_default(description(spec), default).replace("%", "%%")
    group.add_argument(flag, dest=spec.name, metavar=metavar, help=text)


def with_default(text: str, default: Any) -> str:
    """The text and its default, within the parentheses at its end if there are some."""
    words = f"default{UNBROKEN}{default}"
    return f"{text[:-1]}; {words})" if text.endswith(")") else f"{text} ({words})"


def switch_flag(name: str) -> str:
    """The flag without a value, as it is typed."""
    return "--" + name.replace("_", "-")
