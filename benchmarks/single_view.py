"""Shapes from one image: an encoder on unseen shapes, kinds of encoders against one another, and fits from predictions.

    python -m benchmarks.single_view quality --encoder data/encoder.npz
    python -m benchmarks.single_view kinds --steps 900 --json kinds.json
    python -m benchmarks.single_view refinement --encoder data/encoder.npz

Each prints its table. Unseen shapes are those that no training is given, see HELD_OUT in fmb/single_view/sights.py; the
first view of each is the encoder's input. Seconds are those of the processor.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.markdown import table
from fm_render import Cameras
from fmb.fields.looks import look
from fmb.fields.metaballs import mesh_mixture
from fmb.fields.mixtures import in_single, sphere_mixture
from fmb.geometry.comparison import voxel_iou
from fmb.geometry.images import view_ious
from fmb.geometry.views import Views
from fmb.machine import choose_device
from fmb.options import NONE
from fmb.pictures.draw import draw_sheet
from fmb.shape.options import OptimizationOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.single_view.evaluation import VOXEL_MESH, Measured, evaluate, known_shapes, looked_at, summary
from fmb.single_view.families import FAMILIES
from fmb.single_view.layout import layout_of
from fmb.single_view.network import parameter_count
from fmb.single_view.options import EncoderOptions
from fmb.single_view.prediction import blobs_from
from fmb.single_view.recipe import train
from fmb.single_view.refine import batch_of, halved, refine
from fmb.single_view.sights import HELD_OUT, Collection, chosen, family_mesh, family_of, family_sights, subset
from fmb.tasks.encoders import read_encoder, read_sights
from fmb.tasks.train_encoder_files import sheet_of

SEED, VIEWS = 42, 4  # of the unseen shapes
PICTURED = 12  # shapes
KINDS_VIEWS = 6  # of them, where kinds of encoders are compared
KINDS: dict[str, dict[str, Any]] = {
    "symmetric, 4 mean shapes": {},
    "free": {"encoder_symmetry": NONE},
    "symmetric, 1 mean shape": {"mean_shapes": 1},
    "symmetric, each component cut in two": {"encoder_split": True},
}
NAMES = {
    "input_iou": "IoU, given view", "novel_iou": "other views", "voxel_iou": "voxel IoU",
    "rotation_degrees": "turn, °", "best_rotation_degrees": "best of all, °", "camera_iou": "IoU, own camera",
}  # fmt: skip


def unseen(count: int, size: int, views: int = VIEWS) -> Collection:
    """So many unseen shapes of each family."""
    return family_sights(tuple(FAMILIES), range(HELD_OUT, HELD_OUT + count), views, size, SEED)


def truths(collection: Collection) -> dict[int, Any]:
    """Their meshes by number."""
    known = [family_of(name) for name in collection.names]
    return {number: family_mesh(one[0], SEED, one[1]) for number, one in enumerate(known)}


def cells(found: dict[str, float]) -> tuple[str, ...]:
    """The measures as texts, in the order of NAMES."""
    return tuple(f"{found[name]:.1f}" if "degrees" in name else f"{found[name]:.3f}" for name in NAMES if name in found)


def quality(arguments: argparse.Namespace) -> str:
    """A table of an encoder's errors on unseen shapes, a row a family."""
    encoder, layout, _ = read_encoder(arguments.encoder)
    collection = unseen(arguments.shapes, layout.size)
    measured = evaluate(encoder, layout, collection, truths(collection))
    kinds = np.array([family_of(name)[0] for name in collection.names])
    rows = [(kind, *cells(summary(measured, kinds == kind))) for kind in FAMILIES]
    if arguments.picture is not None:
        draw_sheet(Path(arguments.picture), sheet_of(encoder, layout, collection, measured, PICTURED))
    write(arguments.json, {name: getattr(measured, name).tolist() for name in Measured._fields})
    return table(("family", *NAMES.values()), [*rows, ("all", *cells(summary(measured)))])


def kinds(arguments: argparse.Namespace) -> str:
    """A table of kinds of encoders, trained alike with several seeds: means and deviations over the seeds."""
    base = replace(EncoderOptions(), encoder_steps=arguments.steps, encoder_width=arguments.width)
    if arguments.sights is None:
        lessons = family_sights(tuple(FAMILIES), range(arguments.made), 4, base.encoder_size, SEED)
    else:
        lessons = read_sights(Path(arguments.sights))
    collection, found = unseen(arguments.shapes, base.encoder_size, KINDS_VIEWS), []
    meshes = truths(collection)
    for seed in range(arguments.seeds):
        for name, changes in KINDS.items():
            options = replace(base, **changes)
            layout, began = layout_of(options), time.process_time()
            encoder = train(lessons.sights, options, layout, np.random.default_rng(seed))
            seconds = time.process_time() - began
            record = summary(evaluate(encoder, layout, collection, meshes))
            found.append(
                {"kind": name, "seed": seed, "parameters": parameter_count(encoder), "seconds": seconds, **record}
            )
            print(json.dumps(found[-1]), flush=True)
            write(arguments.json, found)
    return kinds_table(found)


def kinds_table(found: list[dict[str, Any]]) -> str:
    """Means over the seeds, and deviations where there are several."""
    rows = []
    for name in dict.fromkeys(one["kind"] for one in found):
        some = [one for one in found if one["kind"] == name]
        row = [name, f"{some[0]['parameters']:,}", f"{np.mean([one['seconds'] for one in some]):.0f}"]
        for measure in NAMES:
            values = [one[measure] for one in some if measure in one]
            digits = 1 if "degrees" in measure else 3
            spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            row.append(f"{np.mean(values):.{digits}f}{spread}" if values else "")
        rows.append(tuple(row))
    return table(("encoder", "parameters", "seconds", *NAMES.values()), rows)


def refinement(arguments: argparse.Namespace) -> str:
    """A table of fits to some silhouettes that start from the prediction, and from nothing."""
    encoder, layout, _ = read_encoder(arguments.encoder)
    collection = unseen(arguments.shapes, layout.size, 8)
    shapes = known_shapes(encoder, layout, looked_at(encoder, layout, collection), collection)
    meshes, rows = truths(collection), []
    for count in arguments.given:
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ("prediction", *FITS)}
        for number in range(len(collection.names)):
            blobs, sights = blobs_from(encoder, layout, shapes[number]), subset(collection, [number]).sights
            for seed in range(arguments.seeds):
                for name, fit in FITS.items():
                    began = time.process_time()
                    mixture = fit((blobs, layout), given(sights, count), np.random.default_rng(seed))
                    found[name].append((*errors(mixture, sights, meshes[number]), time.process_time() - began))
            found["prediction"].append((*errors(in_single(blobs.mixture), sights, meshes[number]), 0.0))
        for name, values in found.items():
            mean = np.nanmean(np.array(values), axis=0)
            rows.append((name, str(count), *(f"{value:.3f}" for value in mean[:-1]), f"{mean[-1]:.1f}"))
            print(rows[-1], flush=True)
    return table(("", "views", "IoU, first view", "views 5 to 8", "voxel IoU", "seconds"), rows)


def given(sights: Any, count: int) -> Views:
    """The first views, by their true cameras."""
    some = chosen(sights, np.arange(count))
    return Views(Cameras(some.world_from_camera, some.intrinsics), some.silhouette.astype(np.float32))


def fit_from(start: tuple, views: Views, generator: np.random.Generator) -> Any:
    """The fit from a prediction."""
    return refine(*start, views, generator).mixture


def fit_halves(start: tuple, views: Views, generator: np.random.Generator) -> Any:
    """The fit from a prediction whose components are cut in two."""
    return refine(halved(*start), start[1], views, generator).mixture


def fit_anew(start: tuple, views: Views, generator: np.random.Generator) -> Any:
    """The fit of as many free components from small balls, with the program's own options."""
    count = len(start[0].color)
    begun = in_single(sphere_mixture(generator, count))
    options = replace(OptimizationOptions(), batch_size=batch_of(views))
    program = compile_shape_fit(begun, views.silhouette.shape, options)
    return fit_to_views(program, begun, views, generator).mixture


FITS = {"fit from it": fit_from, "the same, components cut in two": fit_halves, "fit from nothing": fit_anew}


def errors(mixture: Any, sights: Any, truth: Any) -> tuple[float, float, float]:
    """IoU in the first view and in the last four, and that of the solids."""
    cameras = Cameras(sights.world_from_camera, sights.intrinsics)
    alpha = look(mixture, cameras, sights.silhouette.shape[1:]).alpha
    found = view_ious(alpha, sights.silhouette.astype(float))
    try:
        solid = voxel_iou(mesh_mixture(jax.tree.map(jnp.asarray, mixture), VOXEL_MESH).mesh, truth)
    except ValueError:  # nothing is dense enough
        solid = 0.0
    return float(found[0]), float(found[4:].mean()), solid


def write(path: str | None, record: Any) -> None:
    """Keeps what was found, where it is wanted."""
    if path is not None:
        Path(path).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "kinds", "refinement"))
    parser.add_argument("--encoder", default="data/encoder.npz")
    parser.add_argument("--shapes", type=int, default=10, help="unseen shapes of each family")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=900, help="of each training of kinds")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage, of kinds")
    parser.add_argument("--made", type=int, default=300, help="shapes of each family to learn from, of kinds")
    parser.add_argument("--sights", help="a file of train-encoder --save-sights true, in place of them")
    parser.add_argument("--picture", help="where to draw some unseen shapes, of quality")
    parser.add_argument("--given", type=int, nargs="+", default=[1, 2, 4], help="numbers of silhouettes, of refinement")
    parser.add_argument("--json", help="where to keep all numbers")
    arguments = parser.parse_args()
    choose_device(True)
    print({"quality": quality, "kinds": kinds, "refinement": refinement}[arguments.what](arguments))


if __name__ == "__main__":
    main()
