"""Imports point downwards only, and importing anything makes no array."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each module may import those before it.
ORDER = (
    "fmb",
    "fmb.numerics",
    "fm_render",
    "fmb.sheets",
    "util",
    "fmb.options",
    "fmb.config",
    "fmb.rotations",
    "fmb.losses",
    "fmb.cameras",
    "fmb.frames",
    "fmb.mixture",
    "fmb.metrics",
    "fmb.interior",
    "fmb.views",
    "fmb.carving",
    "fmb.noise",
    "fmb.uncertainty",
    "fmb.opengl_process",
    "fmb.ground_truth",
    "fmb.readers",
    "fmb.readers.obj",
    "fmb.readers.mesh",
    "fmb.readers.model",
    "fmb.clock",
    "fmb.painter",
    "fmb.device",
    "fmb.start",
    "fmb.evaluation",
    "fmb.schedules",
    "fmb.fit",
    "fmb.edges",
    "fmb.sampling",
    "fmb.relocation",
    "fmb.surface",
    "fmb.agreement",
    "fmb.assets",
    "fmb.assets.fidelity",
    "fmb.assets.meshing",
    "fmb.assets.points",
    "fmb.assets.splats",
    "fmb.captures",
    "fmb.captures.conventions",
    "fmb.captures.frusta",
    "fmb.captures.hull",
    "fmb.captures.consistency",
    "fmb.captures.frame",
    "fmb.captures.sheets",
    "fmb.color",
    "fmb.poses",
    "fmb.poses.icp",
    "fmb.poses.residuals",
    "fmb.poses.covariance",
    "fmb.poses.observation",
    "fmb.poses.options",
    "fmb.poses.projective",
    "fmb.poses.search",
    "fmb.poses.descent",
    "fmb.pose",
    "fmb.poses.sensor",
    "fmb.poses.sheets",
    "fmb.poses.simulation",
    "fmb.poses.tracking",
    "fmb.readers.png",
    "fmb.readers.released",
    "fmb.readers.safe_files",
    "fmb.readers.images",
    "fmb.readers.point_files",
    "fmb.readers.shots",
    "fmb.readers.assembly",
    "fmb.readers.bop",
    "fmb.readers.co3d",
    "fmb.readers.colmap",
    "fmb.readers.krt",
    "fmb.readers.observation",
    "fmb.readers.plain",
    "fmb.readers.projections",
    "fmb.readers.idr",
    "fmb.readers.splats",
    "fmb.readers.mixtures",
    "fmb.readers.transforms",
    "fmb.readers.captures",
    "fmb.scenes",
    "fmb.show",
    "fmb.show.ellipsoids",
    "fmb.show.film",
    "fmb.show.turntable",
    "fmb.show.live",
    "fmb.show.report_scene",
    "fmb.show.report",
    "fmb.supervision",
    "fmb.attendant",
    "fmb.shape",
    "fmb.conversion",
    "fmb.poses.joint",
    "fmb.surface_depth",
    "fmb.tasks",
    "fmb.tasks.models",
    "fmb.writers",
    "fmb.writers.cameras",
    "fmb.writers.co3d",
    "fmb.writers.film",
    "fmb.writers.frusta",
    "fmb.writers.mesh",
    "fmb.writers.points",
    "fmb.writers.pose",
    "fmb.writers.report",
    "fmb.writers.splats",
    "fmb.writers.video",
    "fmb.writers.assets",
    "fmb.tasks.shell",
    "fmb.tasks.assets",
    "fmb.tasks.bop",
    "fmb.tasks.cameras",
    "fmb.tasks.pose",
    "fmb.tasks.track",
    "run_fmb",
)
RENDERER = ("fm_render", "fmb.numerics")  # what is lent to other projects: of others it needs these alone
RENDERER_NEEDS = {"jax", "jaxtyping", "numpy"}


def modules() -> dict[str, Path]:
    """Our modules by name."""
    paths = [*ROOT.glob("*.py"), *(ROOT / "fmb").rglob("*.py")]
    names = (path.relative_to(ROOT).with_suffix("").parts for path in paths)
    return {".".join(name).removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def imports(name: str, path: Path) -> Iterator[str]:
    """What a module imports, wherever in it; a module of ours by its full name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source


def test_every_module_has_its_place():
    assert sorted(set(modules()) - set(ORDER)) == [], "add them to ORDER"
    assert len(set(ORDER)) == len(ORDER)


def test_imports_point_downwards():
    found, place = modules(), {name: position for position, name in enumerate(ORDER)}
    upwards = [
        f"{name} imports {other}"
        for name, path in found.items()
        for other in imports(name, path)
        if {name, other} <= place.keys() and place[other] >= place[name]
    ]
    assert upwards == []


def test_the_renderer_can_be_lent():
    found = modules()
    for name in RENDERER:
        if name in found:
            foreign = {other for other in imports(name, found[name]) if other not in RENDERER}
            foreign = {other.partition(".")[0] for other in foreign} - set(sys.stdlib_module_names)
            assert foreign <= RENDERER_NEEDS, f"{name} imports {sorted(foreign - RENDERER_NEEDS)}"


def test_the_package_is_a_docstring():
    (only,) = ast.parse((ROOT / "fmb" / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)


def test_importing_makes_no_array():
    # with a platform that does not exist the first array raises, so --cpu can be decided late
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    environment = {**os.environ, "JAX_PLATFORMS": "none_at_import"}
    result = subprocess.run(
        [sys.executable, "-c", program, *sorted(modules())],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
