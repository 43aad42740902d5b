"""The options of a run: flags win over the file, the file over the defaults."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmb.command.flags import parse_flags
from fmb.command.help_text import switch_flag
from fmb.command.tasks import TASKS, subjects
from fmb.command.yaml_file import Entry, read_file
from fmb.config import DEFAULT_FILE, Config, declared, sections, switches
from fmb.options import NONE, ConfigError, parse_value, quote
from fmb.shape.options import RELEASED


def load_config(argv: Sequence[str], tasks: Sequence[str] = (), default_file: Path | None = DEFAULT_FILE) -> Config:
    """The options of a command line (without the program): flags win over the file, the file over the defaults.

    The first word may be one of `tasks`; without it the task is the first of them. The word after it, or the first if
    it is none of them, stands for the flag of the file or folder to work on, see `subject_option`. `--help` prints and
    exits. A mesh_file that nobody chose is looked for in the current folder, then beside the default file.
    Raises ConfigError, a ValueError of one line.
    """
    flags = parse_flags(argv, tasks)
    entries = {name: Entry(spec.default, name) for name, spec in declared().items()}
    if default_file is not None:
        if flags.config is None and default_file.exists():
            entries |= read_file(default_file, default_file.name)
        for name in ("mesh_file", "encoder"):
            entries[name] = found_from(default_file.parent, entries[name])
    if flags.config is not None:
        entries |= read_file(Path(flags.config), flags.config)
    for name, spec in declared().items():
        text = getattr(flags, name)
        if text is not None:
            label = TASKS[flags.task].flag(spec) if flags.task in TASKS else spec.flag
            entries[name] = Entry(parse_value(spec, text, label), label)
    for notice in check_read(entries, flags):
        print(notice, file=sys.stderr)
    if entries["recipe"].value == "predecessor":
        for name, value in RELEASED.items():
            if entries[name].label.startswith("--"):
                raise ConfigError(f"{entries[name].label}: recipe predecessor has its own {name}, {value}")
            entries[name] = Entry(value, f"{name} of recipe predecessor")
    check_together(entries, flags.task)
    values: dict[str, dict[str, Any]] = {}
    for name, spec in declared().items():
        values.setdefault(spec.section, {})[name] = entries[name].value
    made = {name: kind(**values[name]) for name, kind in sections().items()}
    return Config(
        **made,
        **values[""],
        task=flags.task,
        several=flags.several,
        **{name: getattr(flags, name) for name in switches()},
    )


def found_from(folder: Path, entry: Entry) -> Entry:
    """The entry of a file, which is looked for in `folder` where the current folder has none of that name."""
    # not Path.exists, which raises for a name that is too long
    return entry if os.path.exists(entry.value) else entry._replace(value=str(folder / entry.value))


def check_read(entries: Mapping[str, Entry], flags: argparse.Namespace) -> list[str]:
    """A line for each flag that the task does not read; scripts that give one to every task go on.

    A flag with its default is not told, nor is what a file sets: the config.yaml of one task serves another.
    Raises ConfigError for something to work on that the task would not work on.
    """
    task, notices = TASKS.get(flags.task), []
    given = [name for name in declared() if entries[name].label.startswith("--")]
    given = [name for name in given if entries[name].value != declared()[name].default]
    for name in [*given, *(name for name in switches() if getattr(flags, name))]:
        if task is None or task.reads_flag(name):
            continue
        if name in subjects(*TASKS.values()):
            works_on = " or ".join(task.works_on)
            label = quote(flags.subject) if flags.subject == entries[name].value else switch_flag(name)
            if flags.subject == entries[name].value and os.path.isdir(flags.subject):
                files = " or ".join(declared()[other].limits["text"] for other in task.works_on)
                raise ConfigError(f"{label} is a folder; task {flags.task} needs a file: {files}")
            raise ConfigError(f"{label}: task {flags.task} does not work on it, but on {works_on}")
        readers = [other for other, entry in TASKS.items() if entry.reads_flag(name)]
        verb = "do" if len(readers) > 1 else "does"
        notices.append(
            f"note: {switch_flag(name)} changes nothing: task {flags.task} does not read it; "
            f"{' and '.join(readers)} {verb}"
        )
    return notices


def check_together(entries: Mapping[str, Entry], task: str) -> None:
    """Raises ConfigError where values are allowed alone but not together."""
    views, width, height = (entries[name].value for name in ("num_views", "image_width", "image_height"))
    batch, points, mixtures = (entries[name] for name in ("batch_size", "gmm_points", "num_mixtures"))
    if task in ("", "shape", "convert") and entries["data"].value == NONE and batch.value > views * width * height:
        rays = f"{views * width * height}, the rays of {views} views of {width} x {height} pixels"
        raise ConfigError(f"{batch.label} is {batch.value}; must be at most {rays}")
    if entries["init"].value != "sphere" and mixtures.value > points.value:
        raise ConfigError(f"{mixtures.label} is {mixtures.value}; must be at most gmm_points, {points.value}")
