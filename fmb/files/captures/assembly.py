"""From the list of a data set's views to arrays: masks, colours and depth, reduced and brought to one size."""

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fmb.files.captures.companions import short_names
from fmb.files.captures.filling import inverted, layout_of, read_views, shown_in, without_lost
from fmb.files.captures.planes import Plan, Shot, lens_notice, pictured, plan_of, scaled_notice
from fmb.files.captures.verdicts import Facts, are_inverted, facts_of, found, warnings_of
from fmb.files.images import header_of
from fmb.geometry.views import Views, check_views

DEPTH, POINTS = "depth", "points"  # what is read only where it can be, unless it is needed
LARGEST_CAPTURE = 500_000_000  # pixels of all views together: 8 GB with their colours
INVERSION = "all {} masks are white along the border: taken for the background's, and inverted"


class Listing(NamedTuple):
    """All views of a data set, its points, and a line for each thing worth telling."""

    shots: tuple[Shot, ...]
    points: Callable[[], Float[np.ndarray, "point 3"] | None] | None = None  # reads them, where there are some
    notices: tuple[str, ...] = ()


class Capture(NamedTuple):
    """A data set read: views in its own world frame, in our conventions.

    Views of several sizes share one array: smaller ones are continued at the right and the bottom by pixels that are
    not `valid`, which leaves their intrinsics as they are.  Where every pixel counts, `views.valid` is None.
    """

    views: Views
    names: tuple[str, ...]  # of the views
    held_out: Bool[np.ndarray, " view"]  # the data's own test views, not to be fitted to
    points: Float[np.ndarray, "point 3"] | None  # on or near the surface, in the world frame
    notices: tuple[str, ...]  # what was found and what was left out, a line each
    kind: str  # the format, a name in SOURCES


class Planned(NamedTuple):
    """A data set before its pixels are read: what was listed, how each view is read, and what must be readable."""

    folder: Path
    kind: str
    listing: Listing
    plans: tuple[Plan, ...]
    notices: tuple[str, ...]
    needed: frozenset[str]
    remark: str = ""  # a line at the end of all that is told

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image that has room for every view."""
        return self.size_of(self.plans)

    @staticmethod
    def size_of(plans: Sequence[Plan]) -> tuple[int, int]:
        """Height and width of an image that has room for each of these views."""
        return max(plan.shape[0] for plan in plans), max(plan.shape[1] for plan in plans)

    @property
    def pixels(self) -> int:
        """Of all views together, as they lie in one array."""
        return len(self.plans) * self.size[0] * self.size[1]


class Told(NamedTuple):
    """What reading the pixels has told: of masks of the background, of what is lost, and what there is beside masks."""

    background: Sequence[str]
    unread: Sequence[str]
    kinds: Sequence[str]


def planned(folder: Path, kind: str, listing: Listing, longest_side: int, needed: Collection[str]) -> Planned:
    """How everything that the listing names is read.

    `longest_side` is the largest side wanted, 0 for images as they are; each view is reduced by the least whole number
    of pixels that gets there, its remainder at the right and the bottom cut off; undistorted, it may grow again.
    Raises ValueError for views without masks and images of the wrong size.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's, about what is checked here
        plans, notices = _plans(folder, listing.shots, longest_side)
    return Planned(folder, kind, listing, tuple(plans), tuple(notices), frozenset(needed))


def whole(planned: Planned) -> Capture:
    """The capture with all its views.

    Depth and points that cannot be read are left out with a notice, unless they are needed; so are views whose masks,
    and colours where photographs cannot be read, but not all of them.
    Raises ValueError for masks that show nothing, and for more pixels than LARGEST_CAPTURE.
    """
    if planned.pixels > LARGEST_CAPTURE:
        height, width = planned.size
        what = f"{len(planned.plans)} views of {width} x {height} pixels"
        raise ValueError(f"{planned.folder}: {what} are more than {LARGEST_CAPTURE:,}; ask for a smaller longest side")
    with warnings.catch_warnings(action="ignore"):
        layout, told = layout_of(planned.plans, DEPTH in planned.needed)
        views, plans, unread = without_lost(*read_views(planned.plans, layout), planned.plans)
        views = views._replace(valid=None) if views.valid.all() else views
        shown = shown_in(plans, layout.size)
        facts, background = facts_of(views.silhouette, shown), []
        if are_inverted(facts):
            views, background = inverted(views, shown), [INVERSION.format(len(plans))]
            facts = facts_of(views.silhouette, shown)
    kinds = [name for name in ("color", "depth") if getattr(views, name) is not None]
    told = Told(background, [*unread, *told], kinds)
    names, held_out, points, notices = described(planned, plans, facts, told)
    check_views(views, str(planned.folder))
    return Capture(views, names, held_out, points, notices, planned.kind)


def described(
    planned: Planned, plans: Sequence[Plan], facts: Facts, told: Told
) -> tuple[tuple[str, ...], Bool[np.ndarray, " view"], Float[np.ndarray, "point 3"] | None, tuple[str, ...]]:
    """Names of the views that are left, which of them the data holds out, the points, and all notices."""
    shots, notices = [plan.shot for plan in plans], list(planned.notices)
    held_out = np.array([shot.held_out for shot in shots])
    if np.all(held_out):
        held_out[:] = False
        notices.append(f"all {len(shots)} views are held out by the data: none is")
    points, lost = _points(planned.listing, POINTS in planned.needed)
    notices += [*scaled_notice(plans), *lens_notice(plans), *told.background, *told.unread, *lost]
    notices = [found(plans, planned.size_of(plans), told.kinds, held_out), *planned.listing.notices, *notices]
    notices += warnings_of(plans, facts) + [planned.remark] * bool(planned.remark)
    return short_names([shot.name for shot in shots]), held_out, points, tuple(notices)


def _points(listing: Listing, needed: bool) -> tuple[Float[np.ndarray, "point 3"] | None, list[str]]:
    try:
        return (None if listing.points is None else listing.points()), []
    except ValueError as error:
        if needed:
            raise
        return None, [f"points are not read: {error}"]


def _plans(folder: Path, shots: Sequence[Shot], longest_side: int) -> tuple[list[Plan], list[str]]:
    named = next((shot.mask for shot in shots if shot.mask is not None), None)
    shots = [_without_missing_mask(shot) for shot in shots]
    masked = [shot.mask is not None or (pictured(shot) and header_of(shot.image).alpha) for shot in shots]
    plans = [plan_of(shot, longest_side) for shot, has_mask in zip(shots, masked, strict=True) if has_mask]
    if not plans:
        expected = "a white object on black in masks/ under the name of its image, or images with alpha"
        gone = f"; the first that is named, {named}, is not there" if named is not None else ""
        raise ValueError(f"{folder}: none of the {len(shots)} views has a mask; expected {expected}{gone}")
    twice = [path for path, count in Counter(str(plan.source) for plan in plans).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: the mask of several views; each needs its own")
    lacking = [shot.name for shot, has_mask in zip(shots, masked, strict=True) if not has_mask]
    some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    notices = [f"{len(lacking)} of {len(shots)} frames have no mask: left out ({some})"] if lacking else []
    bare = sum(not pictured(plan.shot) for plan in plans)
    if 0 < bare < len(plans):
        notices.append(f"{bare} of {len(plans)} views have no image: no colours are read")
    return plans, notices


def _without_missing_mask(shot: Shot) -> Shot:
    return shot._replace(mask=None) if isinstance(shot.mask, Path) and not shot.mask.exists() else shot
