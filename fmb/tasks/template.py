"""Task `template`: views of a mesh or a capture -> a mesh bent to their silhouettes, symmetric or not -> files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import Config
from fmb.fields.metaballs import mesh_iou
from fmb.files.mesh_output import write_mesh
from fmb.files.meshes import read_mesh
from fmb.geometry.comparison import compare
from fmb.geometry.ground_truth import cast_silhouettes
from fmb.geometry.mesh_symmetry import Mirrored, geometric_error
from fmb.geometry.symmetry import Plane
from fmb.geometry.views import Views
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures import clouds as drawn
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import Layer, PageScene
from fmb.pictures.sheets import Sheet, overlay_sheet
from fmb.shape.template_color import vertex_colors
from fmb.shape.template_fit import Template, fit_template, in_own_frame
from fmb.shape.template_options import HULL, SPHERE
from fmb.tasks.capture_files import write_capture
from fmb.tasks.made import made_by
from fmb.tasks.scenes import Scene, Seen, open_scene
from fmb.tasks.shell import check_before, task_folder
from fmb.whole import METRICS, whole_folder

PERCENT = 100.0
LOPSIDED = 0.1  # geometric symmetry error, in widths, above which a given template has no plane
MOST_VERTICES = 6_000  # of a given template: its matrices are dense, 0.3 GB each at this size in double precision
TURNS, SIDE = 4, 256  # views of each stage
PLANE_COLOR = (0.0, 0.45, 0.7)


class Course(NamedTuple):
    """The stages of a fit by name: the mesh after each, in the canonical frame."""

    names: list[str]
    meshes: list[trimesh.Trimesh]

    def see(self, name: str, template: Template) -> None:
        """Keeps the mesh after a stage."""
        self.names.append(name)
        self.meshes.append(template.world())


def template(config: Config, clock: Clock) -> None:
    """Views -> a start in their visual hull -> the template bent to them -> files."""
    place = task_folder(config)
    check_before(config, place)
    with whole_folder(place) as folder:
        with clock("load"):
            device = choose_device(config.cpu)
            generators = np.random.default_rng(config.random_seed).spawn(2)
            scene = open_scene(config, generators[0])
            seen, given = scene.look(), given_template(config.template.template_mesh)
        tell(device.hint, *seen.notices)
        course = Course([], [])
        with clock("optimize"):
            bent = fit_template(seen.views["train"], generators[1], config.template, given, course.see)
        metrics = write_all(config, (scene, seen), bent, course, folder, clock)
    tell(*summary(metrics), f"mesh, pictures and numbers in {place}/")


def given_template(file: str) -> Mirrored | None:
    """The mesh of a file about its best plane, in a frame of its own; None for a sphere or a hull.

    Raises ValueError, with the file's name, for a mesh that is too fine, is not closed or has no plane.
    """
    if file in (SPHERE, HULL):
        return None
    mesh = read_mesh(file)
    if len(mesh.vertices) > MOST_VERTICES:
        raise ValueError(f"{file}: {len(mesh.vertices)} vertices; a template may have at most {MOST_VERTICES}")
    if not mesh.is_watertight:
        raise ValueError(f"{file}: not watertight; a template must be a closed mesh")
    errors = [(geometric_error(mesh, plane).largest, number, plane) for number, plane in enumerate(axis_planes(mesh))]
    error, _, plane = min(errors)
    if error > LOPSIDED:
        words = f"its best one is {PERCENT * error:.3g} % of the width off, allowed are {PERCENT * LOPSIDED:g} %"
        raise ValueError(f"{file}: no plane of symmetry: {words}; `symmetry FILE --symmetrise centre` makes one")
    return in_own_frame(mesh, plane)


def axis_planes(mesh: trimesh.Trimesh) -> list[Plane]:
    """Planes through the middle of the surface across its principal axes: a plane of symmetry is one of them."""
    corner = np.asarray(mesh.triangles, float)
    weight = np.asarray(mesh.area_faces) / mesh.area
    middle = weight @ corner.mean(axis=1)
    centred = corner - middle
    around = np.einsum("f,fci,fcj->ij", weight, centred, centred) + 9 * np.einsum(
        "f,fi,fj->ij", weight, centred.mean(axis=1), centred.mean(axis=1)
    )
    return [Plane(axis, np.asarray(axis @ middle)) for axis in np.linalg.eigh(around)[1].T]


def write_all(
    config: Config, given: tuple[Scene, Seen], bent: Template, course: Course, folder: Path, clock: Clock
) -> dict[str, Any]:
    """Writes all files into the folder; what metrics.json tells."""
    scene, seen = given
    mesh = bent.world()
    with clock("evaluate"):
        facts = facts_of(config, scene, seen, bent, mesh)
    with clock("export"):
        if seen.views["train"].color is not None:
            opposite = bent.mesh.opposite if bent.mirror else None
            color = vertex_colors(mesh, seen.views["train"], opposite)
            mesh.visual.vertex_colors = np.rint(255.0 * color).astype(np.uint8)
        if config.export.mesh != NONE:
            write_mesh(folder / f"mesh.{config.export.mesh}", scene.frame.mesh_to_world(mesh))
        machine.write_text(folder / "config.yaml", to_yaml(config))
        write_capture(folder, seen.views, scene.frame, seen.names)
    with clock("figures"):
        train = seen.views["train"]
        draw_sheet(folder / "01_mesh.png", drawn.surface_sheet("The bent template", mesh, drawn.ball_of(mesh)))
        final = cast_silhouettes(mesh, train.cameras, train.silhouette.shape[1:]).astype(float)
        draw_sheet(folder / "02_masks.png", overlay_sheet(np.asarray(train.silhouette, float), final))
        draw_sheet(folder / "03_course.png", course_sheet(course))
    metrics = {**facts, "seconds": clock.seconds()}
    machine.write_metrics(folder / METRICS, metrics)
    if config.export.report:
        write_page((scene, train, config), mesh, bent, metrics, folder)
    return metrics


def facts_of(config: Config, scene: Scene, seen: Seen, bent: Template, mesh: trimesh.Trimesh) -> dict[str, Any]:
    """How well the silhouettes agree, how many numbers that took, where the plane is, errors against a mesh."""
    facts: dict[str, Any] = {"task": "template", "template": config.template.template_mesh, "mirror": bent.mirror}
    facts |= {"views": len(seen.views["train"].silhouette), "parameters": bent.parameters}
    facts |= {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "watertight": bool(mesh.is_watertight)}
    facts |= {f"{name}_iou": mesh_iou(mesh, views) for name, views in seen.views.items()}
    if bent.plane is not None:
        normal, scale = bent.plane.normal, float(scene.frame.scale)
        offset = scale * float(bent.plane.offset) + float(normal @ scene.frame.centre)
        facts["plane"] = {"normal": normal, "offset": offset}
    if scene.mesh is not None:
        facts["errors"] = compare(mesh, scene.mesh, seed=config.random_seed)
    return facts


def course_sheet(course: Course) -> Sheet:
    """The mesh after each stage, from all sides: a row of views a stage."""
    ball = drawn.ball_of(course.meshes[-1])
    rows = [np.concatenate(drawn.looks(mesh, ball, TURNS, SIDE), axis=1) for mesh in course.meshes]
    labels = [f"{name}: {len(mesh.vertices)} vertices" for name, mesh in zip(course.names, course.meshes, strict=True)]
    return Sheet("The template in the course of the fit", "from four sides after each stage", np.stack(rows), labels)


def write_page(
    given: tuple[Scene, Views, Config], mesh: trimesh.Trimesh, bent: Template, metrics: dict[str, Any], folder: Path
) -> None:
    """The page of numbers and pictures, with a view to turn that shows mesh, plane, reference and cameras."""
    scene, train, config = given
    frame, layers = scene.frame, []
    if bent.plane is not None:
        layers.append(Layer("Plane of symmetry", frame.mesh_to_world(plane_mesh(mesh, bent)), True, PLANE_COLOR, 0.25))
    views = train._replace(cameras=frame.cameras_to_world(train.cameras))
    reference = None if scene.mesh is None else frame.mesh_to_world(scene.mesh)
    page = PageScene(None, None, views, frame.mesh_to_world(mesh), reference, layers)
    shown = (
        [Highlight("IoU of the masks", f"{metrics['novel_iou']:.4f}", "unseen views")] if "novel_iou" in metrics else []
    )
    shown.append(Highlight("IoU of the masks", f"{metrics['train_iou']:.4f}", "training views"))
    shown.append(Highlight("free numbers", str(metrics["parameters"]), f"{metrics['vertices']} vertices"))
    if "errors" in metrics:
        chamfer = f"{PERCENT * metrics['errors']['exact']['chamfer']:.3f} %"
        shown.append(Highlight("Chamfer distance", chamfer, "exact, of the longest side"))
    note = f"a {'symmetric ' * bent.mirror}template, {metrics['template']}, bent to {metrics['views']} silhouettes"
    report = Report(scene.name, note, page, shown, {}, None, read_pictures(folder), metrics, made=made_by(config))
    write_report(folder / "report.html", report)


def plane_mesh(mesh: trimesh.Trimesh, bent: Template) -> trimesh.Trimesh:
    """A square in the plane, as large as the mesh."""
    axes, origin = np.asarray(bent.stand.axes, float), np.asarray(bent.stand.origin, float)
    reach = 1.1 * np.abs((np.asarray(mesh.vertices) - origin) @ axes[:, 1:]).max()
    corner = reach * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) @ axes[:, 1:].T + origin
    return trimesh.Trimesh(corner, [[0, 1, 2], [0, 2, 3]], process=False)


def summary(metrics: dict[str, Any]) -> list[str]:
    """What a run says at its end."""
    unseen = f", of unseen views {metrics['novel_iou']:.4f}" if "novel_iou" in metrics else ""
    lines = [
        f"{metrics['vertices']} vertices from {metrics['parameters']} numbers; "
        f"IoU of the masks {metrics['train_iou']:.4f}{unseen}"
    ]
    if "plane" in metrics:
        normal = " ".join(f"{x:.4f}" for x in metrics["plane"]["normal"])
        lines.append(f"plane of symmetry: normal {normal}, offset {metrics['plane']['offset']:.4g}")
    if "errors" in metrics:
        exact = metrics["errors"]["exact"]
        lines.append(
            f"against the mesh: Chamfer {PERCENT * exact['chamfer']:.3f} % of the longest side, Hausdorff "
            f"{PERCENT * exact['hausdorff']:.2f} %, normals {exact['normal_degrees']:.1f} degrees"
        )
    return lines
