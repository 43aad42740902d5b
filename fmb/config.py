"""The options of a run from its flags and its YAML file, and back into a file."""

import argparse
import os
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from fmb.files.door import Refusal, read_bytes
from fmb.files.options import CaptureOptions
from fmb.geometry.options import RenderingOptions
from fmb.options import (
    NONE,
    ConfigError,
    Option,
    description,
    did_you_mean,
    expected,
    option,
    parse_value,
    quote,
    switch,
)
from fmb.pose.options import PoseTaskOptions
from fmb.shape.options import RELEASED, ModelOptions, OptimizationOptions

CHECKOUT = Path(__file__).resolve().parents[1]
INSTALLED = Path(__file__).resolve().with_name("defaults")  # where a wheel keeps config.yaml and data/
DEFAULT_FILE = (INSTALLED if INSTALLED.is_dir() else CHECKOUT) / "config.yaml"
PROGRAM = "fuzzy-metaballs" if INSTALLED.is_dir() else "run_fmb.py"
HEADER = "Every option with its default. The flag of num_views is --num-views; flags win over this file."
PLAIN = re.compile(r"(?!\.\.\.)[A-Za-z_./][A-Za-z0-9_./-]*")  # three dots end a document
LARGEST_CONFIG = 2**20  # bytes: every option with its text takes 10,000


@dataclass(frozen=True)
class ExportOptions:
    """What a run leaves beside its model, in the input's frame and unit (task export: of a model made earlier)."""

    mesh: str = option("ply", "Format of the closed surface", choices=(NONE, "ply", "obj", "glb", "stl"))
    mesh_field: str = option(
        "hull",
        "What the surface follows: all silhouettes (hull) or the density at a point",
        choices=("hull", "density"),
    )
    mesh_resolution: int = option(96, "Grid cells along the longest side of the surface", at_least=16, at_most=1024)
    mesh_faces: int = option(0, "Most triangles of the surface (0: all)", at_least=0, at_most=10**8)
    points: str = option(
        NONE, "Format of points in the volume and of points with normals on the surface", choices=(NONE, "ply", "npy")
    )
    num_points: int = option(20_000, "Number of points in the volume", at_least=1, at_most=10**8)
    splats: bool = option(False, "Write Gaussian splats for splat viewers")
    turntable: str = option(NONE, "Format of a film of the turning mixture", choices=(NONE, "gif", "mp4"))
    film: str = option(NONE, "Format of a film of the masks during the fit", choices=(NONE, "gif", "mp4"))
    report: bool = option(True, "Write report.html, a page with all results and a 3-D view")


@dataclass(frozen=True)
class IoOptions:
    """Files and folders."""

    mesh_file: str = option("data/ibex.ply", "Mesh to fit to (obj, ply, stl, off, glb or gltf)")
    model_file: str = option(
        "none", "Mixture to work on (model.npz, splats as ply, pkl of the released program), or none"
    )
    output_dir: str = option(
        "output", "Folder of the results; pose, track and convert write to a folder of their own in it"
    )


@dataclass(frozen=True)
class Config:
    """All options of a run; `task` and the switches belong to the command line alone."""

    model: ModelOptions = ModelOptions()
    rendering: RenderingOptions = RenderingOptions()
    optimization: OptimizationOptions = OptimizationOptions()
    capture: CaptureOptions = CaptureOptions()
    pose: PoseTaskOptions = PoseTaskOptions()
    export: ExportOptions = ExportOptions()
    io: IoOptions = IoOptions()
    random_seed: int = option(42, "Seed of every random choice", at_least=0, at_most=2**32 - 1)
    task: str = ""
    cpu: bool = switch("Use the CPU even if there is a GPU")
    overwrite: bool = switch("Let export write into a folder that holds other files")
    view: bool = switch("Show the fit in a browser while it runs (needs the extra `view`)")
    check_cameras: bool = switch("Only check whether the cameras and masks of --data agree")


class TaskOptions(NamedTuple):
    """What `TASK --help` shows: what the task does, the sections and io options it reads, and examples.

    `unread` are options of these sections that the task does not read; `works_on` are those that name its subject.
    """

    text: str
    sections: tuple[str, ...]
    works_on: tuple[str, ...]
    examples: tuple[str, ...]
    unread: tuple[str, ...] = ()
    switches: tuple[str, ...] = ("cpu",)


VIEWS_ALONE = ("num_views", "ground_truth")
TASK_OPTIONS = {
    "shape": TaskOptions(
        "Fit a mixture to the silhouettes of a mesh, or of photographs with masks and cameras.",
        ("model", "rendering", "optimization", "capture", "export"),
        ("mesh_file", "data"),
        (
            "shape --num-mixtures 80 --cpu",
            "shape their.obj --output-dir output/theirs",
            "shape photographs/ --check-cameras",
        ),
        switches=("cpu", "view", "check_cameras"),
    ),
    "pose": TaskOptions(
        "Find the camera of a depth image, a mask, or both (without them: of a simulated view).",
        ("model", "rendering", "pose"),
        ("mesh_file", "model_file"),
        (
            "pose",
            "pose output/model.npz --sensor-noise 1",
            "pose model.npz --mask-file m.png --intrinsics-file K.txt --initial-pose-file p.json",
        ),
        (*VIEWS_ALONE, "num_frames"),
    ),
    "track": TaskOptions(
        "Follow the camera through a sequence, simulated or in folders of images.",
        ("model", "rendering", "pose"),
        ("mesh_file", "model_file"),
        (
            "track --image-width 80 --image-height 60",
            "track output/model.npz --num-frames 30",
            "track --sensor-noise 1",
        ),
        (*VIEWS_ALONE, "bop_dir"),
    ),
    "export": TaskOptions(
        "Write a mixture as mesh, points, Gaussian splats or a turning film.",
        ("export",),
        ("model_file",),
        (
            "export output/model.npz --mesh glb",
            "export output/model.npz --splats true --turntable mp4",
            "export splats.ply --mesh ply --output-dir output/theirs",
        ),
        ("film", "report"),
        switches=("cpu", "overwrite"),
    ),
    "convert": TaskOptions(
        "Turn a mesh into a mixture, by its silhouettes and depths.",
        ("model", "rendering", "optimization", "export"),
        ("mesh_file",),
        ("convert their.obj", "convert their.obj --num-mixtures 160", "convert their.obj --mesh glb --splats true"),
        ("film", "report", "ground_truth", "point_weight"),
    ),
}


class Entry(NamedTuple):
    """A value, and the words by which a message names where it came from."""

    value: Any
    label: str


def load_config(argv: Sequence[str], tasks: Sequence[str] = (), default_file: Path | None = DEFAULT_FILE) -> Config:
    """The options of a command line (without the program): flags win over the file, the file over the defaults.

    The first word may be one of `tasks`; without it the task is the first of them. A second word stands for the flag of
    the file or folder to work on, see `subject_option`. `--help` prints and exits.
    A mesh_file that nobody chose is looked for in the current folder, then beside the default file.
    Raises ConfigError, a ValueError of one line.
    """
    flags = parse_flags(argv, tasks)
    entries = {name: Entry(spec.default, name) for name, spec in declared().items()}
    if default_file is not None:
        if flags.config is None and default_file.exists():
            entries |= read_file(default_file, default_file.name)
        entries["mesh_file"] = found_from(default_file.parent, entries["mesh_file"])
    if flags.config is not None:
        entries |= read_file(Path(flags.config), flags.config)
    for name, spec in declared().items():
        text = getattr(flags, name)
        if text is not None:
            entries[name] = Entry(parse_value(spec, text, spec.flag), spec.flag)
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
    return Config(**made, **values[""], task=flags.task, **{name: getattr(flags, name) for name in switches()})


def found_from(folder: Path, entry: Entry) -> Entry:
    """The entry of a file, which is looked for in `folder` where the current folder has none of that name."""
    # not Path.exists, which raises for a name that is too long
    return entry if os.path.exists(entry.value) else entry._replace(value=str(folder / entry.value))


def subject_option(task: str, word: str) -> str:
    """The option that a file or folder named after the task stands for."""
    if os.path.isdir(word):
        return "data"
    return "model_file" if task == "export" or word.lower().endswith((".npz", ".pkl")) else "mesh_file"


def check_together(entries: Mapping[str, Entry], task: str) -> None:
    """Raises ConfigError where values are allowed alone but not together, or not with the task."""
    subjects = {name for entry in TASK_OPTIONS.values() for name in entry.works_on}
    unread = subjects - set(TASK_OPTIONS[task].works_on if task in TASK_OPTIONS else subjects)
    for name in sorted(unread):
        if entries[name].label.startswith("--") and entries[name].value != declared()[name].default:
            works_on = " or ".join(TASK_OPTIONS[task].works_on)
            raise ConfigError(f"{entries[name].label}: task {task} does not work on it, but on {works_on}")
    views, width, height = (entries[name].value for name in ("num_views", "image_width", "image_height"))
    batch, points, mixtures = (entries[name] for name in ("batch_size", "gmm_points", "num_mixtures"))
    if task in ("", "shape", "convert") and entries["data"].value == NONE and batch.value > views * width * height:
        rays = f"{views * width * height}, the rays of {views} views of {width} x {height} pixels"
        raise ConfigError(f"{batch.label} is {batch.value}; must be at most {rays}")
    if entries["init"].value != "sphere" and mixtures.value > points.value:
        raise ConfigError(f"{mixtures.label} is {mixtures.value}; must be at most gmm_points, {points.value}")


class FlagParser(argparse.ArgumentParser):
    """An argument parser that raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError in argparse's words."""
        raise ConfigError(message.removeprefix("argument "))


def flag_parser(tasks: Sequence[str], shown: str = "") -> FlagParser:
    """A flag for each option, grouped by section; every value is kept as text.

    Task `shown` leaves only what that task reads, for its help.
    """
    task = TASK_OPTIONS.get(shown)
    parser = FlagParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} {f'[{shown}] [FILE] ' if tasks else ''}[--flag value ...]",
        description=wrapped(task.text) if task else None,
        epilog=help_epilog(tasks, task),
        allow_abbrev=False,
        add_help=False,
        formatter_class=help_formatter,
    )
    if tasks:
        parser.add_argument("task", nargs="?", default=tasks[0], help=argparse.SUPPRESS)
        text = "what to work on, in place of " + " or ".join(f"--{name.replace('_', '-')}" for name in works_on(task))
        parser.add_argument("subject", nargs="?", metavar="FILE", help=text)
    general = parser.add_argument_group("run")
    text = f"show this text, or that of a task: {PROGRAM} pose --help"
    general.add_argument("-h", "--help", action="help", help=text)
    general.add_argument("--config", metavar="FILE", help="YAML file of options (default config.yaml)")
    for name, text in switches().items():
        if task is None or name in task.switches:
            general.add_argument(switch_flag(name), dest=name, action="store_true", help=text)
    groups: dict[str, Any] = {"": general}
    for spec in declared().values():
        if task is None or reads(task, spec):
            if spec.section not in groups:
                groups[spec.section] = parser.add_argument_group(
                    spec.section, wrapped(sections()[spec.section].__doc__, "  ")
                )
            add_flag(groups[spec.section], spec)
    return parser


def help_formatter(prog: str) -> argparse.HelpFormatter:
    """Help as wide as the terminal, and at most 100 columns; examples keep their lines."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=help_width())


def help_width() -> int:
    """Columns of the help."""
    return min(100, shutil.get_terminal_size().columns)


def wrapped(text: str, indent: str = "") -> str:
    """The text in lines of the help's width, all but the first indented."""
    return textwrap.fill(text, help_width() - 2, subsequent_indent=indent)


def help_epilog(tasks: Sequence[str], task: TaskOptions | None) -> str:
    """The tasks, a line each, and examples of the one whose help it is."""
    if not tasks or task is None:
        return ""
    lines = [f"  {name:<8} {TASK_OPTIONS[name].text}" for name in tasks if name in TASK_OPTIONS]
    lines = [wrapped(line, 11 * " ") for line in lines]
    examples = [f"  {PROGRAM} {example}" for example in task.examples]
    return "\n".join(["tasks (the first is the default):", *lines, "", "examples:", *examples])


def works_on(task: TaskOptions | None) -> tuple[str, ...]:
    """The options that name what is worked on: of the task, else of any."""
    if task is not None:
        return task.works_on
    return tuple(dict.fromkeys(name for entry in TASK_OPTIONS.values() for name in entry.works_on))


def reads(task: TaskOptions, spec: Option) -> bool:
    """Whether the task reads the option."""
    if spec.section == "io":
        return spec.name == "output_dir" or spec.name in task.works_on
    return spec.section in ("", *task.sections) and spec.name not in task.unread


def add_flag(group: Any, spec: Option) -> None:
    """The option's flag, with its text and default."""
    default = str(spec.default).lower() if spec.type is bool else spec.default
    text = f"{description(spec)} (default {default})".replace("%", "%%")
    kinds = {int: "N", float: "X", bool: "true|false", str: "NAME"}
    metavar = {"file": "FILE", "dir": "FOLDER"}.get(spec.name.rpartition("_")[2], kinds[spec.type])
    group.add_argument(spec.flag, dest=spec.name, metavar=metavar, help=text)


def switch_flag(name: str) -> str:
    """The flag without a value, as it is typed."""
    return "--" + name.replace("_", "-")


def parse_flags(argv: Sequence[str], tasks: Sequence[str]) -> argparse.Namespace:
    """The text of each flag, None where it is not given; with `config`, `task` and the switches."""
    valued = [spec.flag for spec in declared().values()] + ["--config"]
    bare = [switch_flag(name) for name in switches()]
    words = list(argv)
    if {"-h", "--help"} & set(words):
        shown = next((word for word in words if word in tasks), tasks[0] if tasks else "")
        flag_parser(tasks, shown).parse_args(["--help"])
    parser = flag_parser(tasks)
    position = 0
    while position < len(words):
        name, equals, _ = words[position].partition("=")
        follower = words[position + 1 : position + 2]
        if name in valued and not equals and follower and not follower[0].startswith("--"):
            # One word, so that argparse takes -1e-4 for a value and not for a flag.
            words[position : position + 2] = [f"{name}={follower[0]}"]
        elif name in bare and equals:
            raise ConfigError(f"{name} takes no value")
        elif name.startswith("-") and name not in [*valued, *bare, "--help", "-h"]:
            hint = did_you_mean(name, [*valued, *bare]) or "; --help lists all flags"
            raise ConfigError(f"unknown flag {name}{hint}")
        position += 1
    # argparse would take both of two words that may be left out from the first place where one stands
    bare_words = [word for word in words if not word.startswith("-")]
    flags, extra = parser.parse_known_args([*bare_words, *(word for word in words if word.startswith("-"))])
    if extra:
        raise ConfigError(f"unexpected {quote(extra[0])}; options are given as flags such as --mesh-file FILE")
    if flags.config is not None and not (flags.config.strip() and flags.config.isprintable()):
        raise ConfigError(f"--config is {quote(flags.config)}; must be the name of a YAML file")
    flags.task = flags.task if tasks else ""
    if tasks and flags.task not in tasks:
        hint = did_you_mean(flags.task, tasks)
        raise ConfigError(f"unknown task {quote(flags.task)}{hint}; must be one of {', '.join(tasks)}")
    if tasks and flags.subject is not None:
        name = subject_option(flags.task, flags.subject)
        if getattr(flags, name) is not None:
            raise ConfigError(f"unexpected {quote(flags.subject)}: {declared()[name].flag} is given, too")
        setattr(flags, name, flags.subject)  # where the task does not read it, check_together says so
    return flags


def read_file(path: Path, name: str) -> dict[str, Entry]:
    """The options that a YAML file sets; messages begin with `name` and the line."""
    root = parse_yaml(path, name)
    found: dict[str, Entry] = {}
    for key, key_node, node in pairs(root, name):
        if key in sections():
            for inner, inner_node, leaf in pairs(node, name, key):
                found[inner] = read_leaf(inner, leaf, key, f"{name}, line {inner_node.start_mark.line + 1}")
        else:
            found[key] = read_leaf(key, node, "", f"{name}, line {key_node.start_mark.line + 1}")
    return found


def parse_yaml(path: Path, name: str) -> yaml.Node | None:
    """The node tree of a YAML file: nothing is constructed, so tags and aliases cannot do anything."""
    try:
        return yaml.compose(read_bytes(path, LARGEST_CONFIG).decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except Refusal as error:
        raise ConfigError(str(error).replace(str(path), name, 1)) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{name}{place}: not YAML: {' '.join(str(error.problem).split())}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name}: not YAML of sections and keys: nested too deep") from None


def pairs(node: yaml.Node | None, name: str, section: str = "") -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Key, key's node and value's node of a mapping, each key once; none of an empty section or file."""
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return []
    place = f"{name}, line {node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place}: {f'section {section}' if section else 'the file'} must hold `key: value` lines")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{name}, line {line}: a key must be a word")
        if key.value in lines:
            raise ConfigError(
                f"{name}, line {line}: {quote(key.value)} is given twice, first in line {lines[key.value]}"
            )
        lines[key.value] = line
    return [(key.value, key, value) for key, value in node.value]


def read_leaf(key: str, node: yaml.Node, section: str, place: str) -> Entry:
    """The checked value of `key: value` in a section ('' is the top level)."""
    spec = declared().get(key)
    label = f"{place}: {key}"
    if spec is None or spec.section != section:
        raise ConfigError(f"{place}: {misplaced(key, section, spec)}")
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        raise ConfigError(f"{label} is empty; must be {expected(spec)}")
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{label} is a {node.id}; must be {expected(spec)}")
    if kind not in ("str", "int", "float", "bool", "timestamp"):
        raise ConfigError(f"{label} has the tag {quote(kind)}; must be {expected(spec)} without a tag")
    if spec.type is not str and node.style is not None:
        raise ConfigError(f"{label} is the text {quote(node.value)}; must be {expected(spec)} without quotes")
    if spec.type is str and kind == "bool":
        raise ConfigError(f"{label} is {node.value}; must be {expected(spec)}, with quotes around a word like this")
    return Entry(parse_value(spec, node.value, label), label)


def misplaced(key: str, section: str, spec: Option | None) -> str:
    """What is wrong with a key that the section does not have."""
    if key in ("config", "task", *switches()):
        return f"{key} is of the command line alone, not of a file"
    if spec is not None:
        right = f"section {spec.section}" if spec.section else "the top level"
        return f"{key} belongs to {right}, not to {f'section {section}' if section else 'the top level'}"
    near = [name for name, other in declared().items() if other.section == section]
    hint = did_you_mean(key, [*near, *([] if section else sections())]) or did_you_mean(key, declared())
    return f"unknown key {quote(key)}{f' in section {section}' if section else ''}{hint}"


def to_yaml(config: Config, comments: bool = False) -> str:
    """The file that `load_config` reads back into the same options; with `comments`, each option's text."""
    groups = [(f"{name}:", "  ", name, getattr(config, name)) for name in sections()] + [("", "", "", config)]
    blocks = [f"# {HEADER}\n"] if comments else []
    for head, indent, section, holder in groups:
        own = [spec for spec in declared().values() if spec.section == section]
        lines = [f"{indent}{o.name}: {scalar(getattr(holder, o.name))}" for o in own]
        if comments:
            width = max(map(len, lines))
            lines = [f"{line:<{width}}  # {description(o)}" for line, o in zip(lines, own, strict=True)]
        blocks.append("\n".join([head, *lines] if head else lines) + "\n")
    return "\n".join(blocks) if comments else "".join(blocks)


def scalar(value: Any) -> str:
    """A value as YAML 1.1 and 1.2 both read it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # YAML 1.1 needs a point before an exponent: 1e-05 would be text.
        mantissa, exponent, power = repr(value).partition("e")
        return mantissa + ("" if "." in mantissa else ".0") + exponent + power
    if isinstance(value, str) and not (PLAIN.fullmatch(value) and isinstance(yaml.safe_load(value), str)):
        return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**30).strip()
    return str(value)


def sections() -> dict[str, type]:
    """The options class of every section by name, in order."""
    return {entry.name: entry.type for entry in fields(Config) if is_dataclass(entry.type)}


def declared() -> dict[str, Option]:
    """Every option by name, in order; names are unique over all sections, as flags must be."""
    found = [(section, entry) for section, kind in sections().items() for entry in fields(kind)]
    found += [("", entry) for entry in fields(Config) if "text" in entry.metadata]
    return {e.name: Option(section, e.name, e.type, e.default, e.metadata) for section, e in found}


def switches() -> dict[str, str]:
    """The help of every flag without a value, by name."""
    return {entry.name: entry.metadata["switch"] for entry in fields(Config) if "switch" in entry.metadata}
