"""Tells before any fit whether cameras and masks agree, by the visual hull; if not, what would make them agree.

Each view looks at the hull of all views. It sees its own mask where cameras and masks are right, and next to nothing
where all are wrong in the same way. The hull of the other views judges a single one: a part of its mask that they do
not explain means that its camera or mask is wrong. A part of their hull beside its mask may be missing from the mask,
or no other view looks from there.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fmb.geometry.views import Views, foreground, select_views
from fmb.hull.votes import (
    DISSENT,
    LEAST,
    Box,
    Volume,
    Votes,
    cast_votes,
    counted,
    hull,
    hull_box,
    look_at_volume,
    object_pixels,
    sighted_frame,
)

FINE_GRID, FINE_SIDE = 64, 64  # voxels on an edge of the hull's box; pixels on the longer side of its images
TRIAL_GRID, TRIAL_SIDE, TRIAL_VIEWS = 32, 32, 24  # the same, and the most views, when a convention is tried
TRIAL_MASK = 128  # pixels on the longer side of the masks that vote then
ENOUGH = 0.88  # agreement from which no convention is tried; real photographs reach 0.91 to 0.95
ROUGH = 0.7  # agreement from which cameras may be right with wrong masks; a mirrored building has 0.77
MENDED, GAIN = 0.6, 0.1  # agreement, and gain over the given one, that a convention must reach to be named
FORGIVING = 0.35  # share of views that may be against a voxel of the hull that tells which views are wrong
FRAMED = 0.9  # if more of the border is object, object and background must be exchanged
AS_GIVEN = "as given"
NAMED = 5  # most faults that the verdict names
OUTLYING, LEAST_OUTLYING = 4.5, 0.12  # a faulty view is below the median by so many median deviations, at least 0.12


class Fault(NamedTuple):
    """A view that disagrees with the others, and how."""

    view: int
    kind: str  # a key of FAULTS
    text: str


class Trial(NamedTuple):
    """A convention, the agreement of some views under it, and what is wrong with the data if it is the right one."""

    name: str
    agreement: float
    advice: str


class CameraReport(NamedTuple):
    """What the silhouettes say about their cameras; shares are 0 to 1, NaN for 0 / 0."""

    agreement: float  # median over views: IoU of mask and hull of all
    iou: Float[np.ndarray, " view"]  # of mask and hull of the others
    explained: Float[np.ndarray, " view"]  # share of the mask whose rays meet the hull of the others
    filled: Float[np.ndarray, " view"]  # share of the hull of the others, as seen, that the mask covers
    silhouette: Float[np.ndarray, "view height width"]  # thinned, 0 or 1; 0 where a pixel is not valid
    others: Float[np.ndarray, "view height width"]  # the hull of the others in the same pixels
    hull: Volume | None  # of all views, in world axes; None where lines of sight do not meet
    trials: tuple[Trial, ...]  # conventions that were tried, best first; empty where the cameras agree
    faults: tuple[Fault, ...]
    verdict: str  # one line

    @property
    def fine(self) -> bool:
        """Whether a fit can begin: no convention is better and no view is certainly wrong."""
        grave = [fault for fault in self.faults if fault.kind != "missing"]
        return self.agreement >= ROUGH and not better(self.trials) and not grave


class Agreement(NamedTuple):
    """Views in the unit of their hull, their votes, and the IoU of each mask with the hull of all."""

    views: Views
    votes: Votes
    world: Box
    iou: Float[np.ndarray, " view"]


FAULTS = {
    "camera": "its camera or its image is not that of the others",
    "extra": "its mask shows what the others do not",
    "missing": "its mask lacks a part, or no other view looks from there",
    "empty": "it shows no object where the others do",
}


def check_cameras(views: Views) -> CameraReport:
    """A report on whether cameras and masks agree, view by view, and else under which convention they would.

    Raises ValueError for fewer than 2 views that show the object.
    """
    if np.count_nonzero(np.any(object_pixels(views), axis=(1, 2))) < 2:
        sighted_frame(views)  # which says so
    small = thinned(views, FINE_SIDE)
    found = measured(views, FINE_GRID, FINE_SIDE)
    if found is None:
        nothing = np.zeros(len(views.silhouette))
        others, numbers, agreement, whole = np.zeros(small.silhouette.shape), (nothing,) * 3, 0.0, None
        trials = tried(views)
    else:
        trials = () if typical(found.iou) >= ENOUGH and surrounded(small) < FRAMED else tried(views)
        if trials and not better(trials):
            found = believing(views, found)
        others = others_hull(found)
        numbers = overlap(small, others)
        agreement = typical(found.iou[found.votes.trusted])
        whole = hull(found.votes)._replace(box=found.world)
    faults = () if agreement < ROUGH or better(trials) else outlying(*numbers)
    others = others if small.valid is None else np.where(small.valid, others, 0.0)
    mask = object_pixels(small).astype(float)
    report = CameraReport(agreement, *numbers, mask, others, whole, trials, faults, "")
    return report._replace(verdict=judged(report))


def measured(views: Views, grid: int, side: int, trusted: Bool[np.ndarray, " view"] | None = None) -> Agreement | None:
    """How the views agree with the hull of the trusted ones; None where lines of sight do not meet."""
    trusted = np.ones(len(views.silhouette), bool) if trusted is None else trusted
    try:
        frame = sighted_frame(select_views(views, np.flatnonzero(trusted)))
    except ValueError:
        return None
    views = views._replace(cameras=frame.cameras_to_canonical(views.cameras))
    votes = cast_votes(views, hull_box(select_views(views, np.flatnonzero(trusted))), grid)
    votes = counted(votes.sees, votes.against, trusted & votes.trusted, votes.box)
    world = Box(frame.to_world(votes.box.lower), float(frame.scale * votes.box.edge))
    small = thinned(views, side)
    seen = look_at_volume(hull(votes), small.cameras, small.silhouette.shape[1:]).alpha
    return Agreement(views, votes, world, overlap(small, seen)[0])


def believing(views: Views, found: Agreement) -> Agreement:
    """The agreement without the votes of views that stand out from a more forgiving hull.

    If more views are wrong than DISSENT allows, they carve away what the others see, and then all look wrong.
    """
    numbers = overlap(thinned(found.views, FINE_SIDE), others_hull(found, FORGIVING))
    wrong = [fault.view for fault in outlying(*numbers) if fault.kind != "missing"]
    trusted = ~np.isin(np.arange(len(found.iou)), wrong)
    if not wrong or trusted.sum() < max(LEAST, 0.5 * len(trusted)):
        return found
    again = measured(views, FINE_GRID, FINE_SIDE, trusted)
    better_so = again is not None and typical(again.iou[trusted]) > typical(found.iou) + GAIN / 2
    return again if better_so else found


def others_hull(found: Agreement, dissent: float = DISSENT) -> Float[np.ndarray, "view height width"]:
    """What each view sees of the hull of the others, in images of FINE_SIDE."""
    small = thinned(found.views, FINE_SIDE)
    image_size, count = small.silhouette.shape[1:], len(small.silhouette)
    one = [select_views(small, slice(view, view + 1)).cameras for view in range(count)]
    seen = [look_at_volume(hull(found.votes, view, dissent), one[view], image_size).alpha for view in range(count)]
    return np.concatenate(seen)


def overlap(
    views: Views, drawn: Float[np.ndarray, "view height width"]
) -> tuple[Float[np.ndarray, " view"], Float[np.ndarray, " view"], Float[np.ndarray, " view"]]:
    """IoU, share of the mask that is drawn, and share of the drawn that is mask, over valid pixels; NaN for 0 / 0."""
    mask, drawn = object_pixels(views), foreground(drawn)
    if views.valid is not None:
        drawn = drawn & np.asarray(views.valid)
    both, either, masked, seen = (np.sum(x, axis=(1, 2)) for x in (mask & drawn, mask | drawn, mask, drawn))

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    return share(both, either), share(both, masked), share(both, seen)


def typical(values: Float[np.ndarray, " view"]) -> float:
    """Median of the finite values; 0 if there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def thinned(views: Views, side: int) -> Views:
    """Every n-th pixel of every n-th row, at most `side` on the longer side, with the exact cameras of these images."""
    height, width = views.silhouette.shape[1:]
    step = -(-max(height, width) // side)
    first = min(step // 2, min(height, width) - 1)
    change = np.array(
        [[1 / step, 0, 0.5 - (first + 0.5) / step], [0, 1 / step, 0.5 - (first + 0.5) / step], [0, 0, 1.0]]
    )
    cameras = views.cameras._replace(intrinsics=change @ np.asarray(views.cameras.intrinsics, float))
    silhouette, valid = (
        None if image is None else np.asarray(image)[:, first::step, first::step]
        for image in (views.silhouette, views.valid)
    )
    return Views(cameras, silhouette, None, valid)


def surrounded(views: Views) -> float:
    """Median over views of the share of border pixels that are object; an object rarely touches many."""
    mask = object_pixels(views)
    border = np.concatenate([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], axis=1)
    return float(np.median(border.mean(axis=1)))


def tried(views: Views) -> tuple[Trial, ...]:
    """Agreement of at most TRIAL_VIEWS views under each convention, and as given, best first."""
    count = len(views.silhouette)
    chosen = np.unique(np.linspace(0, count - 1, min(count, TRIAL_VIEWS)).round().astype(int))
    conventions, border = {AS_GIVEN: None, **CONVENTIONS, **intrinsics_of_size(views)}, surrounded(views)
    if border < 0.5:  # most of the border is background, as it should be
        conventions.pop(EXCHANGED)
    small, trials = thinned(views, TRIAL_MASK), []
    for name, convention in conventions.items():
        changed = small if convention is None else convention.change(small)
        found = measured(select_views(changed, chosen), TRIAL_GRID, TRIAL_SIDE)
        agreement = 0.0 if found is None or (border > FRAMED and name != EXCHANGED) else typical(found.iou)
        trials.append(Trial(name, agreement, "" if convention is None else convention.advice))
    return tuple(sorted(trials, key=lambda trial: -trial.agreement))


def better(trials: tuple[Trial, ...]) -> bool:
    """Whether the best convention is so much better than the given one that it must be the right one."""
    given = [trial.agreement for trial in trials if trial.name == AS_GIVEN]
    return bool(trials) and trials[0].agreement >= max(MENDED, given[0] + GAIN)


def outlying(
    iou: Float[np.ndarray, " view"], explained: Float[np.ndarray, " view"], filled: Float[np.ndarray, " view"]
) -> tuple[Fault, ...]:
    """The views whose shares are far below those of the others, worst first."""
    strange, unexplained, unfilled = (far_below(values) for values in (iou, explained, filled))
    faults = []
    for view in np.argsort(np.nan_to_num(iou)):
        if np.isnan(explained[view]) and filled[view] == 0.0:
            kind = "empty"
        elif unexplained[view]:
            kind = "camera" if unfilled[view] else "extra"
        elif strange[view] and unfilled[view]:
            kind = "missing"
        else:
            continue
        numbers = (
            f"others explain {percent(explained[view])} of its mask, it fills {percent(filled[view])} of their hull"
        )
        faults.append(Fault(int(view), kind, f"{FAULTS[kind]} ({numbers})"))
    return tuple(faults)


def far_below(values: Float[np.ndarray, " view"]) -> Bool[np.ndarray, " view"]:
    """Which values lie far below the median; NaN counts as not."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), bool)
    middle = np.median(known)
    return values < middle - max(OUTLYING * np.median(np.abs(known - middle)), LEAST_OUTLYING)


def judged(report: CameraReport) -> str:
    """The verdict in one line."""
    words = f"cameras and masks agree {percent(report.agreement)}"
    if better(report.trials):
        best = report.trials[0]
        return f"{words}; with {best.name} {percent(best.agreement)}: the {best.advice}"
    if report.agreement < ROUGH:
        return f"{words}, and no known convention mends it; masks or poses are wrong, the pictures may show which"
    grave = [fault for fault in report.faults if fault.kind != "missing"]
    words += f" in {len(report.iou) - len(grave)} of {len(report.iou)} views"
    return words + "".join(f"; view {fault.view}: {fault.text}" for fault in grave[:NAMED])


def percent(share: float) -> str:
    """The share in words."""
    return "nothing" if np.isnan(share) else f"{100 * share:.0f} %"


FACTORS = (0.25, 0.5, 2.0, 4.0)  # tried on intrinsics, which may belong to images of another size


class Convention(NamedTuple):
    """`change` converts views from this convention to ours; `advice` names the cause, in words after "the"."""

    change: Callable[[Views], Views]
    advice: str


def turned_axes(signs: tuple[float, float, float], inverted: bool) -> Callable[[Views], Views]:
    """A change of the cameras: their poses are inverted if asked to, then their axes multiplied by `signs`."""

    def change(views: Views) -> Views:
        pose = np.asarray(views.cameras.world_from_camera, float)
        pose = (np.linalg.inv(pose) if inverted else pose) @ np.diag([*signs, 1.0])
        return views._replace(cameras=views.cameras._replace(world_from_camera=pose))

    return change


def reindexed(index: tuple[slice, ...]) -> Callable[[Views], Views]:
    """A change of the images by an index into [view, height, width]; cameras stay."""

    def change(views: Views) -> Views:
        images = (None if image is None else np.asarray(image)[index] for image in views[1:])
        return Views(views.cameras, *images)

    return change


def rolled(step: int) -> Callable[[Views], Views]:
    """A change that gives each camera the images `step` places further on."""

    def change(views: Views) -> Views:
        return Views(
            views.cameras, *(None if image is None else np.roll(np.asarray(image), -step, 0) for image in views[1:])
        )

    return change


def complemented(views: Views) -> Views:
    """The views with object and background exchanged."""
    return views._replace(silhouette=1.0 - np.asarray(views.silhouette))


def rescaled(factor: float) -> Callable[[Views], Views]:
    """A change of the intrinsics from those of images 1 / factor times as large."""

    def change(views: Views) -> Views:
        intrinsics = np.diag([factor, factor, 1.0]) @ np.asarray(views.cameras.intrinsics, float)
        return views._replace(cameras=views.cameras._replace(intrinsics=intrinsics))

    return change


def intrinsics_of_size(views: Views) -> dict[str, Convention]:
    """Conventions with intrinsics of other image sizes: by FACTORS, and with the principal point in the middle."""
    height, width = views.silhouette.shape[1:]
    centre = float(np.median(np.asarray(views.cameras.intrinsics)[:, 0, 2]))
    factors = list(FACTORS)
    if centre > 0.0 and all(abs(np.log(0.5 * width / centre / known)) > 0.1 for known in (1.0, *FACTORS)):
        factors.append(0.5 * width / centre)
    return {
        f"intrinsics x {factor:.3g}": Convention(
            rescaled(factor), f"intrinsics are those of images of {width / factor:.0f} x {height / factor:.0f} pixels"
        )
        for factor in factors
    }


ALL = slice(None)
EXCHANGED = "object and background exchanged"
BACK = slice(None, None, -1)
GL, UPSIDE = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
CONVENTIONS: dict[str, Convention] = {
    "OpenGL axes": Convention(turned_axes(GL, False), "poses have OpenGL's axes (y up, z backward), not OpenCV's"),
    "inverted poses": Convention(
        turned_axes((1.0, 1.0, 1.0), True), "poses are camera_from_world, not world_from_camera"
    ),
    "inverted poses, OpenGL axes": Convention(
        turned_axes(GL, True), "poses are camera_from_world and have OpenGL's axes (y up, z backward)"
    ),
    "axes x left, y up": Convention(
        turned_axes(UPSIDE, False), "cameras have x left and y up (PyTorch3D), or the images stand upside down"
    ),
    "images flipped top to bottom": Convention(reindexed((ALL, BACK)), "images are flipped top to bottom"),
    "images flipped left to right": Convention(reindexed((ALL, ALL, BACK)), "images are flipped left to right"),
    EXCHANGED: Convention(complemented, "masks are white where the background is"),
    "images one place later": Convention(rolled(1), "images belong to the cameras one place before"),
    "images one place earlier": Convention(rolled(-1), "images belong to the cameras one place after"),
    "images in reverse order": Convention(reindexed((BACK,)), "images are in the reverse order of the cameras"),
}
