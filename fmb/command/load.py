"""The options of a run: flags win over the file, the file over the defaults."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmb.command.flags import parse_flags
from fmb.command.help_text import switch_flag
from fmb.command.subjects import FILES, check_file, is_subject, read_by
from fmb.command.tasks import TASKS, subjects
from fmb.command.yaml_file import Entry, read_file
from fmb.config import DEFAULT_FILE, Config, declared, sections, switches
from fmb.options import NONE, ConfigError, Option, expected, parse_value, quote
from fmb.shape.options import AUTO, COUNTED, RELEASED

READ_WITH = {"turntable_degrees": "data", "camera_degrees": "refine_cameras"}  # says nothing where the other is off


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
            entries[name] = Entry(parse_flag(spec, text, label), label)
    check_read(entries, flags)
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


def parse_flag(spec: Option, text: str, label: str) -> Any:
    """The value that a flag's text spells; where it is a file and the flag takes none, the flag that does is named."""
    longer = f"{spec.flag}-file"
    if longer in [other.flag for other in declared().values()] and is_subject(text):
        raise ConfigError(f"{label} is {quote(text)} (did you mean {longer}?); must be {expected(spec)}")
    return parse_value(spec, text, label)


def check_read(entries: Mapping[str, Entry], flags: argparse.Namespace) -> None:
    """Raises ConfigError for a flag that the task does not read, and for something that it does not work on.

    A flag with its default passes, and what a file sets: the config.yaml of one task serves another.
    """
    task = TASKS.get(flags.task)
    if task is None:
        return
    given = [name for name in declared() if entries[name].label.startswith("--")]
    given = [name for name in given if entries[name].value != declared()[name].default]
    for name in [*given, *(name for name in switches() if getattr(flags, name))]:
        if task.reads_flag(name):
            continue
        if name in subjects(*TASKS.values()):
            label = quote(flags.subject) if flags.subject == entries[name].value else switch_flag(name)
            if flags.subject == entries[name].value and os.path.isdir(flags.subject):
                raise ConfigError(f"{flags.subject}: is a folder; task {flags.task} reads {read_by(flags.task)}")
            kinds = " or ".join(task.works_on) or "nothing"
            raise ConfigError(f"{label}: task {flags.task} does not work on it, but on {kinds}")
        readers = [other for other, entry in TASKS.items() if entry.reads_flag(name)]
        verb = "do" if len(readers) > 1 else "does"
        named = " and ".join(filter(None, (", ".join(readers[:-1]), readers[-1])))
        raise ConfigError(f"{switch_flag(name)}: task {flags.task} does not read it; {named} {verb}")
    for name in {*given} & {*task.works_on} & {*FILES}:
        check_file(flags.task, entries[name].value)
    if {"mesh_file", "data"} <= {*given} & {*task.works_on}:
        raise ConfigError(f"--data and --mesh-file: task {flags.task} works on one of them")


def check_together(entries: Mapping[str, Entry], task: str) -> None:
    """Raises ConfigError where values are allowed alone but not together."""
    views, width, height = (entries[name].value for name in ("num_views", "image_width", "image_height"))
    batch, points, mixtures = (entries[name] for name in ("batch_size", "gmm_points", "num_mixtures"))
    if task in ("", "shape", "convert") and entries["data"].value == NONE and batch.value > views * width * height:
        rays = f"{views * width * height}, the rays of {views} views of {width} x {height} pixels"
        raise ConfigError(f"{batch.label} is {batch.value}; must be at most {rays}")
    if mixtures.value == COUNTED and task in TASKS and TASKS[task].reads_flag("num_mixtures") > TASKS[task].counts:
        able = " and ".join(name for name, other in TASKS.items() if other.counts)
        raise ConfigError(f"{mixtures.label} is {AUTO}; task {task} needs a number, only {able} find one")
    if entries["init"].value != "sphere" and mixtures.value > points.value:
        raise ConfigError(f"{mixtures.label} is {mixtures.value}; must be at most gmm_points, {points.value}")
    if task not in TASKS or "data" not in TASKS[task].works_on:
        return
    for name, other in READ_WITH.items():
        given = entries[name].label.startswith("--") and entries[name].value != declared()[name].default
        if given and entries[other].value in (NONE, False):
            raise ConfigError(f"{entries[name].label} is only read together with {switch_flag(other)}")
