"""Options without the shipped config.yaml, and what is said of wrong ones."""

from pathlib import Path

import pytest

from fmb.command.load import load_config
from fmb.config import Config
from fmb.options import ConfigError

TASKS = ("shape", "pose")


def load(*argv: str, file: Path | None = None) -> Config:
    """The options without the shipped config.yaml."""
    return load_config([*argv, *(["--config", str(file)] if file else [])], TASKS, default_file=None)


def message(*argv: str, file: Path | None = None) -> str:
    """What is said of wrong options."""
    with pytest.raises(ConfigError) as error:
        load(*argv, file=file)
    assert "\n" not in str(error.value)
    return str(error.value)


def written(folder: Path, content: str | bytes) -> Path:
    """A config file of that content."""
    path = folder / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
