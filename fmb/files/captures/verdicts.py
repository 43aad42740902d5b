"""What the silhouettes of a data set give away: masks of the background, views without an object, cut outlines."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion

from fmb.files.captures.planes import Plan
from fmb.geometry.views import foreground

INVERTED = 0.9  # of the border of a view inside the object: the mask may be the background's


class Facts(NamedTuple):
    """Of each view: the share of its border that is object (NaN: no border), what it shows, its largest value."""

    border: Float[np.ndarray, " view"]
    object: Bool[np.ndarray, " view"]
    background: Bool[np.ndarray, " view"]
    peak: Float[np.ndarray, " view"]


def facts_of(silhouette: Float[np.ndarray, "view height width"], shown: Bool[np.ndarray, "view height width"]) -> Facts:
    """The facts of views of which those pixels are shown."""
    inside = foreground(silhouette)
    pairs = zip(inside, shown, strict=True)
    borders = [view[known & ~binary_erosion(known)] for view, known in pairs]
    share = np.array([border.mean() if len(border) else np.nan for border in borders], float)
    background = np.any(~inside & shown, axis=(1, 2))
    return Facts(share, inside.any(axis=(1, 2)), background, np.asarray(silhouette.max(axis=(1, 2)), float))


def together(parts: Sequence[Facts]) -> Facts:
    """The facts of all views, from those of some and the others."""
    return Facts(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def are_inverted(facts: Facts) -> bool:
    """Whether all masks are white along the whole border and black somewhere: they are the background's."""
    return len(facts.border) > 1 and bool(np.all(facts.border >= INVERTED) and facts.background.all())


def found(plans: Sequence[Plan], size: tuple[int, int], kinds: Sequence[str], held_out: np.ndarray) -> str:
    """What was read: how many views, how large, and what beside their masks; `size` is height and width of all."""
    sizes = Counter(f"{plan.shape[1]} x {plan.shape[0]}" for plan in plans)
    pixels = next(iter(sizes)) if len(sizes) == 1 else f"{len(sizes)} sizes up to {size[1]} x {size[0]}"
    sides = sorted({plan.side for plan in plans})
    reduced = f" (reduced {' to '.join(map(str, {sides[0], sides[-1]}))} times)" if sides[-1] > 1 else ""
    mask = plans[0].shot.mask
    source = f"{mask.parent.name}/" if isinstance(mask, Path) else "alpha of the images" if mask is None else "its file"
    count = f"{len(plans)} views" + (f", {np.sum(held_out)} of them held out" if held_out.any() else "")
    return f"{count}, {pixels} pixels{reduced}; masks from {source}" + "".join(f", {kind}" for kind in kinds)


def warnings_of(plans: Sequence[Plan], facts: Facts) -> list[str]:
    """What the silhouettes themselves give away.  Raises ValueError where they show nothing."""
    bordered = int(np.sum(facts.border >= INVERTED))
    touching, full = int(np.sum(facts.border > 0)), int(np.sum(~facts.background))
    count, empty = len(plans), int(np.sum(~facts.object))
    first = plans[0].source
    if empty == count:
        what = f"none of the {count} masks shows the object, their largest value is {facts.peak.max():.2g} of 1"
        raise ValueError(f"{first}: {what}; expected it white on black")
    if full == count:
        what = "masks are white everywhere" if plans[0].shot.mask is not None else "images are opaque everywhere"
        raise ValueError(f"{first}: all {count} {what}; expected the object white on black, in masks/ or as alpha")
    told = {
        "masks show no object": empty,
        "masks are white everywhere": full,
        "masks are white along the border: are they the background's?": bordered - full,
        "silhouettes touch the border: what lies outside the image is unknown, not empty": touching - bordered,
    }
    notices = [f"{number} of {count} {words}" for words, number in told.items() if number]
    return notices + ["one view only: a shape needs several"] * (count == 1)
