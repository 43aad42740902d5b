"""Every number that a run tells, on the screen and on its page, stands in its records: one quantity, one value."""

import csv
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fmb.fit.history import History
from fmb.pictures.sheets import moving_mean

RECORDS = ("metrics.json", "pose.json", "bop_errors.json", "cameras_report.json")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
CELL = re.compile(r"<(td|dd|small)[^>]*>(.*?)</\1>", re.DOTALL)
FACTORS = (1.0, 100.0)  # a share is told in percent
ROUNDED = 2e-5  # records keep six digits


def disagreements(folder: Path, told: str) -> list[str]:
    """The numbers of the screen's words, and of the page in the folder, that its records do not have."""
    known = np.array(list(known_numbers(folder)))
    texts = {"screen": told.replace(str(folder), "")}
    if (page := folder / "report.html").exists():
        cells = [re.sub("<[^>]+>", " ", match[2]) for match in CELL.finditer(page.read_text(encoding="utf-8"))]
        texts["page"] = "\n".join(cell for cell in map(html.unescape, cells) if "fuzzy-metaballs" not in cell)
    return [
        f"{where}: {token}" for where, text in texts.items() for token in NUMBER.findall(text) if not in_(known, token)
    ]


def in_(known: np.ndarray, token: str) -> bool:
    """Whether one of the numbers, rounded as the token is, is what it says."""
    digits = token.replace(",", "")
    value, mantissa = float(digits), digits.partition("e")[0]
    power = int(digits.partition("e")[2] or 0)
    half = 0.5 * 10.0 ** (power - len(mantissa.partition(".")[2]))
    return any(np.any(np.abs(factor * known - value) <= half + ROUNDED * abs(value)) for factor in FACTORS)


def known_numbers(folder: Path) -> Iterator[float]:
    """All numbers of the records, the options and the course of the fit; how long lists are."""
    for name in RECORDS:
        if (folder / name).exists():
            yield from leaves(json.loads((folder / name).read_text(encoding="utf-8")))
    if (folder / "config.yaml").exists():
        yield from leaves(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    if (folder / "history.csv").exists():
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        course = History(*(np.array([float(row[name] or "nan") for row in rows]) for name in History._fields[:2]), None)
        yield from (float(len(rows)), *moving_mean(course.loss)[[0, -1]])


def leaves(value: Any) -> Iterator[float]:
    """The numbers in nested lists and groups, those in texts among them, and the lists' lengths and ranges."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from leaves(entry)
    elif isinstance(value, list):
        yield float(len(value))
        for entry in value:
            yield from leaves(entry)
    elif isinstance(value, str):
        yield from (float(token.replace(",", "")) for token in NUMBER.findall(value))
    elif value is not None:
        yield float(value)
