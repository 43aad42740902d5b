"""How a run was made, in words: the command that makes it again, what it worked on, its seed and versions."""

import shlex
from importlib.metadata import version

from fmb import __version__
from fmb.command.tasks import TASKS
from fmb.config import DEFAULT_FILE, PROGRAM, Config, declared, switches
from fmb.options import NONE, Option, spelled
from fmb.shape.options import RELEASED

NAME = "fuzzy-metaballs"


def made_by(config: Config, device: str = "") -> dict[str, str]:
    """Command, input, seed, versions and device of a run."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpy"))
    return {
        "command": command_of(config),
        "input": ", ".join(subjects_of(config)),
        "random seed": str(config.random_seed),
        "version": f"{NAME} {__version__}, {libraries}{f', on {device}' if device else ''}",
    }


def subjects_of(config: Config) -> list[str]:
    """What the run worked on; the mesh, which has a default, only where nothing else was named."""
    given = {name: str(value_of(config, declared()[name])) for name in TASKS[config.task].works_on}
    others = [value for name, value in given.items() if name != "mesh_file" and value != NONE]
    return list(config.several) or others or [value for value in given.values() if value != NONE]


def value_of(config: Config, spec: Option) -> object:
    """The value of an option."""
    return getattr(getattr(config, spec.section) if spec.section else config, spec.name)


def command_of(config: Config) -> str:
    """The command line that makes the run again: its task, and the flags that it reads whose values are no defaults."""
    task = TASKS[config.task]
    words = [PROGRAM, config.task, *map(str, config.several)]
    for spec in declared().values():
        value = value_of(config, spec)
        if spec.name == "mesh_file" and (
            config.capture.data != NONE or value == str(DEFAULT_FILE.parent / spec.default)
        ):
            continue  # another subject, or the default mesh from another folder
        if config.optimization.recipe == "predecessor" and spec.name in RELEASED:
            continue  # the recipe has its own, and refuses the flag
        if value != spec.default and task.reads(spec):
            words += [task.flag(spec), str(value).lower() if isinstance(value, bool) else str(spelled(spec, value))]
    words += [f"--{name.replace('_', '-')}" for name in switches() if getattr(config, name)]
    return shlex.join(words)
