"""A picture of the uncertainty of the rendered depth and of each component."""

import numpy as np
from jaxtyping import Float, UInt8

from fm_render import Mixture
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Images
from fmb.pictures.sheets import SEAM, Scale, Sheet, fit_tiles, paint, sheet_note, view_labels

GROUND, RIM, RIM_WIDTH = 0xE4, (250, 250, 250), 1.0  # colours of the background and of ellipses' rims; pixels
COLUMNS = 3  # panels side by side


def deviation_sheet(
    seen: Images, deviation: Images, cameras: Cameras, mixture: Mixture, own: Float[np.ndarray, " mixture"], unit: str
) -> Sheet:
    """A sheet of depth, its standard deviation, and components coloured by the deviation of their means, `own`.

    Each of the three has its own range, in `unit`. Pixels without depth (NaN) have no deviation.
    """
    expected = np.where(np.isfinite(seen.depth), deviation.depth, np.nan)
    depths = Scale("viridis", span(seen.depth, 0.0), f"depth ({unit})")
    deviations, owns = (
        Scale("magma", (0.0, span(values, 95.0)[1]), f"standard deviation of {name} ({unit})", "max")
        for values, name in ((expected, "the depth"), (own, "a component's mean"))
    )
    panels = [
        fit_tiles(paint(values, scale), COLUMNS) for values, scale in ((seen.depth, depths), (expected, deviations))
    ]
    size, color = seen.depth.shape[1:], paint(own, owns)
    zoom = panels[0].shape[1] // size[0]
    each = [Cameras(*(np.asarray(field[view], float) for field in cameras)) for view in range(len(seen.depth))]
    panels.append(np.stack([ellipse_panel(mixture, camera, size, zoom, color) for camera in each]))
    seam = np.full((*panels[0].shape[:2], SEAM, 3), 255, np.uint8)
    rows = np.concatenate([part for panel in panels for part in (seam, panel)][1:], axis=2)
    note = (
        f"{sheet_note(seen.depth)}; deviation of a component's mean: median {np.median(own):.3g}, most {own.max():.3g}"
    )
    names = ("depth", "its deviation", "components")
    return Sheet("How sure the fit is", note, rows, view_labels(len(rows)), (depths, deviations, owns), {}, names)


def span(values: np.ndarray, percent: float) -> tuple[float, float]:
    """Least and largest finite value, or the percentile `percent` in place of the largest; (0, 1) if there is none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    return float(finite.min()), float(np.percentile(finite, percent) if percent else finite.max())


def projected(mixture: Mixture, camera: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre [mixture, 2] and covariance [mixture, 2, 2] of each component's image, in pixels, and its depth.

    It is exact to first order in the component's size. `camera` is a single one, without an axis of views.
    """
    rotation, position = camera.world_from_camera[:3, :3], camera.world_from_camera[:3, 3]
    x, y, depth = ((np.asarray(mixture.mean, float) - position) @ rotation).T
    one, none = np.ones_like(depth), np.zeros_like(depth)
    slope = np.stack([one, none, -x / depth, none, one, -y / depth], axis=1).reshape(-1, 2, 3) / depth[:, None, None]
    slope = camera.intrinsics[:2, :2] @ slope
    # the covariance is the square of this, whose rows belong to the component's axes
    spread = np.linalg.inv(np.asarray(mixture.precision_cholesky, float)) @ rotation @ slope.mT
    centre = np.stack([x / depth, y / depth, one])
    return (camera.intrinsics[:2] @ centre).T, spread.mT @ spread, depth


def ellipse_panel(
    mixture: Mixture, camera: Cameras, size: tuple[int, int], zoom: int, color: np.ndarray
) -> UInt8[np.ndarray, "tall wide 3"]:
    """An image of (height, width) pixels, enlarged `zoom` times, of components in their colours, the nearest on top.

    An ellipse ends where its component alone has alpha 1/2, or at one standard deviation if it has that nowhere.
    """
    panel = np.full((zoom * size[0], zoom * size[1], 3), GROUND, float)
    centre, covariance, depth = projected(mixture, camera)
    reach = 2.0 * (np.asarray(mixture.log_weight, float) - np.log(np.log(2.0)))
    covariance = np.where(reach > 0.0, reach, 1.0)[:, None, None] * covariance
    row, column = np.mgrid[: len(panel), : panel.shape[1]] + 0.5
    for component in np.argsort(-depth):
        offset = np.stack([column, row], axis=-1) - zoom * centre[component]
        pull = offset @ np.linalg.inv(zoom**2 * covariance[component])
        radius = np.sqrt(np.maximum((offset * pull).sum(axis=-1), 1e-12))
        # distance to the ellipse in pixels, to first order, negative inside
        away = (radius - 1.0) * radius / np.maximum(np.linalg.norm(pull, axis=-1), 1e-12)
        for edge, shade in ((0.0, RIM), (-RIM_WIDTH, color[component])):
            cover = np.clip(edge + 0.5 - away, 0.0, 1.0)[..., None]
            panel += cover * (np.asarray(shade, float) - panel)
    return panel.round().astype(np.uint8)
