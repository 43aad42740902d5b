"""What README, docs, notebooks and examples tell a reader to type or to open is there."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.config import declared, switches

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
OTHERS = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "examples").glob("*.py"))]
COMMAND = re.compile(r"(?:run_fmb\.py|fuzzy-metaballs)((?: (?! )[^\n`]*)?)")
# flags of other programs, and of this one's that are no options
FOREIGN = {"help", "version", "config", "print-completion", "method", "task", "names", "keys", "group", "extra"}
FOREIGN |= {"pdb", "output", "results", "models", "old", "new", "json", "picture", "largest", "document"}
FOREIGN |= {"ntasks-per-node", "check"}


def text_of(path: Path) -> str:
    """What a page, a notebook or a program says; lines that go on are joined."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return re.sub(r"\\\n\s*", "", text)


def commands() -> Iterator[tuple[str, str]]:
    """Each command line of the program, with the page that shows it; a sentence about the program has no flags."""
    for path in (*PAGES, *OTHERS):
        for span in re.findall(r"`[^`\n]+`|^(?: {4}|python ).*$", text_of(path), re.MULTILINE):
            for match in COMMAND.finditer(span):
                yield path.name, re.split(r"\s#|&&|\s>", match[1])[0].strip()


COMMANDS = sorted(set(commands()))


def test_the_pages_show_every_task():
    assert len(COMMANDS) > 80
    shown = {words.split()[0] for _, words in COMMANDS if words}
    assert set(TASKS) - {"shape"} <= shown


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_command_that_is_shown_is_taken(page: str, words: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "FOLDER",
        "CAPTURE",
        "captures",
        "photographs",
        "models",
        "scans",
        "shapes",
        "depth",
        "masks",
        "spaces",
    ):
        (tmp_path / name).mkdir()
    named = shlex.split(words)
    if {"--help", "-h", "--version", "--print-completion"} & set(named):
        with pytest.raises(SystemExit):
            load_config(["pose" if word == "TASK" else word for word in named], tuple(TASKS))
    else:
        load_config(named, tuple(TASKS))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_flag_that_is_named_is_one(path: Path):
    flags = {flag[2:].rstrip("-") for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text("utf-8"))}
    known = {name.replace("_", "-") for name in (*declared(), *switches())}
    assert flags - known - FOREIGN == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_links_to_is_there(path: Path):
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    near = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in near if not (path.parent / link).exists()] == []
