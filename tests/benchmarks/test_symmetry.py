"""The benchmark of symmetries: its shapes have the symmetry they are said to have, and its tables count right."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from benchmarks.symmetry import MODELS, decided, decisions_table, fits_table, gains, plane_error
from benchmarks.symmetry_shapes import crooked, other_solids, rabbit, symmetric_solids
from fmb.geometry.symmetry import apply_to_points, plane_symmetry


def test_solids_are_what_they_are_said_to_be():
    have, others = list(symmetric_solids()), list(other_solids())
    assert min(len(have), len(others)) >= 20
    assert all(solid.mesh.is_watertight and solid.mesh.volume > 0.0 for solid in [*have, *others])
    for solid in have:
        if solid.symmetry.kind != "revolution":
            vertices = np.asarray(solid.mesh.vertices)
            images = apply_to_points(solid.symmetry.orbit, vertices).reshape(-1, 3)
            assert cKDTree(vertices).query(images)[0].max() < 1e-6, solid.name
    assert all(solid.symmetry is None for solid in others)


@pytest.mark.slow
def test_bodies_are_what_they_are_said_to_be():
    body = rabbit()
    vertices = np.asarray(body.mesh.vertices)
    image = apply_to_points(body.symmetry.orbit, vertices)[1]
    assert np.quantile(cKDTree(vertices).query(image)[0], 0.9) < 0.03  # fewer faces are not mirrored one by one
    assert crooked().mesh.is_watertight


def test_tables_count_right():
    rows = []
    for seed, factor in ((0, 0.5), (1, 1.5)):
        for model, value in zip(MODELS, (0.1, 0.1 * factor, 0.2), strict=True):
            row = {"shape": "spot", "model": model, "seed": seed, "parameters": 400, "seconds": 1.0}
            row |= {"novel": {"cross_entropy": value, "iou": 0.9}}
            rows.append(row if model == "free 40" else row | {"degrees": 2.0 * seed, "percent": 0.5})
    assert "0.1000 ± 0.0500" in fits_table(rows)
    assert "plane 40: cross-entropy +0 % of the free model's in the mean of 2 pairs, lower in 1; " in gains(rows)
    assert "plane within 1 degree and 1 % in 1 of 2 runs" in gains(rows)
    truth, found = plane_symmetry(np.array([1.0, 0, 0]), 0.1), plane_symmetry(np.array([-1.0, 0.0, 0.02]), -0.1)
    error = plane_error(found, truth)
    assert error["degrees"] == pytest.approx(np.rad2deg(np.arctan(0.02)))
    assert error["percent"] < 0.1
    told = {"seconds": 1.0, "mixture": "none"}
    table = decisions_table(
        [
            {"name": "a", "truth": "plane", "surface": "two_planes"} | told,
            {"name": "b", "truth": "none", "surface": "plane"} | told,
        ]
    )
    assert "| surface    |            0 of 1 |                   1 of 1 |" in table
    assert "- mixture, missed: a" in table
    assert "- surface, false: b" in table


@pytest.mark.slow
def test_no_solid_is_called_symmetric_that_is_not_and_one_is_missed_at_most():
    rows = [decided(solid) for solid in [*symmetric_solids(), *other_solids()]]
    assert [row["name"] for row in rows if row["truth"] == "none" and row["surface"] != "none"] == []
    assert len([row["name"] for row in rows if row["truth"] != "none" and row["surface"] == "none"]) <= 1
