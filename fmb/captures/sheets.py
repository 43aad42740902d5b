"""Sheets of the check of cameras: masks against the hull of the other views, and the words beside them."""

import textwrap

import numpy as np
from jaxtyping import Bool

from fmb.captures.consistency import CameraReport
from fmb.captures.frusta import Drawing, flattened, pyramids
from fmb.sheets import AGREE, BLUE, NOTHING, ORANGE, Sheet, overlay_sheet
from fmb.views import Views

RIM = 3  # pixels of the rim around a view that is at fault
LONGEST = 150  # letters of a verdict that find room above a sheet
OBLIQUE, ABOVE = (-1.1, 0.35), (-1.5707963, 1.5707963)  # radians: where the cameras are looked at from


def agreement_sheet(report: CameraReport) -> Sheet:
    """Mask and hull of the others in each view, with their IoU and the share of the mask that is explained."""
    sheet = overlay_sheet(report.silhouette, report.others)
    legend = {"in both": AGREE, "in the mask alone": ORANGE, "in the hull alone": BLUE, "in neither": NOTHING}
    at_fault, tiles = grave_views(report), sheet.tiles.copy()
    rim = np.array([int(ORANGE[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    for view in np.flatnonzero(at_fault):
        for side in (tiles[view, :RIM], tiles[view, -RIM:], tiles[view, :, :RIM], tiles[view, :, -RIM:]):
            side[...] = rim
    labels = [
        f"{view}   {number(report.iou[view])}   {number(report.explained[view])}" + ("   !" if at_fault[view] else "")
        for view in range(len(tiles))
    ]
    note = textwrap.shorten(report.verdict, LONGEST, placeholder=" ...")
    title = "Masks and the hull of all other views: number, IoU, share of the mask inside that hull"
    return Sheet(title, note, tiles, labels, (), legend)


def camera_drawings(views: Views, report: CameraReport) -> tuple[Drawing, Drawing]:
    """The cameras around the hull of all, from the side and from above; those at fault are marked."""
    scene = pyramids(views, report.hull, grave_views(report))
    return flattened(scene, "from the side", *OBLIQUE), flattened(scene, "from above", *ABOVE)


def grave_views(report: CameraReport) -> Bool[np.ndarray, " view"]:
    """Views that are wrong for sure."""
    marked = np.zeros(len(report.iou), bool)
    marked[[fault.view for fault in report.faults if fault.kind != "missing"]] = True
    return marked


def number(share: float) -> str:
    """Two digits, or a dash where there is nothing to share."""
    return "-" if np.isnan(share) else f"{share:.2f}"
