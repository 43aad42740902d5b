"""pixi.toml, pyproject.toml, .ci/run and the README name the same packages, versions and commands."""

import ast
import os
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("fmb", "tests", "benchmarks", "data", "docs", "examples")
CONDA_NAMES = {"matplotlib": "matplotlib-base", "mapbox-earcut": "mapbox_earcut"}
# Python itself, and OpenGL without a display, which uv leaves to the system.
CONDA_ONLY = {"python", "mesalib", "libegl", "libgl", "libopengl"}
# Names by which the code imports a package, where they are not the package's own.
DISTRIBUTIONS = {"PIL": "pillow", "OpenGL": "pyopengl", "skimage": "scikit-image", "sklearn": "scikit-learn"}
DISTRIBUTIONS |= {
    "yaml": "pyyaml",
    "mapbox_earcut": "mapbox-earcut",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "fast_simplification": "fast-simplification",
}
# Imported only where they are there: other methods in benchmarks, the extras with what they bring, the site.
OPTIONAL = {"deodr", "open3d", "pymeshlab", "small_gicp", "viser", "websockets", "mkdocs"}
OPTIONAL |= {"optuna", "pyarrow", "submitit", "xatlas"}
# Pinned although no line imports them: what imports them, or how they are used.
USED_INDIRECTLY = {
    "jaxlib": "jax",
    "networkx": "trimesh and pyrender",
    "imageio": "pyrender",
    "fast-simplification": "trimesh",
    "pillow": "imageio and trimesh",
    "pyopengl": "pyrender",
    "beartype": "named in tests/conftest.py",
    "pytest-xdist": "options in pyproject.toml",
    "ruff": "the command `ruff`",
    "hatchling": "builds the wheel",
    "jupyterlab": "the command `jupyter lab`",
    "ipykernel": "the kernel of jupyterlab",
}

MANIFEST = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(requirements: list[str]) -> dict[str, str]:
    """Version of each requirement; fails where one is not pinned exactly."""
    found = [re.fullmatch(r"([a-z0-9-]+)==([0-9a-z.]+)", requirement) for requirement in requirements]
    assert all(found), requirements
    return {match[1]: match[2] for match in found}


def names(requirements: list[str]) -> set[str]:
    """Names of requirements; fails where one of a package at run time has an upper bound."""
    found = [re.fullmatch(r"([a-z0-9-]+)(>=[0-9.]+)?", requirement) for requirement in requirements]
    assert all(found), requirements
    return {match[1] for match in found}


def conda_pins(dependencies: dict[str, Any]) -> dict[str, str]:
    specs = {name: spec["version"] if isinstance(spec, dict) else spec for name, spec in dependencies.items()}
    return {name: spec.removeprefix("==") for name, spec in specs.items()}


RUN = names(PROJECT["project"]["dependencies"])
DEV = names(PROJECT["dependency-groups"]["dev"])
JUPYTER = names(PROJECT["dependency-groups"]["jupyter"])
BENCH = names(PROJECT["dependency-groups"]["bench"])
DOCS = names(PROJECT["dependency-groups"]["docs"])
OTHERS = PROJECT["project"]["optional-dependencies"]
VIEW = names(OTHERS["view"])
EXTRAS = {name for extra in ("view", "batch", "tune", "texture") for name in names(OTHERS[extra])}
PINS = pins(PROJECT["tool"]["uv"]["constraint-dependencies"])
OPENGL = pins(PROJECT["tool"]["uv"]["override-dependencies"])


def test_every_list_of_versions_says_the_same():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert pins([line for line in lines if not line.startswith("#")]) == PINS
    assert set(PINS) == RUN | DEV | JUPYTER | BENCH | DOCS | EXTRAS
    conda = conda_pins(MANIFEST["dependencies"]) | conda_pins(MANIFEST["pypi-dependencies"])
    expected = {CONDA_NAMES.get(name, name): PINS[name] for name in RUN | DEV} | OPENGL
    assert {name: version for name, version in conda.items() if name not in CONDA_ONLY} == expected
    jupyter = conda_pins(MANIFEST["feature"]["jupyter"]["dependencies"])
    assert jupyter == {name: PINS[name] for name in JUPYTER}
    for group, feature in ((DOCS - {"ipykernel"}, "docs"), (VIEW, "view")):  # ipykernel is in the default environment
        assert conda_pins(MANIFEST["feature"][feature]["pypi-dependencies"]) == {name: PINS[name] for name in group}
    assert conda_pins(MANIFEST["feature"]["cuda"]["dependencies"]) == {"jaxlib": PINS["jaxlib"]}


@pytest.mark.parametrize("name", sorted(RUN | DEV))
def test_installed_is_what_is_pinned(name: str):
    assert metadata.version(name) == PINS[name]


def test_a_wheel_has_all_that_the_program_needs(tmp_path):
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel; not installed")
    (wheel,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert not any(name.endswith(".pyc") for name in packed)
    files = subprocess.run(["git", "-C", str(ROOT), "ls-files", "fmb"], capture_output=True, text=True, check=False)
    wanted = {"fm_render.py", "run_fmb.py", "fmb/defaults/config.yaml", "fmb/defaults/data/ibex.ply"}
    assert wanted | set(files.stdout.split()) <= packed


def test_uv_runs_the_checkout_itself(tmp_path):
    """Copies in the environment would hide later changes of the files."""
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel; not installed")
    (wheel,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith((".py", ".pth")))
        assert archive.read(path).decode().strip() == str(ROOT)


@pytest.mark.slow  # installs a hundred packages
def test_a_wheel_runs_in_a_fresh_environment(tmp_path):
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    pip, constraints = [str(python), "-m", "pip"], ["-c", str(ROOT / "constraints.txt")]
    reached = [*pip, "download", "-q", "--no-deps", "-d", str(tmp_path / "index"), "hatchling", *constraints]
    if subprocess.run(reached, check=False).returncode:
        pytest.skip("no package index can be reached")
    subprocess.run([*pip, "install", "-q", str(ROOT), *constraints], check=True)
    small = "--num-views 4 --num-epochs 1 --image-width 16 --image-height 16 --num-mixtures 5 --batch-size 64"
    command = [str(python.with_name("fuzzy-metaballs")), *small.split(), "--mesh", "none", "--cpu"]
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    shown = subprocess.run([command[0], "--help"], cwd=tmp_path, check=True, env=environment, capture_output=True)
    assert shown.stdout.startswith(b"usage: fuzzy-metaballs ")
    assert (tmp_path / "output" / "model.npz").is_file()


def imported_modules() -> set[str]:
    """Top-level names that any Python file here imports, other than the standard library and our own."""
    files = [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    names: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - {path.stem for path in files} - set(FOLDERS) - set(sys.stdlib_module_names)


def test_every_import_is_pinned_and_every_pin_has_a_use():
    imported = {DISTRIBUTIONS.get(name, name) for name in imported_modules()}
    declared = RUN | DEV | JUPYTER
    assert imported - OPTIONAL <= declared
    assert declared - imported <= set(USED_INDIRECTLY)


def test_tasks_are_found_without_naming_an_environment():
    # pixi runs a task in the default environment if that has it and no other has another of the same name;
    # else in the one environment that has it.
    assert set(MANIFEST["tasks"]) == {"test", "lint", "bench"}
    commands = {"jupyter": "jupyter lab", "docs": "mkdocs build", "view": "python run_fmb.py --view"}
    for name, command in commands.items():
        assert MANIFEST["feature"][name]["tasks"] == {name: command}
        assert [other for other, features in MANIFEST["environments"].items() if name in features] == [name]
    assert "tasks" not in MANIFEST["feature"]["cuda"]


def test_manifests_name_no_other_host():
    for name in ("pixi.toml", "pyproject.toml", ".ci/run"):
        assert re.findall(r"https?://\S+", (ROOT / name).read_text(encoding="utf-8")) == []


def test_ci_runs_the_commands_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert {"set -euo pipefail", "uv run pytest", "uv run ruff check .", "uv run ruff format --check ."} <= set(lines)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("uv run pytest", "uv run python run_fmb.py", "pixi run python run_fmb.py"):
        assert command in readme, command


def test_versions_and_names_agree():
    import fmb

    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert fmb.__version__ == PROJECT["project"]["version"] and f"version: {fmb.__version__}\n" in cited
    (members,) = re.findall(r"members: \[(.*)\]", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    assert {*members.split(", "), "Cameras", "Mixture"} == {*fmb.__all__}  # those two are the renderer's


def test_git_ignores_what_must_not_be_committed():
    names = ["uv.lock", ".venv/x", ".pixi/x", "output/model.npz", "output/.gitkeep", "pixi.lock"]
    command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", *names]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no git on this machine")
    if result.returncode == 128:
        pytest.skip("not a git checkout")
    assert result.stdout.split() == names[:4]


def test_readme_shows_what_exists_and_its_example_runs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(((?!https?:)[^)]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert re.findall(r"^[A-Z_]{4,}$", text, re.MULTILINE) == []
    _, head, rest = text.partition("    import jax\n")
    example = textwrap.dedent(head + rest.partition("\n\n`fm_render.py`")[0])
    seen = {}
    exec(example, seen)
    assert seen["picture"].depth.shape == (1, 64, 64)
    assert seen["gradient"].mean.shape == (1, 3)
