"""The tables of several runs of task `points`."""

import numpy as np
import pytest

from fmb.files.point_runs import HEAD, find_runs, row_of
from tests.datasets import write_point_runs


def test_runs_are_found_and_become_lines(tmp_path):
    blobs, net = find_runs(write_point_runs(tmp_path))
    assert (blobs.name, net.name) == ("blobs", "net")
    np.testing.assert_allclose(blobs.steps["loss"], 1.0 / np.arange(1, 41), rtol=1e-8)
    np.testing.assert_array_equal(blobs.checkpoints["chamfer_distance"], [np.nan, 0.2, 0.1])
    assert row_of(blobs) == ("blobs", "metaballs", "20,000", "0.250", "3.00", "4.0", "0.100", "2", "1", "5.2")
    assert row_of(net) == ("net", "diff_cd fast", "20,000", "-", "-", "-", "0.100", "2", "1", "5.2")
    assert len(row_of(net)) == len(HEAD)


def test_folders_without_runs_and_tables_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no results of points in this folder or below it"):
        find_runs(tmp_path)
    write_point_runs(tmp_path)
    (tmp_path / "net" / "train_metrics.csv").write_text("step,loss\n1,high\n")
    with pytest.raises(ValueError, match=r"train_metrics.csv: no table of numbers \(.*high"):
        find_runs(tmp_path)
