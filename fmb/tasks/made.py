"""How a run was made, in words: the command that makes it again, what it worked on, its seed and versions."""

import shlex
from importlib.metadata import PackageNotFoundError, version

from fmb.command.tasks import TASKS
from fmb.config import CHECKOUT, PROGRAM, Config, declared, switches
from fmb.options import NONE, Option

NAME = "fuzzy-metaballs"


def made_by(config: Config, device: str = "") -> dict[str, str]:
    """Command, input, seed, versions and device of a run."""
    task = TASKS[config.task]
    subjects = [str(value_of(config, declared()[name])) for name in task.works_on]
    subjects = list(config.several) or [value for value in subjects if value != NONE]
    if config.capture.data != NONE and "data" in task.works_on:
        subjects = [config.capture.data]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpy"))
    return {
        "command": command_of(config),
        "input": ", ".join(subjects),
        "random seed": str(config.random_seed),
        "version": f"{NAME} {program_version()}, {libraries}{f', on {device}' if device else ''}",
    }


def value_of(config: Config, spec: Option) -> object:
    """The value of an option."""
    return getattr(getattr(config, spec.section) if spec.section else config, spec.name)


def command_of(config: Config) -> str:
    """The command line that makes the run again: its task, and the flags that it reads whose values are no defaults."""
    task = TASKS[config.task]
    words = [PROGRAM, config.task, *map(str, config.several)]
    for spec in declared().values():
        value = value_of(config, spec)
        if value != spec.default and task.reads(spec):
            words += [task.flag(spec), str(value).lower() if isinstance(value, bool) else str(value)]
    words += [f"--{name.replace('_', '-')}" for name in switches() if getattr(config, name)]
    return shlex.join(words)


def program_version() -> str:
    """The version of this program: that of the installed package, else that of the checkout."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        lines = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        return next(line.split('"')[1] for line in lines if line.startswith("version = "))
