"""What task `points` leaves: surfaces, checkpoints, tables, pictures, a film and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from fmb import machine
from fmb.clouds.evidence import bare_share
from fmb.clouds.sampling import make_target
from fmb.clouds.surface import certain_surface, supported, uncertainty
from fmb.command.yaml_file import to_yaml
from fmb.fields.field import first_order_distance
from fmb.fields.metaballs import HALF_DENSITY
from fmb.files.mesh_output import write_mesh
from fmb.fit.loop import History
from fmb.geometry.comparison import compare
from fmb.geometry.distances import distance_to
from fmb.geometry.symmetry import moved_record
from fmb.machine import Clock, write_columns
from fmb.options import NONE
from fmb.pictures import clouds as drawn
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.tasks.export import Subject, write_mixture
from fmb.tasks.made import made_by
from fmb.tasks.points_course import Result, write_course
from fmb.tasks.unfinished import Unfinished
from fmb.whole import METRICS

SLICE_CELLS = 200  # along each side of a slice
SLICE_REACH, SLICE_BAND = 0.6, 0.01  # half a slice's side; points this near its plane are shown, in longest sides
MOST_VERTICES = 20_000  # of a reference whose vertices are coloured by their errors
PERCENT = 100.0
MOST_FLOODED = 0.3  # share of points that see the outside on both sides, above which a run says so
LEAST_BARE = 0.005  # share of a surface without points near it, from which on a run says so


def write_results(result: Result, folder: Path, unfinished: Unfinished, clock: Clock) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    config, state = result.config, result.state
    with clock("export"):
        mesh, left_out = final_surface(result)
        if config.export.mesh != NONE:
            write_mesh(folder / f"mesh.{config.export.mesh}", mesh)
        machine.write_text(folder / "config.yaml", to_yaml(config))
        unfinished.hand_over(folder)
        write_blobs(result, folder)
        write_training(result, folder)
    with clock("evaluate"):
        errors = measured(result, mesh)
    with clock("figures"):
        write_course(result, unfinished, folder)
        draw(result, folder, mesh)
    metrics = facts_of(result, mesh) | left_out | {"errors": errors, "seconds": clock.seconds()}
    write_final(folder, metrics, state.step)
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page(result, folder, mesh, metrics)
    return metrics


def final_surface(result: Result) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    """The surface in the frame of the points, and what was left out of it, by name."""
    inside, options, evidence = result.frame.to_canonical(result.cloud.point), result.config.cloud, result.evidence
    field, reach = result.state.field, options.thinnest_handle
    reach = uncertainty(field, inside[evidence.kept]) if reach < 0 else reach
    mesh, changed = certain_surface(field, options.surface_resolution, inside, reach)
    mesh, pieces = supported(mesh, inside, evidence.spacing)
    facts = {"pieces_left_out": pieces, "thinnest_handle": reach, "nodes_changed": changed}
    return result.frame.mesh_to_world(mesh), facts


def facts_of(result: Result, mesh: trimesh.Trimesh) -> dict[str, Any]:
    """What there is to tell of the run and its surface."""
    config, inside = result.config, result.frame.to_canonical(result.cloud.point)
    options = {name: getattr(config.cloud, name) for name in ("preset", "activation", "distance")}
    facts = {"task": "points", "method": config.cloud.points_method, "points": len(result.cloud.point), **options}
    facts |= {"steps": result.state.step, "faces": len(mesh.faces), "euler": int(mesh.euler_number)}
    facts |= {"components": int(mesh.body_count), "watertight": bool(mesh.is_watertight), **result.state.facts}
    spacing, generator = result.evidence.spacing, np.random.default_rng(config.random_seed)
    bare = bare_share(result.frame.mesh_to_canonical(mesh), inside, spacing, generator)
    facts |= {"spacing": spacing, "share_without_points": bare}
    if "symmetry" in facts:
        facts["symmetry"] = moved_record(facts["symmetry"], result.frame.centre, float(result.frame.scale))
    return facts | {"frame": {"centre": result.frame.centre, "longest_side": float(result.frame.scale)}}


def measured(result: Result, mesh: trimesh.Trimesh) -> dict[str, Any]:
    """Distances of the points from the surface, and the record of `compare` where there is a reference."""
    from_points = distance_to(mesh, result.cloud.point) / float(result.frame.scale)
    errors = {"points_to_surface": float(from_points.mean()), "farthest_point": float(from_points.max())}
    return errors if result.reference is None else errors | compare(mesh, result.reference)


def write_blobs(result: Result, folder: Path) -> None:
    """The mixture, where the field is that of one, in the frame of the points: for pose, track and export."""
    mixture = result.state.mixture
    if mixture is not None:
        # its surface lies where the density at a point is ln 2, not where silhouettes would put it
        facts = {"task": "points", "unit": "the points' own", "mesh": {"level": HALF_DENSITY, "field": "density"}}
        write_mixture(folder / "model.npz", Subject(mixture, result.frame), facts)


def write_training(result: Result, folder: Path) -> None:
    """What the fit was given and how it went, as arrays and tables."""
    inside = result.frame.to_canonical(result.cloud.point)
    for name, array in (("train_points", inside), ("local_sigma", make_target(inside).spread)):
        with machine.replacing(folder / f"{name}.npy") as partial, partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    terms = result.state.history
    if terms:
        count = len(next(iter(terms.values())))
        write_columns(folder / "train_metrics.csv", {"step": np.arange(1, count + 1), **terms})


def measures(record: Mapping[str, Any]) -> dict[str, float]:
    """The columns of the tables of errors, from a record of `compare`."""
    sampled, exact = record["sampled"], record["exact"]
    return {
        "chamfer_distance": sampled["chamfer"],
        "hausdorff_distance": sampled["hausdorff"],
        "squared_distance": sampled["squared"],
        "normal_angle": sampled["normal_degrees"],
        "exact_chamfer_distance": exact["chamfer"],
        "exact_hausdorff_distance": exact["hausdorff"],
        "chamfer_floor": record["floor"]["chamfer"],
    }


def write_final(folder: Path, metrics: Mapping[str, Any], step: int) -> None:
    """The table of the last surface's errors, in the unit of the points, where there is a reference."""
    record = metrics["errors"]
    if "exact" not in record:
        return
    lengths = {
        name: value * (record["unit"] ** (2 if name == "squared_distance" else name != "normal_angle"))
        for name, value in measures(record).items()
    }
    row = lengths | {"seconds": metrics["seconds"]["optimize"]}
    write_columns(folder / f"eval_metrics_final_{step}.csv", {name: np.array([value]) for name, value in row.items()})


def draw(result: Result, folder: Path, mesh: trimesh.Trimesh) -> None:
    """The surface, its errors, level sets in three planes, and the convergence."""
    ball = drawn.ball_of(mesh)
    draw_sheet(folder / "01_surface.png", drawn.surface_sheet("Surface", mesh, ball))
    if result.reference is not None:
        scale = PERCENT / float(np.ptp(result.reference.bounds, axis=0).max())
        parts = [drawn.fewer(part, MOST_VERTICES) for part in (mesh, result.reference)]
        errors = [
            scale * distance_to(other, np.asarray(part.vertices))
            for part, other in zip(parts, (result.reference, mesh), strict=True)
        ]
        draw_sheet(folder / "02_errors.png", drawn.error_sheet(*parts, (errors[0], errors[1]), ball))
    drawn.draw_slices(folder / "03_level_sets.png", slices(result))
    if result.state.history:
        drawn.draw_terms(folder / "04_convergence.png", result.state.history)


def slices(result: Result) -> list[drawn.Slice]:
    """Distances from the surface in the three planes through the middle of the points' box."""
    inside = result.frame.to_canonical(result.cloud.point)
    ticks = np.linspace(-SLICE_REACH, SLICE_REACH, SLICE_CELLS)
    first, second = np.meshgrid(ticks, ticks)
    found = []
    for axis in range(3):
        plane = np.insert(np.stack([first.ravel(), second.ravel()], axis=1), axis, 0.0, axis=1)
        value = first_order_distance(result.state.field, plane, inside).reshape(first.shape)
        near = np.delete(inside[np.abs(inside[:, axis]) < SLICE_BAND], axis, axis=1)
        found.append(drawn.Slice(axis, 0.0, ticks, value, near))
    return found


def write_page(result: Result, folder: Path, mesh: trimesh.Trimesh, metrics: Mapping[str, Any]) -> None:
    """The page of numbers and pictures, with a view to turn, in the frame of the points."""
    mixture, config = result.state.mixture, result.config
    page = PageScene(
        None if mixture is None else result.frame.mixture_to_world(mixture), mesh=mesh, reference=result.reference
    )
    terms, history = result.state.history, None
    if terms:
        history = History(np.arange(1, len(terms["loss"]) + 1), terms["loss"], terms["learning_rate"])
    note = f"{metrics['method']}, {metrics['points']} points"
    report = Report(
        Path(config.pose.depth_file if config.io.cloud_file == NONE else config.io.cloud_file).name,
        note,
        page,
        highlights(metrics),
        {},
        history,
        read_pictures(folder),
        metrics,
        "loss, longest sides",
        made_by(config),
    )
    write_report(folder / "report.html", report)


def highlights(metrics: Mapping[str, Any]) -> list[Highlight]:
    """The numbers that stand out."""
    errors, shown = metrics["errors"], []
    if "exact" in errors:
        shown.append(
            Highlight(
                "Chamfer distance",
                f"{PERCENT * errors['exact']['chamfer']:.3f} %",
                "exact, of the reference's longest side",
            )
        )
        shown.append(Highlight("Hausdorff distance", f"{PERCENT * errors['exact']['hausdorff']:.2f} %"))
        shown.append(Highlight("normals", f"{errors['exact']['normal_degrees']:.1f}\N{DEGREE SIGN}", "mean angle"))
    shown.append(
        Highlight("points to surface", f"{PERCENT * errors['points_to_surface']:.3f} %", "mean, of the longest side")
    )
    shown.append(Highlight("Euler number", str(metrics["euler"]), pieces(metrics["components"])))
    shown.append(Highlight("seconds", f"{metrics['seconds']['total']:.1f}"))
    return shown


def pieces(count: int) -> str:
    """The number of pieces in words."""
    return f"{count} piece{'s' * (count != 1)}"


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """What a run says at its end."""
    errors = metrics["errors"]
    words = f"{metrics['faces']} triangles, {pieces(metrics['components'])}, Euler number {metrics['euler']}; "
    lines = [f"{words}mean distance of the points {PERCENT * errors['points_to_surface']:.3f} % of the longest side"]
    if "exact" in errors:
        exact, sampled, floor = errors["exact"], errors["sampled"], errors["floor"]
        line = f"against the reference: Chamfer {PERCENT * exact['chamfer']:.3f} %, Hausdorff "
        line += f"{PERCENT * exact['hausdorff']:.2f} %, normals {exact['normal_degrees']:.1f} degrees; "
        line += f"between samples {PERCENT * sampled['chamfer']:.3f} % (floor {PERCENT * floor['chamfer']:.3f} %)"
        lines.append(line)
    lines += evidence_told(metrics)
    return [*lines, f"{metrics['seconds']['total']:.1f} s"]


def symmetry_told(metrics: Mapping[str, Any]) -> list[str]:
    """What the fit made of the symmetry it was asked for."""
    found = metrics.get("symmetry")
    if found is None:
        return []
    if "score" not in found:
        return ["no symmetry: the points have none of those looked for"]
    doubt = "" if found["holds"] else "; that is far, the object may not have it"
    away = f"images lie {PERCENT * found['distance_in_scales']:.2f} % of the scale from the points"
    return [f"symmetry {found['kind']}: {away}, {found['share_far']:.0%} of them far{doubt}"]


def evidence_told(metrics: Mapping[str, Any]) -> list[str]:
    """What the points do not tell of the surface, where it matters."""
    bare, flooded, lines = metrics["share_without_points"], metrics.get("flooded", 0.0), symmetry_told(metrics)
    if metrics["nodes_changed"]:
        reach = f"{PERCENT * metrics['thinnest_handle']:.2g} %"
        lines.append(f"handles and holes that a move of the surface by {reach} would undo: removed (--thinnest-handle)")
    if metrics["pieces_left_out"]:
        lines.append(f"{pieces(metrics['pieces_left_out'])} that no points lie on: left out")
    if bare > LEAST_BARE:
        lines.append(f"{bare:.0%} of the surface has no point within three spacings: there it is made up")
    if flooded > MOST_FLOODED:
        lines.append(f"{flooded:.0%} of the points see the outside on both sides: the surface may be a shell")
    return lines
