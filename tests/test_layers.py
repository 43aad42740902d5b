"""Rooms: each may import those before it, there are no circles, and importing anything makes no array."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# One noun, one room. A room may import those before it; the files in a room may not import one another in a circle.
ROOMS = (
    "fm_numerics",
    "fm_tiles",
    "fm_render",
    "fmb.ends",
    "fmb.surroundings",
    "fmb.waiting",
    "fmb.machine",
    "fmb.ready",
    "fmb.whole",
    "fmb.options",
    "fmb.geometry",
    "fmb.fit",
    "fmb.fields",
    "fmb.hull",
    "fmb.files",
    "fmb.pictures",
    "fmb.shape",
    "fmb.pose",
    "fmb.clouds",
    "fmb.latent",
    "fmb.single_view",
    "fmb.joint",
    "fmb.config",
    "fmb.command",
    "fmb.tasks",
    "fmb.api",
    "run_fmb",
    "util",
)
RENDERER = {"fm_render", "fm_tiles", "fm_numerics"}
RENDERER_NEEDS = {"jax", "jaxtyping", "numpy"}  # so that the three can be copied alone
MOST_LINES = 500


def modules() -> dict[str, Path]:
    """Our modules by name."""
    paths = [*ROOT.glob("*.py"), *(ROOT / "fmb").rglob("*.py")]
    names = (path.relative_to(ROOT).with_suffix("").parts for path in paths)
    return {".".join(name).removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


FOUND = modules()


def imports(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it; a module of ours by its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FOUND else node.module


OURS = FOUND.keys() - {"fmb"}  # the package itself holds the version alone
IMPORTS = {name: {other for other in imports(FOUND[name]) if other in OURS} for name in OURS}


def room(name: str) -> str:
    """The room that a module stands in."""
    return ".".join(name.split(".")[:2])


def test_imports_point_downwards():
    assert sorted({room(name) for name in IMPORTS} - set(ROOMS)) == [], "a new room needs a place in ROOMS"
    upwards = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if other == "fmb" or ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert upwards == []


def test_no_file_imports_itself_over_others():
    left = {name: set(others) for name, others in IMPORTS.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_files_stay_readable():
    assert [name for name, path in FOUND.items() if len(path.read_text().splitlines()) > MOST_LINES] == []


def test_the_renderer_can_be_copied_alone():
    needed = {name.partition(".")[0] for part in RENDERER for name in imports(FOUND[part])}
    assert needed - set(sys.stdlib_module_names) - RENDERER == RENDERER_NEEDS


def test_importing_makes_no_array():
    # with a platform that does not exist the first array raises, so --cpu can be decided late
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [sys.executable, "-c", program, *sorted(FOUND)]
    environment = {**os.environ, "JAX_PLATFORMS": "none_at_import"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_script_may_have_a_util_of_its_own(tmp_path):
    (tmp_path / "util.py").write_text("hello = 'mine'\n")
    (tmp_path / "script.py").write_text("import fmb, util\nprint(fmb.fit_shape, fmb.save_mesh)\nutil.hello\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
