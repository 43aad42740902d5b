"""Whole runs whose number of components the data tell, and one whose cameras are fitted before its symmetry."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
import yaml

import run_fmb

SMALL = "--cpu --num-views 6 --image-width 32 --image-height 32 --num-epochs 8 --batch-size 256 --gmm-points 80"


def ran(folder: Path, *arguments: str) -> dict:
    """What metrics.json tells of a run that must end well."""
    assert run_fmb.main([*arguments, "--mesh", "none", "--output-dir", str(folder)]) == 0
    told = json.loads((folder / "metrics.json").read_text())
    return told | {"options": yaml.safe_load((folder / "config.yaml").read_text())}


@pytest.fixture(scope="module")
def bar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mesh of a long box."""
    path = tmp_path_factory.mktemp("bar") / "bar.ply"
    trimesh.creation.box((3.0, 1.0, 0.5)).export(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("task", ["shape", "convert"])
def test_auto_is_the_run_with_the_number_that_it_chooses(tmp_path, bar, task):
    auto = ran(tmp_path / "auto", task, str(bar), *SMALL.split(), "--num-mixtures", "auto")
    record = auto["num_mixtures_auto"]
    count = auto["num_mixtures"]
    assert count in record["tried"] and record["why"].startswith(f"{count} components chosen")
    assert auto["options"]["model"]["num_mixtures"] == count
    assert max(record["tried"]) <= 80  # as many points as there are
    given = ran(tmp_path / "given", task, str(bar), *SMALL.split(), "--num-mixtures", str(count))
    assert given["novel"] == auto["novel"] and "num_mixtures_auto" not in given


@pytest.mark.slow
def test_fitted_cameras_and_then_a_symmetry(tmp_path, bar):
    ran(tmp_path / "views", "shape", str(bar), *SMALL.split(), "--num-mixtures", "6")
    flags = "--cpu --refine-cameras true --symmetry plane --num-mixtures 6 --num-epochs 8 --batch-size 256 --hold-out 0"
    told = ran(tmp_path / "joint", "shape", str(tmp_path / "views"), *flags.split())
    assert told["symmetry"]["kind"] == "plane" and told["symmetry"]["components_fitted"] == 3
    assert np.mean(told["view_iou"]) > 0.8
