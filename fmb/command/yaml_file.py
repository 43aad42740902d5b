"""Options in YAML: a file's, each with its place for messages, and a Config as the file that says the same."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fmb.config import Config, declared, sections, switches
from fmb.files.door import Refusal, read_bytes
from fmb.machine import reason
from fmb.options import ConfigError, Option, description, did_you_mean, expected, parse_value, quote, spelled

HEADER = "Every option with its default. The flag of num_views is --num-views; flags win over this file."
LONGEST_LINE = 120
PLAIN = re.compile(r"(?!\.\.\.)[A-Za-z_./][A-Za-z0-9_./-]*")  # three dots end a document
LARGEST_CONFIG = 2**20  # bytes: every option with its text takes 10,000


class Entry(NamedTuple):
    """A value, and the words by which a message names where it came from."""

    value: Any
    label: str


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
    except (ValueError, OverflowError) as error:  # an escape of a sign that there is not
        raise ConfigError(f"{name}: not YAML: {reason(error)}") from None


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
        lines = [f"{indent}{o.name}: {scalar(spelled(o, getattr(holder, o.name)))}" for o in own]
        if comments:
            width = max(map(len, lines))
            pairs = [(line, f"  # {description(o)}") for line, o in zip(lines, own, strict=True)]
            # a text too long to stand below the others begins where its option ends
            lines = [f"{line:<{width * (width + len(text) <= LONGEST_LINE)}}{text}" for line, text in pairs]
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
