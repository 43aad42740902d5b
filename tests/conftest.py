"""Strictness for every test: CPU, float64, no silent broadcasting, shapes and types checked at each call."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(["fmb", "fm_render"], "beartype.beartype")

HASTY = {"clouds", "fields", "fit", "geometry", "latent", "pose", "shape", "test_fm_render"}  # folders and files
MODELS = Path(__file__).resolve().parents[2] / "shared" / "data" / "models"


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Folder of the shared meshes, *.ply; skips where it is absent."""
    if not MODELS.is_dir():
        pytest.skip(f"no shared meshes at {MODELS.parent}")
    return MODELS


@pytest.fixture(autouse=True, scope="module")
def compiled_in_haste(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without most of XLA's optimisations where programs take longer to compile than to run."""
    jax.config.update(
        "jax_disable_most_optimizations", not HASTY.isdisjoint({request.path.parent.name, request.path.stem})
    )
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to write a data set into."""
    path = tmp_path / "data"
    path.mkdir()
    return path
