"""The fit of a template to views: a start that the visual hull tells, coarse to fine, then with more vertices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jax import Array
from jaxtyping import Float

from fmb.fields.metaballs import mesh_iou
from fmb.fit.loop import EPSILON, MEAN_DECAY, Course, begin
from fmb.fit.schedules import cosine
from fmb.geometry.alignment import axes_matched, target_of
from fmb.geometry.cloud import Cloud
from fmb.geometry.frames import Frame
from fmb.geometry.mesh_symmetry import Mirrored, mirrored_mesh
from fmb.geometry.refinement import refined
from fmb.geometry.symmetry import Plane, frame_of
from fmb.geometry.views import Views
from fmb.hull.frame import framed_hull, hull_points
from fmb.hull.votes import Volume
from fmb.shape.template import SPREAD, Bend, Form, Seen, Stand, Weights, bend_loss, bent, form_of
from fmb.shape.template_color import has_hues, hues, paint_of
from fmb.shape.template_hull import GRID as FINE_GRID
from fmb.shape.template_hull import hull_solid
from fmb.shape.template_options import HULL, TemplateOptions
from fmb.shape.template_outline import outlines

HULL_GRID, HULL_POINTS = 48, 20_000  # voxels on an edge of the visual hull; points of it that tell where to begin
BATCH = 4  # views in a step
CHUNK = 50  # steps of one compiled call
STARTS = 3  # ways to lay the template into the hull that are tried
LAST = 50  # losses whose mean compares starts
SQUARE_DECAY = 0.99
GIVEN = 0.005  # of IoU that a stage with colours may lose


class Stage(NamedTuple):
    """A part of the fit: steps, largest rate, smoothing of a step, width of the Gaussians, weights of the loss's terms.

    `split`: silhouettes are those of triangles in four. Hues are blurred by `blur` pixels.
    """

    steps: int
    rate: float
    smoothing: float
    spread: float
    stiffness: float
    split: bool = False
    silhouette: float = 1.0
    outline: float = 0.0
    color: float = 0.0
    blur: float = 0.0


STAGES = {
    "start": Stage(150, 0.05, 50.0, 1.4 * SPREAD, 0.2),
    "coarse": Stage(300, 0.05, 10.0, SPREAD, 0.1, True, outline=4.0),
    "fine": Stage(200, 0.03, 3.0, SPREAD, 0.05, True, outline=1.0, color=1.0, blur=2.0),
    "refined": Stage(200, 0.01, 6.0, SPREAD, 0.05, True, outline=1.0, color=1.0, blur=1.0),
}


class Aim(NamedTuple):
    """What a template is bent to: the views, and what of them stays the same in all stages."""

    views: Views
    seen: Seen


def aim_of(views: Views) -> Aim:
    """The views with their outlines, in the precision of the fit."""
    valid = np.ones(views.silhouette.shape) if views.valid is None else views.valid
    seen = Seen(views.cameras, views.silhouette, valid, outlines(views.silhouette, valid))
    return Aim(views, jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), seen))


class Template(NamedTuple):
    """A template as it stands: how its mesh is joined, with a plane or without, and where its vertices are."""

    mesh: Mirrored
    mirror: bool
    stand: Stand
    loss: float = np.inf

    @property
    def parameters(self) -> int:
        """The free numbers: those of the half and three of the plane, or three for each vertex."""
        return self.mesh.parameters + 3 if self.mirror else 3 * len(self.mesh.opposite)

    @property
    def plane(self) -> Plane | None:
        """The plane in the world."""
        if not self.mirror:
            return None
        normal, origin = np.asarray(self.stand.axes, float)[:, 0], np.asarray(self.stand.origin, float)
        return Plane(normal, np.asarray(normal @ origin))

    def world(self) -> trimesh.Trimesh:
        """The mesh in the world."""
        half, axes, origin = (np.asarray(part, float) for part in self.stand)
        image = half[~self.mesh.seam] * [-1.0, 1.0, 1.0] if self.mirror else half[:0]
        return trimesh.Trimesh(np.concatenate([half, image]) @ axes.T + origin, self.mesh.faces, process=False)


OnStage = Callable[[str, Template], None]


def unwatched(name: str, template: Template) -> None:
    """Nobody looks on."""


def fit_template(
    views: Views,
    generator: np.random.Generator,
    options: TemplateOptions = TemplateOptions(),
    given: Mirrored | None = None,
    on_stage: OnStage = unwatched,
) -> Template:
    """A template bent to views in the canonical frame; where none is `given`, a sphere or the visual hull.

    A given one is mirrored at x = 0. The best of several starts goes on. A mirrored one takes twice the vertices at the
    end, unless the options say "none": as many numbers as it had without a plane.
    Raises ValueError where the silhouettes have no volume in common, FloatingPointError where the loss breaks.
    """
    aim, tint = aim_of(views), options.template_color * has_hues(views)

    def color(name: str) -> float:
        return tint * STAGES[name].color

    def stage(template: Template, name: str) -> Template:
        part = STAGES[name]._replace(stiffness=options.stiffness * STAGES[name].stiffness, color=color(name))
        return run_stage(template, aim, part, generator)

    laid, from_hull = starts(views, generator, given, options), options.template_mesh == HULL
    if from_hull:  # it is near: steps that take a sphere there would lead away
        best = max(laid, key=lambda template: mesh_iou(template.world(), views))
    else:
        best = min((stage(start, "start") for start in laid), key=lambda template: template.loss)
    on_stage("start", best)
    for name in ("fine",) if from_hull else ("coarse", "fine"):
        best = better(best, stage(best, name), views, color(name))
        on_stage(name, best)
    if options.template_mirror and options.template_refinement != "none":
        best = with_more(best, options.template_refinement)
        best = better(best, stage(best, "refined"), views, color("refined"))
        on_stage("refined", best)
    return best


def better(before: Template, after: Template, views: Views, color: float = 0.0) -> Template:
    """Of two the one whose silhouettes, by ray casting, agree more with the views: a stage never ends worse.

    Where colours count, too, the second may lose GIVEN of IoU to them.
    """
    agreement = [mesh_iou(template.world(), views) for template in (before, after)]
    return after if agreement[1] >= agreement[0] - GIVEN * (color > 0.0) else before


def starts(
    views: Views, generator: np.random.Generator, given: Mirrored | None, options: TemplateOptions
) -> list[Template]:
    """Templates laid into the visual hull: a sphere as the ellipsoid of its moments, another by its principal axes.

    The hull itself, if that is the template, about each of the planes that it is nearest to.
    """
    frame, volume = framed_hull(views, FINE_GRID if options.template_mesh == HULL else HULL_GRID)
    points = frame.to_world(hull_points(volume, HULL_POINTS, generator))
    mirror = options.template_mirror
    if options.template_mesh == HULL:
        return hulls(frame, volume, options)
    if given is None:
        return ellipsoids(points, sphere(options.template_detail), mirror)
    own, middle = np.asarray(given.mesh().vertices), points.mean(axis=0)
    scale = np.sqrt(np.mean((points - middle) ** 2) / np.mean((own - own.mean(axis=0)) ** 2))
    target = target_of(Cloud(points), generator)
    half = given.half if mirror else own
    motions = axes_matched(scale * own, target)[:STARTS]
    return [Template(given, mirror, Stand(scale * half, motion.rotation, motion.shift)) for motion in motions]


def ellipsoids(points: Float[np.ndarray, "point 3"], ball: Mirrored, mirror: bool) -> list[Template]:
    """The ellipsoid that has the moments of a solid's points; with a plane, across each of its axes."""
    middle = points.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((points - middle).T))
    half, made = ball.half if mirror else np.asarray(ball.mesh().vertices), []
    for first in range(3 if mirror else 1):
        order = np.roll(np.arange(3), -first)
        turned = axes[:, order] * [1.0, 1.0, np.linalg.det(axes[:, order])]
        radius = np.sqrt(5.0 * variance[order])  # a solid ellipsoid has the variance radius^2 / 5
        made.append(Template(ball, mirror, Stand(radius * half, turned, middle)))
    return made


def hulls(frame: Frame, volume: Volume, options: TemplateOptions) -> list[Template]:
    """The visual hull, as many triangles as a sphere would have, mirrored at planes; or as it is."""
    mesh, planes = hull_solid(volume, 20 * 4**options.template_detail)
    mesh, made = frame.mesh_to_world(mesh), []
    for normal, offset in planes if options.template_mirror else planes[:1]:
        plane = Plane(normal, float(frame.scale) * offset + normal @ frame.centre)
        own, axes = in_own_frame(mesh, plane), frame_of(normal, "normal of a plane", 0)
        rest = own.half if options.template_mirror else np.asarray(own.mesh().vertices)
        made.append(Template(own, options.template_mirror, Stand(rest, axes, float(plane.offset) * axes[:, 0])))
    return made


def sphere(detail: int) -> Mirrored:
    """The unit sphere of an icosahedron that is divided so often, mirrored at x = 0."""
    return mirrored_mesh(trimesh.creation.icosphere(detail), Plane(np.eye(3)[0], np.zeros(())), right=True)


def in_own_frame(mesh: trimesh.Trimesh, plane: Plane) -> Mirrored:
    """The right half of a mesh, mirrored, in a frame whose plane is x = 0.  Raises ValueError as `mirrored_mesh`."""
    axes = frame_of(plane.normal, "normal of a plane", 0)
    moved = trimesh.Trimesh((mesh.vertices - float(plane.offset) * axes[:, 0]) @ axes, mesh.faces, process=False)
    return mirrored_mesh(moved, Plane(np.eye(3)[0], np.zeros(())), right=True)


def with_more(template: Template, rule: str) -> Template:
    """The mirrored template with twice the vertices, by one of `fmb.geometry.refinement.RULES`."""
    half, axes, origin = (np.asarray(part, float) for part in template.stand)
    finer = refined(template.mesh._replace(half=half), rule)
    return Template(finer, True, Stand(finer.half, axes, origin))


def run_stage(template: Template, aim: Aim, stage: Stage, generator: np.random.Generator) -> Template:
    """The template after a stage. Raises FloatingPointError where the loss is no longer finite."""
    dtype, count = jnp.result_type(float), len(aim.views.silhouette)
    form = form_of(template.mesh, template.mirror, stage.smoothing, stage.split)
    form = Form(*(jnp.asarray(part, jnp.int32 if part.dtype.kind == "i" else dtype) for part in form))
    stand = Stand(*(jnp.asarray(part, dtype) for part in template.stand))
    numbers = stage.spread, stage.stiffness, stage.silhouette, stage.outline, stage.color
    weights = Weights(*(jnp.asarray(number, dtype) for number in numbers))
    hue = hues(aim.views.color, stage.blur) if stage.color > 0.0 else None
    course = begin(Bend(jnp.zeros_like(stand.rest), jnp.zeros(2, dtype), jnp.zeros((), dtype)))
    rates, losses = stage.rate * cosine((jnp.arange(stage.steps, dtype=dtype) + 0.5) / stage.steps), []
    for first in range(0, stage.steps, CHUNK):
        now = template._replace(stand=bent(form, stand, course.parameters)[1])
        seen, paint = painted(now, aim, hue)
        index = np.stack([generator.choice(count, min(BATCH, count), replace=False) for _ in rates[first:][:CHUNK]])
        still = form, stand, weights, paint
        course, loss = run_steps(still, seen, course, jnp.asarray(index), rates[first:][:CHUNK])
        losses.append(np.asarray(loss))
        if not np.isfinite(losses[-1]).all():
            raise FloatingPointError(f"the loss of the template is not finite before step {first + CHUNK}")
    stand = bent(form, stand, course.parameters)[1]
    return template._replace(stand=stand, loss=float(np.concatenate(losses)[-LAST:].mean()))


def painted(template: Template, aim: Aim, hue: Float[np.ndarray, "view height width 3"] | None) -> tuple:
    """What is seen, with the hues of images and of vertices as the template stands, if there are any."""
    if hue is None:
        return aim.seen, None
    opposite = template.mesh.opposite if template.mirror else None
    paint = paint_of(template.world(), aim.views, hue, opposite)
    own, image, share = (jnp.asarray(x, jnp.result_type(float)) for x in (paint.hue, hue, paint.share))
    return aim.seen._replace(hue=image, share=share), own


@jax.jit
def run_steps(still: tuple, seen: Seen, course: Course, index: Array, rates: Array) -> tuple[Course, Array]:
    """A step with each row of views, compiled once for all templates of one size; the losses before each.

    `still` are form, stand, weights and the vertices' hues, if there are any.
    """
    form, stand, weights, paint = still

    def step(course: Course, now: tuple[Array, Array]) -> tuple[Course, Array]:
        rows = jax.tree.map(lambda x: x[now[0]], seen)
        value, gradient = jax.value_and_grad(bend_loss, 2)(form, stand, course.parameters, rows, weights, paint)
        return uniform_adam(course, gradient, now[1]), value

    return jax.lax.scan(step, course, (index, rates))


def uniform_adam(course: Course, gradient: Bend, rate: Array) -> Course:
    """A step of Adam in which the largest mean square of a part is that of all its numbers (Nicolet et al. 2021).

    Vertices that no silhouette tells of then stay, where Adam would move them as far as any, by noise.
    """
    step = course.step + 1
    mean = jax.tree.map(lambda m, g: MEAN_DECAY * m + (1 - MEAN_DECAY) * g, course.mean, gradient)
    square = jax.tree.map(lambda v, g: SQUARE_DECAY * v + (1 - SQUARE_DECAY) * g * g, course.square, gradient)
    count = step.astype(rate.dtype)
    mean_weight, square_weight = 1 - MEAN_DECAY**count, 1 - SQUARE_DECAY**count

    def moved(x: Array, mean: Array, square: Array) -> Array:
        return x - rate * (mean / mean_weight) / (jnp.sqrt(jnp.max(square) / square_weight) + EPSILON)

    parameters = jax.tree.map(moved, course.parameters, mean, square)
    return Course(parameters, mean, square, parameters, step)
