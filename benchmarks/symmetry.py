"""What a symmetry is worth: fits with and without, at few and many views; decisions about shapes; time of rays.

    python -m benchmarks.symmetry fits --models ../shared/data/models --views 4 [--results docs/results/symmetry.md]
    python -m benchmarks.symmetry decisions --models ../shared/data/models --seeds 0 [--results FILE.md]
    python -m benchmarks.symmetry rays --models ../shared/data/models [--results docs/results/symmetry.md]
    python -m benchmarks.symmetry picture --models ../shared/data/models --names spot

Fits start from the visual hull of their own views, as captures do, and are measured on 32 views that none has seen.
"""

import sys
import time
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh

from benchmarks.markdown import table
from benchmarks.measure import in_turns
from benchmarks.study import Job, Rows, canonical, chosen, find_meshes, flags, key, provenance, study, told
from benchmarks.symmetry_shapes import Solid, crooked, other_solids, rabbit, symmetric_solids
from fm_render import Rays, Settings, render
from fmb.fields.body_symmetry import SYMMETRIC, mixture_symmetries
from fmb.fields.correlation import bodies_of, largest
from fmb.fields.looks import evaluate, look
from fmb.fields.surface_symmetry import largest_of_surface, skin_of, surface_symmetries
from fmb.fields.symmetric import SymmetricMixture, fold, render_orbit
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.options import RenderingOptions
from fmb.geometry.symmetry import Symmetry, plane_symmetry
from fmb.geometry.views import Views, flatten_views, scene_cameras, select_views, split_views
from fmb.hull.frame import hull_points
from fmb.hull.votes import cast_votes, hull, hull_box
from fmb.machine import choose_device, prepare_output_dir
from fmb.pictures.draw import draw_sheet
from fmb.pictures.sheets import overlay_sheet
from fmb.shape.options import ModelOptions, OptimizationOptions
from fmb.shape.recipe import ShapeFit, compile_shape_fit
from fmb.shape.start import start_mixture
from fmb.shape.symmetry_fit import PARAMETERS, Aim, SymmetryFound, fit_with_symmetry

NAMED = {"spot": np.array([1.0, 0.0, 0.0]), "plane": np.array([1.0, 0.0, 0.0])}  # meshes, normals of their planes
OWN = {"rabbit": rabbit, "crooked": crooked}
UNSEEN, SIDE, GRID, POINTS = 32, 64, 64, 15_000
SHOWN = 6  # unseen views in the picture
EPOCHS = {4: 150, 32: 40}  # so that all fits take some hundred steps
MODELS = {  # name: kind and components in all
    "free 40": ("none", 40),
    "plane 40": ("plane", 40),
    "plane 80": ("plane", 80),
}
SOURCES = ("benchmarks/symmetry_shapes.py", "fmb/shape/symmetric.py")
HEAD = ("shape", "model", "numbers", "cross-entropy", "IoU", "plane off, degrees", "offset off, %", "CPU s")


@lru_cache(maxsize=8)
def body(name: str, folder: Path) -> Solid:
    """A shape in its canonical frame, with its plane if it has one."""
    if name in OWN:
        solid = OWN[name]()
        frame = canonical_frame(solid.mesh)
        mesh = frame.mesh_to_canonical(solid.mesh)
        if solid.symmetry is None:
            return solid._replace(mesh=mesh)
        scale = float(frame.scale)
        place = solid.symmetry.moved(np.eye(3), -frame.centre / scale, 1.0 / scale)
        return Solid(name, mesh, place)
    mesh = canonical(find_meshes(folder, [name])[0])
    return Solid(name, mesh, plane_symmetry(NAMED[name], float(NAMED[name] @ middle_of_box(mesh))))


def middle_of_box(mesh: trimesh.Trimesh) -> np.ndarray:
    """Through which the planes of the named meshes pass."""
    return mesh.bounds.mean(axis=0)


class Fitted(NamedTuple):
    """A fit, what was said of its symmetry, the views, the shape, and processor seconds."""

    fit: ShapeFit
    found: SymmetryFound | None
    parts: dict[str, Views]
    solid: Solid
    seconds: float


def fit_model(name: str, folder: Path, count: int, model: str, seed: int) -> Fitted:
    """A model fitted to views of a shape, from their visual hull."""
    solid, (kind, components) = body(name, folder), MODELS[model]
    generator = np.random.default_rng([seed, count])
    cameras = scene_cameras(generator, count + UNSEEN, RenderingOptions(camera_roll=True))
    views = render_ground_truth(solid.mesh, cameras, (SIDE, SIDE), "raycast").views._replace(depth=None, color=None)
    parts = split_views(views, count)
    volume = hull(cast_votes(parts["train"], hull_box(parts["train"]), GRID))
    inside = hull_points(volume, POINTS, generator)
    start = start_mixture(None, ModelOptions(num_mixtures=components), seed, inside=inside).mixture
    options = OptimizationOptions(num_epochs=EPOCHS[count])
    program = compile_shape_fit(start, parts["train"].silhouette.shape, options)
    begun = time.process_time()
    fit, found = fit_with_symmetry(kind, program, start, Aim(parts["train"], options, np.random.default_rng(seed)))
    return Fitted(fit, found, parts, solid, time.process_time() - begun)


def fitted(name: str, folder: Path, count: int, model: str, seed: int) -> dict[str, Any]:
    """One row: errors on unseen views, how far the plane is off, how many numbers were fitted, processor seconds."""
    fit, found, parts, solid, seconds = fit_model(name, folder, count, model, seed)
    row = {"shape": name, "views": count, "model": model, "seed": seed, "seconds": seconds}
    row |= {**evaluate(fit.mixture, parts, 1.0)[1], "parameters": PARAMETERS * MODELS[model][1]}
    if fit.symmetric is not None:
        row["parameters"] = PARAMETERS * len(fit.symmetric.fundamental.mean) + 3
        row |= {"score": found.best.score, **plane_error(fit.symmetric.symmetry, solid.symmetry)}
    return row


def plane_error(found: Symmetry, truth: Symmetry | None) -> dict[str, float]:
    """Angle in degrees and distance at the object's middle in % of its scale; nothing where there is no truth."""
    if truth is None:
        return {}
    (ours,), (theirs,) = found.planes, truth.planes
    cosine = float(np.asarray(ours.normal, float) @ theirs.normal)
    degrees = float(np.rad2deg(np.arccos(min(abs(cosine), 1.0))))
    return {"degrees": degrees, "percent": 100.0 * abs(float(ours.offset) * np.sign(cosine) - float(theirs.offset))}


def fits_table(rows: Rows) -> str:
    """Means over the seeds, with deviations; of the plane's error the largest."""
    lines = []
    for name in dict.fromkeys(row["shape"] for row in rows):
        for model in MODELS:
            some = chosen(rows, shape=name, model=model)
            if not some:
                continue
            entropy, overlap = (np.array([row["novel"][what] for row in some]) for what in ("cross_entropy", "iou"))
            worst = [
                f"{max(row[what] for row in some):.2f}" if what in some[0] else "" for what in ("degrees", "percent")
            ]
            lines.append(
                (
                    *(name, f"{model} ({len(some)} seeds)", f"{some[0]['parameters']}"),
                    *(f"{entropy.mean():.4f} ± {entropy.std():.4f}", f"{overlap.mean():.3f}", *worst),
                    f"{np.mean([row['seconds'] for row in some]):.0f}",
                )
            )
    return table(HEAD, lines)


def worst_of(rows: Rows, what: str) -> str:
    """The largest of a number, where the rows have it."""
    return f"{max(row[what] for row in rows):.2f}" if what in rows[0] else ""


def gains(rows: Rows) -> str:
    """What the models with a plane gain over the free one, over symmetric shapes, and how many planes are right."""
    told_of = []
    symmetric = [row for row in rows if row["shape"] != "crooked"]
    for model in list(MODELS)[1:]:
        some = chosen(symmetric, model=model)
        pairs = [(row, chosen(rows, shape=row["shape"], seed=row["seed"], model="free 40")) for row in some]
        ratio = [row["novel"]["cross_entropy"] / other[0]["novel"]["cross_entropy"] for row, other in pairs if other]
        if ratio:
            right = sum(row["degrees"] <= 1.0 and row["percent"] <= 1.0 for row in some)
            told_of.append(
                f"{model}: cross-entropy {100 * (np.mean(ratio) - 1):+.0f} % of the free model's in the mean of "
                f"{len(ratio)} pairs, lower in {sum(np.array(ratio) < 1)}; plane within 1 degree and 1 % in {right} of "
                f"{len(some)} runs."
            )
    return "\n".join(f"- {line}" for line in told_of)


def decided(solid: Solid) -> dict[str, Any]:
    """What is found in a solid: by its surface, and by its mixture alone."""
    mesh = canonical_frame(solid.mesh).mesh_to_canonical(solid.mesh)
    begun = time.process_time()
    mixture = start_mixture(mesh, ModelOptions(), 0).mixture
    bodies = bodies_of(mixture)
    found = surface_symmetries(skin_of(mesh), bodies)
    seconds = time.process_time() - begun
    near = mixture_symmetries(mixture, bodies=bodies)
    best, alone = largest_of_surface(found), largest(near, SYMMETRIC)
    row = {"name": solid.name, "truth": "none" if solid.symmetry is None else solid.symmetry.kind, "seconds": seconds}
    row |= {"surface": "none" if best is None else best.symmetry.kind}
    row |= {"mixture": "none" if alone is None else alone.symmetry.kind}
    row |= {"bodies": [{"kind": one.symmetry.kind, "score": one.score} for one in near]}
    numbers = [
        {"kind": one.symmetry.kind, "score": one.score, "distance": one.distance, "far": one.far} for one in found
    ]
    return row | {"found": numbers}


def decisions_table(rows: Rows) -> str:
    """Counts, and each that went wrong."""
    lines, wrong = [], []
    for way in ("surface", "mixture"):
        have, others = ([row for row in rows if (row["truth"] != "none") == want] for want in (True, False))
        missed = [row["name"] for row in have if row[way] == "none"]
        false = [row["name"] for row in others if row[way] != "none"]
        lines.append((way, f"{len(missed)} of {len(have)}", f"{len(false)} of {len(others)}"))
        wrong += [
            f"- {way}, {what}: {', '.join(names)}" for what, names in (("missed", missed), ("false", false)) if names
        ]
    kinds = [f"{row['name']}: {row['surface']}" for row in rows if row["surface"] not in ("none", row["truth"])]
    seconds = np.median([row["seconds"] for row in rows])
    body = table(("decided by", "symmetric, missed", "others, called symmetric"), lines)
    said = "\n".join(wrong) + (f"\n\nOther groups than the one built in: {'; '.join(kinds)}." if kinds else "")
    return f"{body}\n\n{said}\n\nMedian of the processor's time of a solid: {seconds:.1f} s."


def rays_table(folder: Path) -> str:
    """Milliseconds of density and its gradient along rays: mirrored rays, and all copies."""
    solid, lines = body("spot", folder), []
    start = start_mixture(solid.mesh, ModelOptions(), 0).mixture
    cameras = scene_cameras(np.random.default_rng(0), 4, RenderingOptions(camera_roll=True))
    views = render_ground_truth(solid.mesh, cameras, (SIDE, SIDE), "raycast").views._replace(depth=None, color=None)
    rays = Rays(*(jnp.asarray(x[:2048], jnp.float32) for x in flatten_views(views).rays))
    for kind in ("plane", "two_planes", "cyclic_5", "revolution"):
        place = Symmetry(kind, solid.symmetry.placement)
        mixture = fold(start, place, 40 // len(place.group.maps) or 1)
        ways = {"mirrored rays": mirrored, "all copies": copied}
        calls = {name: partial(ready, jax.jit(jax.grad(partial(way, rays))), mixture) for name, way in ways.items()}
        for call in calls.values():
            call()
        times = in_turns(calls, 2.0)
        maps, few = len(place.group.maps), len(mixture.fundamental.mean)
        lines.append((kind, f"{few} x {maps}", *(f"{time.median:.2f}" for time in times.values())))
    return table(("group", "components x copies", *("mirrored rays, ms", "all copies, ms")), lines)


def mirrored(rays: Rays, mixture: SymmetricMixture) -> jax.Array:
    """The density along mirrored rays."""
    return render_orbit(mixture, rays, 1.0, ("density",), Settings()).density.sum()


def copied(rays: Rays, mixture: SymmetricMixture) -> jax.Array:
    """The density of all copies along rays."""
    return render(mixture.copies(), rays, 1.0, ("density",), Settings()).density.sum()


def ready(function: Any, *inputs: Any) -> Any:
    """The result, when it is there."""
    return jax.block_until_ready(function(*inputs))


def fits(options: Any, argv: list[str]) -> str:
    """The section of fits at one number of views."""
    names = options.names or [*NAMED, *OWN]
    wanted = [(name, model, seed) for seed in options.seeds for name in names for model in options.fitted]
    jobs = []
    for name, model, seed in wanted:
        make = partial(fitted, name, options.models, options.views, model, seed)
        jobs.append(Job(key(f"{name}-{options.views}-{model}-{seed}", [EPOCHS], SOURCES), make))
    rows = study(jobs, options.output, "fits", options.minutes or None)
    return (
        f"## Fits to {options.views} views of {SIDE} x {SIDE}\n\n{provenance('symmetry', argv)}\n\n"
        f"{fits_table(rows)}\n\n"
        f"Cross-entropy and IoU on {UNSEEN} unseen views, mean and deviation over seeds; the plane's error is the "
        f"largest.\n\n{gains(rows)}"
    )


def decisions(options: Any, argv: list[str]) -> str:
    """The section of decisions."""
    seed = options.seeds[0]
    solids = [*symmetric_solids(seed), *other_solids(seed + 1)]
    jobs = [Job(key(solid.name, [seed] if seed else [], DECIDING), partial(decided, solid)) for solid in solids]
    rows = study(jobs, options.output, "decisions", options.minutes or None)
    return f"## Which solids have a symmetry\n\n{provenance('symmetry', argv)}\n\n{decisions_table(rows)}"


DECIDING = (
    "benchmarks/symmetry_shapes.py",
    *(f"fmb/fields/{name}.py" for name in ("body_symmetry", "correlation", "surface_symmetry")),
)


def timed(options: Any, argv: list[str]) -> str:
    """The section of times."""
    return f"## Mirrored rays or all copies\n\n{provenance('symmetry', argv)}\n\n{rays_table(options.models)}"


def picture(options: Any, argv: list[str]) -> str:
    """Unseen views of the first shape, without and with its plane, side by side."""
    name = (options.names or ["spot"])[0]
    pair = [
        fit_model(name, options.models, options.views, model, options.seeds[0]) for model in ("free 40", "plane 40")
    ]
    few = select_views(pair[0].parts["novel"], np.arange(SHOWN))
    size = few.silhouette.shape[1:]
    drawn = [overlay_sheet(few.silhouette, look(one.fit.mixture, few.cameras, size).alpha) for one in pair]
    tiles = np.concatenate([sheet.tiles for sheet in drawn], axis=2)
    labels = [f"{a.split()[1]}, {b.split()[1]}" for a, b in zip(*(sheet.labels for sheet in drawn), strict=True)]
    title = f"{name} from {options.views} silhouettes: unseen views"
    note = "40 components; left, each fitted by itself; right, 20 and their mirror images; numbers: IoU of both"
    sheet = drawn[0]._replace(title=title, note=note, tiles=tiles, labels=labels, panels=("", ""))
    path = draw_sheet(prepare_output_dir(options.output) / "symmetry.png", sheet)
    return f"{path}"


PARTS: Mapping[str, Any] = {"fits": fits, "decisions": decisions, "rays": timed, "picture": picture}


def main(argv: list[str]) -> int:
    """Runs one part and prints its section."""
    parser = flags(__doc__, "symmetry", {"views": 4, "minutes": 0}, seeds=range(5))
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--fitted", nargs="+", choices=MODELS, default=["free 40", "plane 40"])
    options = parser.parse_args(argv)
    choose_device(cpu=True)
    section = f"symmetry-{options.part}" + (f"-{options.views}" if options.part == "fits" else "")
    return told(lambda: PARTS[options.part](options, argv), options.results, section)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
