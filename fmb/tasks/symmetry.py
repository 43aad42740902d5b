"""Task `symmetry`: which planes and axes a mesh or a model has, how sure that is, and what it looks like."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import PROGRAM, Config
from fmb.fields.body_symmetry import SYMMETRIC, Body, body_of, refined_on_body
from fmb.fields.correlation import (
    Bodies,
    Likeness,
    bodies_of,
    climb,
    correlation,
    differ,
    largest,
    tried_places,
)
from fmb.fields.metaballs import mesh_mixture
from fmb.fields.surface_symmetry import (
    Skin,
    SurfaceLikeness,
    largest_of_surface,
    measured,
    refine,
    skin_of,
    surface_symmetries,
)
from fmb.files.media import write_gif
from fmb.files.meshes import read_mesh
from fmb.files.models import level_of, read_mixture
from fmb.geometry.distances import distance_to
from fmb.geometry.frames import Frame, canonical_frame
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY, Symmetry, place_record
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.pictures import symmetry as drawn
from fmb.pictures.clouds import fewer
from fmb.pictures.draw import draw_sheet
from fmb.pictures.page_pictures import read_pictures
from fmb.pictures.report import Highlight, Report, write_report
from fmb.pictures.report_scene import PageScene
from fmb.shape.options import AUTO
from fmb.shape.start import start_mixture
from fmb.shape.symmetry_fit import SURFACE_KINDS, in_world, nearest_place, surface_told
from fmb.tasks.made import made_by
from fmb.tasks.shell import check_before, task_folder
from fmb.tasks.symmetrise import plane_of, symmetrise
from fmb.whole import METRICS, whole_folder

FRAME_SECONDS = 0.35
TRIED_SHOWN = 10  # places, of all that are tried, in the film


class Subject(NamedTuple):
    """What is looked at, in its canonical frame, and where that lies in the input's."""

    name: str
    frame: Frame
    mesh: trimesh.Trimesh
    bodies: Bodies
    body: Body | None  # of a mixture, which decides; of a mesh its surface does

    @property
    def measured(self) -> bool:
        """Whether the surface decides."""
        return self.body is None


class Answer(NamedTuple):
    """All that were looked at closely, that which counts (None: no symmetry), and that which comes nearest."""

    found: list[SurfaceLikeness]
    chosen: SurfaceLikeness | None
    nearest: SurfaceLikeness | None


def symmetry(config: Config, clock: Clock) -> None:
    """Mesh or model -> planes and axes, whether they hold, pictures and numbers."""
    place = task_folder(config)
    check_before(config, place)
    with whole_folder(place) as folder:
        with clock("load"):
            device = choose_device(config.cpu)
            subject = read(config)
        tell(device.hint)
        with clock("search"):
            skin = skin_of(subject.mesh)
            answer = answered(subject, skin, config.model.symmetry)
        with clock("figures"):
            draw(subject, skin, answer, folder)
            made = made_symmetric(subject, answer, config, folder)
        metrics = {**facts_of(subject, answer, config), **made, "seconds": clock.seconds()}
        machine.write_metrics(folder / METRICS, metrics)
        machine.write_text(folder / "config.yaml", to_yaml(config))
        if config.export.report:
            write_page(subject, answer, metrics, config, folder)
    tell(verdict(answer, subject), f"pictures and numbers in {place}/")


def read(config: Config) -> Subject:
    """The mesh and the mixture of its volume, or the model and its surface."""
    if config.io.model_file != NONE:
        model = read_mixture(config.io.model_file)
        mesh = mesh_mixture(model.mixture, level=level_of(model.facts)).mesh
        return Subject(
            Path(config.io.model_file).name, model.frame, mesh, bodies_of(model.mixture), body_of(model.mixture)
        )
    if config.io.mesh_file == NONE:
        raise ValueError(f"symmetry needs a mesh or a model: {PROGRAM} symmetry their.obj")
    mesh = read_mesh(config.io.mesh_file)
    frame = canonical_frame(mesh)
    mesh = frame.mesh_to_canonical(mesh)
    start = start_mixture(mesh, config.model, config.random_seed)
    tell(start.notice)
    return Subject(Path(config.io.mesh_file).name, frame, mesh, bodies_of(start.mixture), None)


def answered(subject: Subject, skin: Skin, kind: str) -> Answer:
    """What there is to say of the symmetry named, or of all where none is."""
    asked = tuple(GROUPS) if kind in (NO_SYMMETRY, AUTO) else (kind,)
    found = surface_symmetries(skin, subject.bodies, asked)
    if not found:
        found = [nearest_place(skin, subject.bodies, one) for one in (asked if len(asked) == 1 else SURFACE_KINDS)]
    if subject.measured:
        chosen = largest_of_surface(found)
        return Answer(found, chosen, chosen or min(found, key=lambda one: one.distance))
    found = [on_body(skin, subject.body, one) for one in found]
    best = largest([Likeness(one.symmetry, one.score) for one in found], SYMMETRIC)
    chosen = None if best is None else next(one for one in found if one.symmetry is best.symmetry)
    return Answer(found, chosen, chosen or max(found, key=lambda one: one.score))


def on_body(skin: Skin, body: Body, near: SurfaceLikeness) -> SurfaceLikeness:
    """The symmetry where the body of a mixture is most like its images, with that score; and measured there, too."""
    place, score = refined_on_body(body, near.symmetry)
    return measured(skin, place, score)


def made_symmetric(subject: Subject, answer: Answer, config: Config, folder: Path) -> dict[str, Any]:
    """Writes the mesh made symmetric, where that is asked for; by the first plane that holds, unless one is given."""
    if config.reflection.symmetrise == NONE:
        return {}
    holding = []
    if answer.chosen is not None:
        holding = [answer.chosen.symmetry, *(one.symmetry for one in answer.found if one.holds)]
    planes = [plane for symmetry in holding for plane in in_world(symmetry, subject.frame).planes]
    nearest = f"nearest: {surface_told(answer.nearest)}"
    plane = plane_of(config.reflection, planes[0] if planes else None, subject.name, nearest)
    return symmetrise(config.reflection, subject.frame.mesh_to_world(subject.mesh), plane, folder)


def verdict(answer: Answer, subject: Subject) -> str:
    """The answer in a line."""
    told = surface_told(answer.nearest)
    if answer.chosen is None:
        bound = "" if subject.measured else f"; below {SYMMETRIC}"
        return f"no symmetry; nearest: {told}{bound}"
    return f"symmetry: {told}"


def facts_of(subject: Subject, answer: Answer, config: Config) -> dict[str, Any]:
    """What metrics.json tells, in the input's frame and unit."""
    unit = float(subject.frame.scale)

    def record(one: SurfaceLikeness) -> dict[str, Any]:
        numbers = {"score": one.score, "distance": unit * one.distance, "share_far": one.far}
        return {"kind": one.symmetry.kind, **numbers, **place_record(in_world(one.symmetry, subject.frame))}

    kind = NO_SYMMETRY if answer.chosen is None else answer.chosen.symmetry.kind
    facts = {"task": "symmetry", "subject": subject.name, "asked": config.model.symmetry, "symmetry": kind}
    decided = "distance of the surface from its images" if subject.measured else "likeness of the body to its images"
    facts |= {"decided_by": decided, "scale": unit}
    return facts | {"nearest": record(answer.nearest), "looked_at": [record(one) for one in answer.found]}


def draw(subject: Subject, skin: Skin, answer: Answer, folder: Path) -> None:
    """Planes and axis in the scene, the image over the object, where the two differ, and the search as a film."""
    near, mesh = answer.nearest, fewer(subject.mesh, drawn.MOST_VERTICES)
    held = "" if answer.chosen is not None else "does not hold; the nearest is "
    draw_sheet(folder / "01_symmetry.png", drawn.symmetry_sheet(mesh, near.symmetry, held + surface_told(near)))
    draw_sheet(folder / "02_image.png", drawn.image_sheet(mesh, near.symmetry))
    image = drawn.image_of(mesh, near.symmetry)
    errors = distance_to(image, np.asarray(mesh.vertices)), distance_to(mesh, np.asarray(image.vertices))
    longest = float(np.ptp(mesh.bounds, axis=0).max())
    draw_sheet(folder / "03_difference.png", drawn.difference_sheet(mesh, near.symmetry, errors, longest))
    write_gif(folder / "film.gif", drawn.search_film(mesh, search_steps(subject, skin, near.symmetry)), FRAME_SECONDS)


def search_steps(subject: Subject, skin: Skin, end: Symmetry) -> list[tuple[Symmetry, str]]:
    """How the place is found: some of those tried, worst first, the way uphill from afar, and the surface's own."""
    bodies = subject.bodies
    tried = tried_places(bodies, end.kind)
    score = np.array([correlation(bodies, place.orbit)[1:].mean() for place in tried])
    order = np.argsort(score)[np.linspace(0, len(tried) - 1, TRIED_SHOWN).astype(int)]
    steps = [(tried[number], f"tried: correlation {score[number]:.3f}") for number in order]

    def follow(now: Symmetry) -> None:
        steps.append((now, f"uphill: correlation {correlation(bodies, now.orbit)[1:].mean():.4f}"))

    away = [number for number in np.argsort(score) if differ(tried[number], end)] or [int(np.argmax(score))]
    climbed = climb(bodies, tried[away[-1]], follow).symmetry
    if subject.measured:
        steps.append((refine(skin, climbed), "moved onto the surface's points"))
    return [*steps, (end, f"{end.kind}: found")]


def write_page(subject: Subject, answer: Answer, metrics: dict[str, Any], config: Config, folder: Path) -> None:
    """The page of numbers and pictures, with a view to turn, in the input's frame."""
    near, mesh = answer.nearest, subject.frame.mesh_to_world(subject.mesh)
    shown = [
        Highlight("symmetry", metrics["symmetry"].replace("_", " "), f"decided by {metrics['decided_by']}"),
        Highlight("correlation", f"{near.score:.4f}", f"with its images under {near.symmetry.kind}"),
        Highlight("distance", f"{100 * near.distance:.2f} %", "of images from the surface, mean, of the scale"),
    ]
    report = Report(
        subject.name,
        verdict(answer, subject),
        PageScene(None, mesh=mesh),
        shown,
        {},
        None,
        read_pictures(folder),
        metrics,
        made=made_by(config),
    )
    write_report(folder / "report.html", report)
