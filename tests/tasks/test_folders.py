"""Where results go: the folder that is named, else one of the task's own; never over those of another task."""

from pathlib import Path

import pytest

from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.machine import write_metrics
from fmb.tasks.export import export_folder
from fmb.tasks.made import command_of
from fmb.tasks.shell import task_folder


def options(task: str, *flags: str) -> Config:
    return load_config([task, *flags], tuple(TASKS))


@pytest.mark.parametrize("task", TASKS)
def test_the_named_folder_is_that_of_the_result(task: str, tmp_path: Path):
    usual = "output" if task in ("shape", "export", "doctor") else f"output/{task}"
    assert task_folder(options(task)) == Path(usual)
    for name in (str(tmp_path / "mine"), "output"):
        named = options(task, "--output-dir", name)
        assert task_folder(named) == Path(name)
        assert f"--output-dir {name}" in command_of(named)
    file = tmp_path / "options.yaml"
    for given, place in (("auto", usual), ("mine", "mine"), ("output", "output")):
        file.write_text(f"io:\n  output_dir: {given}\n")
        assert task_folder(options(task, "--config", str(file))) == Path(place)
    file.write_text(to_yaml(options(task)))
    assert task_folder(options(task, "--config", str(file))) == Path(usual)


@pytest.mark.parametrize(
    ("record", "owner"),
    [
        ({"metrics.json": {"task": "shape"}}, "shape"),
        ({"metrics.json": {"task": "train-encoder"}}, "train-encoder"),
        ({"pose.json": {"success": True}}, "pose"),
        ({"bop_errors.json": {"task": "pose"}}, "pose"),
    ],
)
def test_results_of_another_task_are_not_replaced(record: dict, owner: str, tmp_path: Path):
    for name, content in record.items():
        write_metrics(tmp_path / name, content)
    for task in TASKS:
        config = options(task, "--output-dir", str(tmp_path))
        if task in (owner, "export", "doctor"):
            assert task_folder(config) == tmp_path
        else:
            with pytest.raises(ValueError, match=f"{tmp_path}: holds the results of task {owner}; choose another"):
                task_folder(config)


def test_export_goes_beside_the_model_of_a_run(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("output/points", "output", "downloads"):
        Path(name).mkdir(parents=True, exist_ok=True)
    write_metrics(tmp_path / "output/points/metrics.json", {"task": "points"})
    assert export_folder(options("export", "output/points/model.npz")) == Path("output/points")
    assert export_folder(options("export", "output/points/model.npz", "--output-dir", "new")) == Path("new")
    with pytest.raises(ValueError, match="output: is neither empty nor the model's folder; choose another, or --over"):
        export_folder(options("export", "downloads/splats.ply"))


def test_a_record_that_names_no_task_belongs_to_nobody(tmp_path: Path):
    write_metrics(tmp_path / "metrics.json", {"iou": 0.9})
    assert task_folder(options("convert", "--output-dir", str(tmp_path))) == tmp_path
