"""The command line: the text of each flag, the task, and what it works on."""

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from fmb import __version__
from fmb.command.completion import COMMAND, completion
from fmb.command.help_text import add_flag, described_section, frame_of_help, switch_flag
from fmb.command.subjects import is_subject, subject_option
from fmb.command.tasks import TASKS, subjects
from fmb.config import PROGRAM, declared, sections, switches
from fmb.options import WORDS, ConfigError, did_you_mean, quote

ASKED = "--help", "-h", "--version"  # answered at once


class FlagParser(argparse.ArgumentParser):
    """An argument parser that raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError in argparse's words."""
        raise ConfigError(message.removeprefix("argument "))


def flag_parser(tasks: Sequence[str], shown: str = "") -> FlagParser:
    """A flag for each option, grouped by section; every value is kept as text.

    Task `shown` leaves only what that task reads, for its help.
    """
    task = TASKS.get(shown)
    parser = FlagParser(allow_abbrev=False, add_help=False, **frame_of_help(tasks, shown))
    if tasks:
        parser.add_argument("task", nargs="?", default=tasks[0], help=argparse.SUPPRESS)
    general = parser.add_argument_group("run")
    if tasks:
        named = (f"--{name.replace('_', '-')}" for name in subjects(*([task] if task else TASKS.values())))
        text = f"What to work on, in place of {' or '.join(named)}"
        text = task.several if task and task.several else text
        takes_none = task and not (task.works_on or task.several)
        general.add_argument("subject", nargs="?", metavar="FILE", help=argparse.SUPPRESS if takes_none else text)
        general.add_argument("second", nargs="?", help=argparse.SUPPRESS)
    text = f"Show this text, or that of a task: {PROGRAM} pose --help"
    general.add_argument("-h", "--help", action="help", help=text)
    general.add_argument("--version", action="store_true", help="Show the versions of this program, Python and JAX")
    text = "Print what makes a shell complete the installed command: bash, zsh or tcsh (needs the extra `completion`)"
    general.add_argument("--print-completion", metavar="SHELL", help=text)
    general.add_argument("--config", metavar="FILE", help="YAML file of options (default config.yaml)")
    for name, text in switches().items():
        if task is None or task.reads_flag(name):
            general.add_argument(switch_flag(name), dest=name, action="store_true", help=text)
    groups: dict[str, Any] = {"": general}
    for spec in declared().values():
        if task is None or task.reads(spec):
            if spec.section not in groups:
                text = described_section(sections()[spec.section])
                groups[spec.section] = parser.add_argument_group(spec.section, text)
            add_flag(groups[spec.section], spec, task.flag(spec) if task else spec.flag)
    return parser


def parse_flags(argv: Sequence[str], tasks: Sequence[str]) -> argparse.Namespace:
    """The text of each flag, None where it is not given; with `config`, `task` and the switches."""
    if {"-h", "--help"} & set(argv):
        shown = next((word for word in argv if word in tasks), tasks[0] if tasks else "")
        flag_parser(tasks, shown).parse_args(["--help"])
    answered(argv)
    words = in_own_words(joined_to_values(argv), tasks)
    # argparse would take both of two words that may be left out from the first place where one stands
    bare_words = [word for word in words if not word.startswith("-")]
    flagged = [word for word in words if word.startswith("-")]
    if tasks and bare_words and bare_words[0] not in tasks and is_subject(bare_words[0]):
        bare_words.insert(0, tasks[0])
    several = bare_words[1:] if bare_words and is_several(bare_words[0], tasks) else []
    bare_words = bare_words[: len(bare_words) - len(several)]
    flags, extra = flag_parser(tasks).parse_known_args([*bare_words, *flagged])
    takes_second = tasks and flags.task in TASKS and TASKS[flags.task].second
    if tasks and flags.second is not None and not takes_second:
        extra.insert(0, flags.second)
    if extra:
        raise ConfigError(f"unexpected {quote(extra[0])}; options are given as flags such as --mesh-file FILE")
    if flags.config is not None and not (flags.config.strip() and flags.config.isprintable()):
        raise ConfigError(f"--config is {quote(flags.config)}; must be the name of a YAML file")
    flags.task, flags.several = flags.task if tasks else "", tuple(several)
    if tasks and flags.task not in tasks:
        hint = did_you_mean(flags.task, tasks)
        if not hint and set(flags.task) & set("/\\."):
            raise ConfigError(f"{flags.task}: no such file or folder")
        raise ConfigError(f"unknown task {quote(flags.task)}{hint}; must be one of {', '.join(tasks)}")
    if tasks and flags.subject is not None:
        take_word(flags, subject_option(flags.task, flags.subject), flags.subject)
    if tasks and flags.second is not None:
        take_word(flags, TASKS[flags.task].second, flags.second)
    return flags


def answered(argv: Sequence[str]) -> None:
    """Prints what --version or --print-completion asks for, and exits."""
    words = joined_to_values(argv)
    shells = [word.partition("=")[2] for word in words if word.startswith("--print-completion=")]
    if "--version" in words:
        print(f"{COMMAND} {__version__} (Python {platform.python_version()}, JAX {version('jax')})")
    elif shells:
        print(completion(shells[0]))
    else:
        return
    sys.exit()


def take_word(flags: argparse.Namespace, name: str, word: str) -> None:
    """Makes a word the value of an option; where the task does not read it, check_read says so."""
    if getattr(flags, name) is not None:
        raise ConfigError(f"unexpected {quote(word)}: {declared()[name].flag} is given, too")
    setattr(flags, name, word)


def joined_to_values(argv: Sequence[str]) -> list[str]:
    """The words, a flag and its value one word, so that argparse takes -1e-4 for a value and not for a flag.

    A flag of true or false without a value means true.
    Raises ConfigError for a flag that there is not, or a value of one that takes none.
    """
    own = [flag for task in TASKS.values() for flag, _ in task.own]
    valued = [*(spec.flag for spec in declared().values()), *own, "--config", "--print-completion"]
    truths = [spec.flag for spec in declared().values() if spec.type is bool]
    bare = [switch_flag(name) for name in switches()]
    words, position = list(argv), 0
    while position < len(words):
        name, equals, _ = words[position].partition("=")
        follower = words[position + 1 : position + 2]
        alone = not follower or follower[0].startswith("--")
        is_word = not alone and (follower[0].lower() in WORDS or not (follower[0] in TASKS or is_subject(follower[0])))
        if name in truths and not equals and not is_word:
            words[position] = f"{name}=true"
        elif name in valued and not equals and not alone:
            words[position : position + 2] = [f"{name}={follower[0]}"]
        elif name in bare and equals:
            raise ConfigError(f"{name} takes no value")
        elif name.startswith("-") and name not in [*valued, *bare, *ASKED]:
            hint = did_you_mean(name, [*valued, *bare]) or "; TASK --help lists the flags of a task"
            raise ConfigError(f"unknown flag {name}{hint}")
        position += 1
    return words


def in_own_words(words: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """The words, flags to which the task gives a meaning of its own replaced by the option's."""
    task = TASKS.get(next((word for word in words if word in tasks), ""))
    meant = {flag: declared()[name].flag for flag, name in task.own} if task else {}
    parts = [word.partition("=") for word in words]
    return [meant.get(flag, flag) + equals + value for flag, equals, value in parts]


def is_several(word: str, tasks: Sequence[str]) -> bool:
    """Whether the word is a task that works on any number of files and folders."""
    return word in tasks and word in TASKS and bool(TASKS[word].several)
