"""The stages of the search that the options of a pose mean."""

from typing import NamedTuple

from fm_render import choose
from fmb.pose.options import EVIDENCES, METHODS, PoseOptions

FEW, FEWER = 8, 3  # poses that are worth the second and the third stage
ENDING = 1e-3  # radians and scales, from one start alone: ten times below what the noise of an image leaves open
FEW_RAYS, TRACKING_RAYS = 512, 1_024  # of the two stages from one start alone, and as many points
MOST_RAYS = 2_048  # near the mask, and at most so many points: what the finest image comes down to


class Stage(NamedTuple):
    """A round of the search: pixels pooled, poses that enter, trials (the first only looks), residuals to expect.

    `far`: depth by the level of the mixture's field, whose slope is exact anywhere, not by distance. `most`: rays.
    `ending`: a step shorter than that, in radians and scales, ends it.
    """

    pooling: int
    poses: int
    trials: int
    depth: float
    mislabelled: float
    blur: float
    far: bool = False
    most: int | None = None
    ending: float = 0.0


def check_options(options: PoseOptions) -> None:
    """ValueError for an unknown name or a number out of range."""
    for field, allowed in {"method": METHODS, "evidence": EVIDENCES}.items():
        choose(field, getattr(options, field), allowed)
    least = {"num_starts": 0, "iterations": 1, "spread_degrees": 0.0, "tolerance": 0.0}
    for field, bound in least.items():
        if not getattr(options, field) >= bound:
            raise ValueError(f"{field} {getattr(options, field)}; must be at least {bound}")


def stages_of(options: PoseOptions) -> tuple[Stage, ...]:
    """Coarse to fine; each ends where nothing moves any more."""
    last = Stage(1, 1, options.iterations, 0.02, 0.03, 0.0, False, MOST_RAYS)
    if options.num_starts == 0:
        first = Stage(2, 1, options.iterations, 0.05, 0.05, 0.0, True, FEW_RAYS, 100 * ENDING)
        return (first, last._replace(most=TRACKING_RAYS, ending=ENDING))
    few, fewer = min(FEW, options.num_starts), min(FEWER, options.num_starts)
    return (
        Stage(4, options.num_starts + 1, 13, 0.1, 0.05, 0.5, True),
        Stage(2, few, 15, 0.1, 0.05, 0.3, True),
        Stage(1, fewer, 9, 0.05, 0.03, 0.0, True, MOST_RAYS),
        last,
    )
