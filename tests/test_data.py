"""The default mesh is what its script makes, closed and in one piece."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh

from fmb.files.meshes import read_mesh
from fmb.geometry.frames import canonical_frame
from fmb.geometry.interior import sample_interior, sample_surface

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="module")
def make_ibex() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ibex", DATA / "make_ibex.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ibex() -> trimesh.Trimesh:
    return read_mesh(DATA / "ibex.ply")


def test_the_ibex_is_one_closed_body_that_stands_upright(ibex):
    assert ibex.is_watertight
    assert ibex.is_winding_consistent
    assert ibex.body_count == 1
    assert ibex.euler_number == 2  # no handles
    assert ibex.volume > 0.0
    assert len(ibex.faces) == 4000
    length, height, width = ibex.extents
    assert width < length < height < 2.0
    np.testing.assert_allclose(ibex.bounds[0, 1], 0.0, atol=0.01)  # on the ground
    assert ibex.visual.kind == "vertex"


def test_the_file_needs_no_cleaning(ibex):
    raw = trimesh.load_mesh(DATA / "ibex.ply", process=False)
    assert (len(raw.vertices), len(raw.faces)) == (len(ibex.vertices), len(ibex.faces))
    assert ibex.area_faces.min() > 0.0


def test_the_page_states_the_counts(ibex):
    page = (DATA / "README.md").read_text()
    assert f"{len(ibex.faces):,} faces" in page
    assert f"{len(ibex.vertices):,} vertices" in page
    assert "CC0" in page


def test_the_surface_is_the_sculpture_s(ibex, make_ibex):
    points = sample_surface(ibex, 4000, np.random.default_rng(0))
    distance = np.abs(make_ibex.sculpture(points))
    # faces cut across curved parts; the whole is 1.7 high
    assert np.mean(distance) < 0.002
    assert np.max(distance) < 0.012


@pytest.mark.slow
def test_a_coarse_rebuild_is_the_same_animal(ibex, make_ibex):
    rebuilt = make_ibex.build(1200, voxel=0.025)
    assert len(rebuilt.faces) == 1200
    assert rebuilt.is_watertight
    np.testing.assert_allclose(rebuilt.bounds, ibex.bounds, atol=0.03)
    np.testing.assert_allclose(rebuilt.volume, ibex.volume, rtol=0.02)
    np.testing.assert_allclose(canonical_frame(rebuilt).scale, canonical_frame(ibex).scale, rtol=0.02)


@pytest.mark.slow
def test_a_full_rebuild_is_the_shipped_file(ibex, make_ibex):
    rebuilt = make_ibex.build()
    assert len(rebuilt.faces) == len(ibex.faces)
    # rounding may differ between machines, and with it the order of the collapses
    np.testing.assert_allclose(rebuilt.bounds, ibex.bounds, atol=2e-3)
    np.testing.assert_allclose(rebuilt.volume, ibex.volume, rtol=1e-3)
    np.testing.assert_allclose(rebuilt.area, ibex.area, rtol=1e-3)
    points = sample_surface(rebuilt, 4000, np.random.default_rng(0))
    assert np.max(np.abs(make_ibex.sculpture(points))) < 0.012


def test_points_reach_into_horns_and_legs(ibex):
    points = sample_interior(ibex, 20_000, np.random.default_rng(0))
    horns = np.count_nonzero(points[:, 1] > 1.45)
    legs = np.count_nonzero(points[:, 1] < 0.35)
    assert min(horns, legs) > 200
