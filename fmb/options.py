"""Every option once: its name, type, default, text and limits feed config.yaml, the flags and `--help`."""

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from numbers import Real
from typing import Any, NamedTuple

WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"[+-]?\.?(inf|infinity|nan)", re.IGNORECASE)
NONE = "none"  # stands for no file
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}  # as YAML 1.1 has them
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "printable text"}


class ConfigError(ValueError):
    """One line that names the file or flag, the value found and what is allowed."""


def option(
    default: Any,
    text: str,
    at_least: Real | None = None,
    above: Real | None = None,
    at_most: Real | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field; `text` is its help, its comment in config.yaml and its only documentation."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "choices": choices, "word": None}
    return field(default=default, metadata={"text": text, **limits})


def worded(number: Any, word: str, kept: Real) -> Any:
    """The field of a number in whose place a word may stand, which is kept as a number out of its limits."""
    return field(default=number.default, metadata={**number.metadata, "word": (word, kept)})


def switch(text: str) -> Any:
    """A field of the command line alone: a flag without a value; `text` is its help."""
    return field(default=False, metadata={"switch": text})


class Option(NamedTuple):
    """A declared option; `section` is empty at the top level."""

    section: str
    name: str
    type: type
    default: Any
    limits: Mapping[str, Any]

    @property
    def flag(self) -> str:
        """The flag as it is typed."""
        return "--" + self.name.replace("_", "-")


def parse_value(declared: Option, text: str, label: str) -> Any:
    """The value that `text` spells: of the option's type and within its limits, else ConfigError after `label`."""
    wanted, word = expected(declared), declared.limits["word"]
    if word is not None and text == word[0]:
        return word[1]
    if declared.type is bool and text.lower() in WORDS:
        return WORDS[text.lower()]
    if declared.type is int and WHOLE.fullmatch(text):
        if len(text) < 20:
            return check_limits(declared, int(text), label)
        wanted = "a whole number of fewer than 20 digits"
    if declared.type is float and NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return check_limits(declared, float(text), label)
    if declared.type is float and (NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text)):
        wanted = "a finite number"
    choices = declared.limits["choices"]
    if choices is not None:
        if text in choices:
            return text
        raise ConfigError(f"{label} is {quote(text)}{did_you_mean(text, choices)}; must be {wanted}")
    if declared.type is str and text.strip() and text.isprintable():
        return text
    raise ConfigError(f"{label} is {quote(text)}; must be {wanted}")


def check_limits(declared: Option, value: Real, label: str) -> Real:
    """The number, unless it is out of the option's range."""
    low, above, high = (declared.limits[key] for key in ("at_least", "above", "at_most"))
    if low is not None and value < low:
        raise ConfigError(f"{label} is {value}; must be at least {low}")
    if above is not None and value <= above:
        raise ConfigError(f"{label} is {value}; must be above {above}")
    if high is not None and value > high:
        raise ConfigError(f"{label} is {value}; must be at most {high}")
    return value


def expected(declared: Option) -> str:
    """What kind of value the option takes, in words."""
    choices, word = declared.limits["choices"], declared.limits["word"]
    kind = f"one of {', '.join(choices)}" if choices else EXPECTED[declared.type]
    return f"{kind} or {word[0]}" if word else kind


def spelled(declared: Option, value: Any) -> Any:
    """The value as it is given: the word that a number stands for, where it is one."""
    word = declared.limits["word"]
    return word[0] if word and value == word[1] else value


def description(declared: Option) -> str:
    """The option's text, after its choices where there are some."""
    choices = declared.limits["choices"]
    return (f"{' | '.join(shortened(choices))}: " if choices else "") + declared.limits["text"]


def shortened(choices: Iterable[str]) -> list[str]:
    """The choices; of those that differ by a number alone, the first and the last."""
    groups = [list(group) for _, group in itertools.groupby(choices, lambda choice: choice.rstrip("0123456789"))]
    return [group[0] if len(group) == 1 else f"{group[0]} ... {group[-1]}" for group in groups]


def quote(text: str) -> str:
    """The text between quotes, as one short line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """A question after the names that begin with the text and -, or the nearest, or nothing where none is near."""
    names = list(names)
    close = [name for name in names if name.startswith(f"{text}-")]
    if not 0 < len(close) < 5:
        close = difflib.get_close_matches(text, names, 1)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
