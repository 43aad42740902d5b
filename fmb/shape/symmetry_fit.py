"""Fits with a symmetry: which place to start from, and whether there is a symmetry at all."""

from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture, Settings
from fmb.fields.body_symmetry import SYMMETRIC, body_of, mixture_symmetries, refined_on_body
from fmb.fields.correlation import (
    Bodies,
    Likeness,
    bodies_of,
    differ,
    largest,
    likely_symmetries,
    principal_places,
    score_of,
    tried_places,
)
from fmb.fields.looks import look
from fmb.fields.mixtures import in_single
from fmb.fields.surface_symmetry import (
    Skin,
    SurfaceLikeness,
    largest_of_surface,
    refined,
    skin_of,
    surface_symmetries,
)
from fmb.fields.symmetric import SymmetricMixture, fold
from fmb.geometry.frames import Frame
from fmb.geometry.metrics import cross_entropy
from fmb.geometry.symmetry import GROUPS, NO_SYMMETRY, Placement, Symmetry, place_record
from fmb.geometry.views import Views, select_views
from fmb.shape.options import AUTO, OptimizationOptions
from fmb.shape.recipe import Hooks, OnShape, ShapeFit, ShapeProgram, compile_shape_fit, fit_to_views

FREE_EFFORT, TRIAL_EFFORT = 0.25, 0.125  # parts of a fit that are spent on a look without symmetry, and on each start
FOUND = 2  # places of most correlation that are tried beside the principal axes
PARAMETERS = 10  # of a component: mean, triangle and weight
SEEN, LOOKED_AT = 3, 6  # places that silhouettes favour, and how many silhouettes are asked
WORSE = 0.01  # of IoU with the silhouettes that a symmetry found by itself may cost


class SymmetryFound(NamedTuple):
    """What a fit says of its symmetry: its kind, that of most correlation, and in words."""

    kind: str
    best: Likeness | None
    words: str


class Aim(NamedTuple):
    """What a mixture is fitted to, and how."""

    views: Views
    options: OptimizationOptions
    generator: np.random.Generator
    point: Float[np.ndarray, "point 3"] | None = None


def fit_with_symmetry(
    kind: str, program: ShapeProgram, start: Mixture, aim: Aim, on_progress: OnShape | Hooks = lambda *now: None
) -> tuple[ShapeFit, SymmetryFound | None]:
    """The fit with a symmetry of that kind, and what is said of it; `program` is that of a fit without.

    "none" is the plain fit. "auto" makes that first, looks for a symmetry in it, and keeps the fit with the symmetry
    only where it is as good. Any other is fitted as told: from short fits at several places the best goes on.
    Raises ValueError as `fit_to_views` does, and for a recipe that has no symmetry.
    """
    if kind == NO_SYMMETRY:
        return fit_to_views(program, start, aim.views, aim.generator, on_progress, aim.point), None
    if kind == AUTO:
        fit, found = _fit_found(program, start, aim, on_progress)
    else:
        fit, found = _fit_told(kind, program, start, aim, on_progress)
    if fit.symmetric is not None:
        fit = fit._replace(mixture=in_single(fit.symmetric.whole()))
    return fit, found


def _fit_found(program: ShapeProgram, start: Mixture, aim: Aim, on_progress: OnShape) -> tuple:
    free = fit_to_views(program, start, aim.views, aim.generator, on_progress, aim.point)
    found = mixture_symmetries(free.mixture)
    chosen, best = largest(found, SYMMETRIC), max(found, key=lambda one: one.score, default=None)
    if chosen is None:
        return free, SymmetryFound(NO_SYMMETRY, best, f"no symmetry: {told(best)}, below {SYMMETRIC}")
    kind, count = chosen.symmetry.kind, len(start.mean)
    fit = _fit_from(fold(free.mixture, chosen.symmetry, fundamental_count(kind, count)), aim, on_progress)
    lost = float(np.mean(free.view_iou) - np.mean(fit.view_iou))
    if lost > WORSE:
        words = f"no symmetry: {told(chosen)}, but with it the IoU is {lost:.3f} lower"
        return free, SymmetryFound(NO_SYMMETRY, chosen, words)
    return fit, SymmetryFound(kind, chosen, f"symmetry: {told(chosen)}")


def _fit_told(kind: str, program: ShapeProgram, start: Mixture, aim: Aim, on_progress: OnShape) -> tuple:
    free = fit_to_views(program._replace(effort=FREE_EFFORT), start, aim.views, aim.generator, point=aim.point)
    bodies, count = bodies_of(free.mixture), fundamental_count(kind, len(start.mean))
    likely = likely_symmetries(bodies, kind, FOUND)
    seen = seen_places(free.mixture, kind, aim.views, program.supervision.settings)[:SEEN]
    places = distinct([*(one.symmetry for one in likely), *seen, *principal_places(bodies, kind)])
    body = body_of(free.mixture)
    best = max((refined_on_body(body, place) for place in places), key=lambda one: one.score)
    starts = [fold(free.mixture, place, count) for place in places]
    most = max(len(one.fundamental.mean) for one in starts)  # components that lie in one place are merged further
    starts = [one for one in starts if len(one.fundamental.mean) == most]
    whole = compile_shape_fit(starts[0], aim.views.silhouette.shape, aim.options, program.supervision.settings)
    short = whole._replace(effort=TRIAL_EFFORT)
    tried = [fit_to_views(short, one, aim.views, aim.generator, point=aim.point) for one in starts]
    chosen = min(tried, key=lambda fit: fit.loss).symmetric
    fit = fit_to_views(whole, chosen, aim.views, aim.generator, on_progress, aim.point)
    words = f"symmetry {kind} as told, the best of {len(tried)} places; "
    return fit, SymmetryFound(kind, best, words + evidence(best, free, fit))


def evidence(best: Likeness, free: ShapeFit, fit: ShapeFit) -> str:
    """What the score of a short fit without a symmetry, and the silhouettes, say of one that was told."""
    words = f"{told(best)} in a short fit without it"
    if best.score >= SYMMETRIC:
        return words
    overlap, without = float(np.mean(fit.view_iou)), float(np.mean(free.view_iou))
    told_of = f"{words}, below {SYMMETRIC}"
    if overlap < without - WORSE:
        return f"{told_of}, and the IoU is {overlap:.3f}, without it {without:.3f}: the object does not seem to have it"
    return f"{told_of}, but the silhouettes allow it: IoU {overlap:.3f}"


def convert_with_symmetry(
    kind: str, mesh: trimesh.Trimesh, start: Mixture, aim: Aim, on_progress: OnShape = lambda *now: None
) -> tuple[ShapeFit, SymmetryFound]:
    """As `fit_with_symmetry`, for views of a mesh in its canonical frame: the symmetry is looked for on its surface.

    "auto" takes the largest that holds there; any other kind starts at its best place, and is taken as told.
    """
    skin, bodies = skin_of(mesh), bodies_of(start)
    near = surface_symmetries(skin, bodies, tuple(GROUPS) if kind == AUTO else (kind,))
    if kind != AUTO and not near:
        near = [nearest_place(skin, bodies, kind)]
    best = min(near, key=lambda one: one.distance, default=None)
    chosen = largest_of_surface(near) if kind == AUTO else best
    if chosen is None:
        program = compile_shape_fit(start, aim.views.silhouette.shape, aim.options)
        free = fit_to_views(program, start, aim.views, aim.generator, on_progress, aim.point)
        return free, SymmetryFound(NO_SYMMETRY, _likeness(best), f"no symmetry: {surface_told(best)}")
    count = fundamental_count(chosen.symmetry.kind, len(start.mean))
    fit = _fit_from(fold(start, chosen.symmetry, count), aim, on_progress)
    words = f"symmetry: {surface_told(chosen)}" + (
        "" if chosen.holds else ": the mesh does not have it; fitted as told"
    )
    fit = fit._replace(mixture=in_single(fit.symmetric.whole()))
    return fit, SymmetryFound(chosen.symmetry.kind, _likeness(chosen), words)


SURFACE_KINDS = ("plane", "cyclic_2")  # what is looked at where nothing comes near to a symmetry


def nearest_place(skin: Skin, bodies: Bodies, kind: str) -> SurfaceLikeness:
    """Where a surface is nearest to a symmetry that it does not have: from likely places, or the principal axes."""
    places = likely_symmetries(bodies, kind)
    if not places:
        places = [Likeness(place, score_of(bodies, place)) for place in principal_places(bodies, kind)]
    return min((refined(skin, place) for place in places), key=lambda one: one.distance)


def _likeness(found: SurfaceLikeness | None) -> Likeness | None:
    return None if found is None else Likeness(found.symmetry, found.score)


def _fit_from(start: SymmetricMixture, aim: Aim, on_progress: OnShape) -> ShapeFit:
    program = compile_shape_fit(start, aim.views.silhouette.shape, aim.options)
    return fit_to_views(program, start, aim.views, aim.generator, on_progress, aim.point)


def fundamental_count(kind: str, count: int) -> int:
    """How many components are fitted where there are `count` in all."""
    return -(-count // len(GROUPS[kind]().maps))


def seen_places(mixture: Mixture, kind: str, views: Views, settings: Settings) -> list[Symmetry]:
    """Places through the middle, best first by how well a few of the views agree with the mixture folded there.

    Few views leave a shape open along their rays, so that the mixture itself is like none of its images. But a copy
    that sticks out of a silhouette is seen.
    """
    few = select_views(views, np.unique(np.linspace(0, len(views.silhouette) - 1, LOOKED_AT).astype(int)))
    places = tried_places(bodies_of(mixture), kind)
    count, size = fundamental_count(kind, len(mixture.mean)), few.silhouette.shape[1:]
    error = []
    for place in places:
        copies = fold(mixture, place, count).copies()
        error.append(cross_entropy(look(copies, few.cameras, size, settings).alpha, few.silhouette, few.valid))
    return distinct([places[number] for number in np.argsort(error)])


def distinct(places: list[Symmetry]) -> list[Symmetry]:
    """The places without those that are near to one before them."""
    kept: list[Symmetry] = []
    for place in places:
        if all(differ(place, other) for other in kept):
            kept.append(place)
    return kept


def surface_told(found: SurfaceLikeness | None) -> str:
    """A symmetry of a surface and how far images lie from it, in words."""
    if found is None:
        return "nothing comes near to one"
    distance = f"images {100 * found.distance:.2f} % of the scale from the surface, {100 * found.far:.0f} % of them far"
    return f"{found.symmetry.kind}, correlation {found.score:.4f}, {distance}"


def told(likeness: Likeness | None) -> str:
    """A symmetry and its score in words."""
    if likeness is None:
        return "nothing comes near to one"
    return f"{likeness.symmetry.kind} scores {likeness.score:.4f}"


def symmetry_record(found: SymmetryFound, fit: ShapeFit, frame: Frame) -> dict[str, Any]:
    """What a result tells of its symmetry, in the input's frame and unit."""
    record: dict[str, Any] = {"kind": found.kind, "score": None if found.best is None else found.best.score}
    record |= {"parameters": PARAMETERS * len(fit.mixture.mean)}
    if fit.symmetric is not None:
        symmetry = in_world(fit.symmetric.symmetry, frame)
        free = sum((*symmetry.group.turns, *symmetry.group.shifts))
        record |= {"components_fitted": len(fit.symmetric.fundamental.mean), **place_record(symmetry)}
        record["parameters"] = PARAMETERS * len(fit.symmetric.fundamental.mean) + free
    return record


def in_world(symmetry: Symmetry, frame: Frame) -> Symmetry:
    """The symmetry in the input's frame, in double precision."""
    rotation, origin = (np.asarray(field, float) for field in symmetry.placement)
    placed = Symmetry(symmetry.kind, Placement(rotation, origin))
    return placed.moved(np.eye(3), np.asarray(frame.centre, float), float(frame.scale))
