"""Notebooks: without outputs, without functions, and every cell runs."""

import ast
import importlib
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from fmb.files.captures.co3d import write_co3d
from fmb.files.captures.read import read_capture
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.views import Views
from tests.datasets import write_point_runs

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SMALL = {  # what stands in for the cell of parameters
    "shape_from_silhouette": "COMPONENTS, VIEWS, SIDE = 6, 6, 24\nEPOCHS, BATCH = 2, 256",
    "pose_estimation": "COMPONENTS, HEIGHT, WIDTH = 6, 24, 32\nSTARTS = 2",
    "morph": "WIDTH, LEARN_STEPS, STEPS, CELLS, VIEWS, SIDE = 16, 60, 10, 16, 2, 16",
    "shape_from_one_image": "VIEWS, EPOCHS = 2, 1",
    "run_co3d": "COMPONENTS, LONGEST_SIDE, EPOCHS, BATCH = 6, 24, 2, 256\nMADE_VIEWS, MADE_SIDE = 10, 24",
    "points_tables": "RUNS = Path({runs!r})",
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SECONDS = 240  # for one cell, on a busy machine


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_all_notebooks_are_here():
    assert set(SMALL) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_stripped_and_thin(name):
    book = read(name)
    nbformat.validate(book)
    assert list(book.metadata) == ["kernelspec", "language_info"]
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell in cells:
        assert cell.outputs == [] and cell.execution_count is None
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, defined) for node in ast.walk(ast.parse(cell.source)))
        assert len(cell.source.splitlines()) <= 30
    assert len(cells) < len(book.cells) <= 2 * len(cells) + 2
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_a_notebook_imports_is_there(name):
    nodes = [n for cell in read(name).cells if cell.cell_type == "code" for n in ast.walk(ast.parse(cell.source))]
    sources = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module.startswith("fmb")]
    assert sources
    for source in sources:
        module = importlib.import_module(source.module)
        assert [alias.name for alias in source.names if not hasattr(module, alias.name)] == [], source.module


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    book = read(name)
    place = next(n for n, cell in enumerate(book.cells) if cell.metadata.get("tags") == ["parameters"])
    book.cells[place].source += "\n" + SMALL[name].format(runs=str(write_point_runs(tmp_path)))
    NotebookClient(
        book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    kinds = [output.output_type for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert "error" not in kinds and kinds.count("display_data") >= 2


def test_views_written_as_co3d_come_back(tmp_path):
    cameras = orbit_cameras(3, 4.0, pinhole_intrinsics(9, 12, 40.0), 0.3)
    cameras.intrinsics[:, 0, 2] += 1.5
    generator = np.random.default_rng(0)
    silhouette = np.round(255 * generator.uniform(size=(3, 9, 12))) / 255
    color = np.round(255 * generator.uniform(size=(3, 9, 12, 3))) / 255
    capture = read_capture(write_co3d(tmp_path / "cup", Views(cameras, silhouette, color=color)))
    assert capture.kind == "co3d" and len(capture.names) == 3
    assert np.allclose(capture.views.cameras.world_from_camera, cameras.world_from_camera)
    assert np.allclose(capture.views.cameras.intrinsics, cameras.intrinsics)
    assert np.allclose(capture.views.silhouette, silhouette, atol=1e-6)
    assert np.allclose(capture.views.color, color, atol=1e-6)


def test_co3d_in_the_current_folder(tmp_path, monkeypatch):
    """Paths in the annotations begin with the folder's name, which "." does not say."""
    silhouette = np.ones((2, 8, 8))
    silhouette[:, :, :2] = 0.0
    views = Views(orbit_cameras(2, 4.0, pinhole_intrinsics(8, 8, 40.0)), silhouette)
    monkeypatch.chdir(tmp_path)
    write_co3d(Path("."), views)
    assert np.allclose(read_capture(tmp_path).views.silhouette, silhouette)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file"):
        write_co3d(tmp_path / "file", views)


def test_co3d_without_colours_or_pixels(tmp_path):
    cameras = orbit_cameras(2, 4.0, pinhole_intrinsics(8, 8, 40.0))
    silhouette = np.ones((2, 8, 8))
    silhouette[:, :, :2] = 0.0
    capture = read_capture(write_co3d(tmp_path / "cup", Views(cameras, silhouette)))
    assert capture.views.color is None
    with pytest.raises(ValueError, match="cup: images of 1 x 8 pixels; both sides must be at least 2"):
        write_co3d(tmp_path / "cup", Views(cameras, np.ones((2, 8, 1))))
