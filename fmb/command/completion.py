"""What a shell completes: tasks, flags, their choices and files."""

import argparse

from fmb.command.help_text import switch_flag
from fmb.command.tasks import TASKS
from fmb.config import declared, switches
from fmb.options import ConfigError, description, quote

COMMAND = "fuzzy-metaballs"  # shells complete a command's words, not those of a script that Python runs
SHELLS = ("bash", "zsh", "tcsh")


def completion(shell: str) -> str:
    """The script for `shell`, one of SHELLS, that makes it complete the installed command.

    Raises ConfigError for another shell, or where the extra `completion` is not installed.
    """
    if shell not in SHELLS:
        raise ConfigError(f"--print-completion is {quote(shell)}; must be one of {', '.join(SHELLS)}")
    try:
        import shtab
    except ImportError:
        raise ConfigError("--print-completion needs shtab: install the extra `completion`") from None
    parser = argparse.ArgumentParser(prog=COMMAND, add_help=False)
    parser.add_argument("task", nargs="?", choices=list(TASKS))
    parser.add_argument("subject", nargs="*").complete = shtab.FILE
    for name, text in {"help": "Show the options", "version": "Show the versions", **switches()}.items():
        parser.add_argument(switch_flag(name), action="store_true", help=text)
    parser.add_argument("--config").complete = shtab.FILE
    specs = {name: declared()[option] for task in TASKS.values() for name, option in task.own}
    for name, spec in (specs | {spec.flag: spec for spec in declared().values()}).items():
        choices = ("true", "false") if spec.type is bool else spec.limits["choices"]
        flag = parser.add_argument(name, choices=choices, help=description(spec).replace("%", "%%"))
        kind = spec.name.rpartition("_")[2]
        if kind in ("file", "dir", "data", "mesh") and not choices:
            flag.complete = shtab.DIRECTORY if kind == "dir" else shtab.FILE
    return shtab.complete(parser, shell)
