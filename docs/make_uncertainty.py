"""Draws the README's picture of the uncertainty: of the rendered depth, beside its error, and of each component.

    python docs/make_uncertainty.py [FOLDER]

The default mesh, 32 silhouettes of it, half of them damaged, a fit that saw nothing else, and four views it never saw.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.uncertainty import Uncertainty, fit_covariance, look_deviation
from fm_render import Mixture
from fmb.config import Config
from fmb.fields.looks import look
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.noise import damaged
from fmb.geometry.options import RenderingOptions
from fmb.geometry.views import Images, Views, foreground, scene_cameras, select_views
from fmb.machine import prepare_output_dir
from fmb.pictures.draw import draw_sheet
from fmb.pictures.sheets import SEAM, Scale, Sheet, fit_tiles, paint, sheet_note, view_labels
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture

ROOT = Path(__file__).resolve().parents[1]
VIEWS, SHOWN, SIDE, SEED = 32, 4, 64, 0
GROUND, RIM, RIM_WIDTH = 0xE4, (250, 250, 250), 1.0  # greys of the ground and of ellipses' rims; pixels


def main(folder: Path) -> None:
    """Fits and draws."""
    prepare_output_dir(folder)
    mesh = read_mesh(ROOT / "data" / "ibex.ply")
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    cameras_generator, damage_generator, fit_generator = np.random.default_rng(SEED).spawn(3)
    options = RenderingOptions(image_width=SIDE, image_height=SIDE)
    cameras = scene_cameras(cameras_generator, VIEWS + SHOWN, options)
    truth = render_ground_truth(mesh, cameras, (SIDE, SIDE), "raycast").views
    views = damaged(select_views(truth, slice(VIEWS)), damage_generator)
    unseen = select_views(truth, slice(VIEWS, None))
    start = start_mixture(None, ModelOptions(init="sphere"), SEED).mixture
    program = compile_shape_fit(start, views.silhouette.shape, Config().optimization)
    mixture = fit_to_views(program, start, views, fit_generator).mixture
    uncertainty = fit_covariance(mixture, views)
    deviation = look_deviation(mixture, uncertainty, unseen.cameras, (SIDE, SIDE))
    sheet = deviation_sheet(look(mixture, unseen.cameras, (SIDE, SIDE)), deviation, unseen, mixture, uncertainty)
    print(draw_sheet(folder / "uncertainty.png", sheet))


def deviation_sheet(
    seen: Images, deviation: Images, unseen: Views, mixture: Mixture, uncertainty: Uncertainty
) -> Sheet:
    """Depth, its standard deviation and its error, and the components by the deviation of their means, for each view.

    Each has its own range: the error is several times the deviation, which knows nothing of the model's bias.
    """
    visible = foreground(seen.alpha)
    error = np.where(visible, np.abs(seen.depth - unseen.depth), np.nan)
    expected = np.where(visible, deviation.depth, np.nan)
    shown = np.where(visible, seen.depth, np.nan)
    own = mean_deviation(uncertainty)
    depths = Scale("viridis", (float(np.nanmin(shown)), float(np.nanmax(shown))), "depth (object scales)")
    deviations, owns, errors = (
        Scale("magma", (0.0, float(np.nanpercentile(values, 95))), f"{name} (object scales)", "max")
        for values, name in (
            (expected, "standard deviation of the depth"),
            (own, "standard deviation of a component's mean"),
            (error, "error of the depth"),
        )
    )
    panels = [fit_tiles(paint(v, s), 4) for v, s in ((shown, depths), (expected, deviations), (error, errors))]
    side, color = panels[0].shape[1], paint(own, owns)
    cameras = [Cameras(*(np.asarray(field[view], float) for field in unseen.cameras)) for view in range(len(panels[0]))]
    panels.insert(2, np.stack([ellipse_panel(mixture, camera, side, color) for camera in cameras]))
    seam = np.full((*panels[0].shape[:2], SEAM, 3), 255, np.uint8)
    rows = np.concatenate([part for panel in panels for part in (seam, panel)][1:], axis=2)
    note = (
        f"{sheet_note(unseen.depth)}; medians: deviation of the depth {np.nanmedian(expected):.3f}, its error "
        f"{np.nanmedian(error):.3f}, deviation of a component's mean {np.median(own):.3f} (largest {own.max():.3f})"
    )
    names = ("depth", "its standard deviation", "components by that of their means", "error of the depth")
    return Sheet(
        "How sure the fit is", note, rows, view_labels(len(rows)), (depths, deviations, owns, errors), {}, names
    )


def mean_deviation(uncertainty: Uncertainty) -> np.ndarray:
    """How far each component's mean may be off along an axis, root mean square over the three axes."""
    return np.sqrt(np.mean(np.square(uncertainty.mean_deviation), axis=1))


def projected(mixture: Mixture, camera: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre [mixture, 2] and covariance [mixture, 2, 2] of each component's image, in pixels, and its depth.

    To first order in the component's size; `camera` is one, without an axis of views.
    """
    rotation, position = camera.world_from_camera[:3, :3], camera.world_from_camera[:3, 3]
    x, y, depth = ((np.asarray(mixture.mean, float) - position) @ rotation).T
    one, none = np.ones_like(depth), np.zeros_like(depth)
    slope = np.stack([one, none, -x / depth, none, one, -y / depth], axis=1).reshape(-1, 2, 3) / depth[:, None, None]
    slope = camera.intrinsics[:2, :2] @ slope
    # the covariance is the square of this, which has an axis for each of the component's own
    spread = np.linalg.inv(np.asarray(mixture.precision_cholesky, float)) @ rotation @ slope.mT
    centre = np.stack([x / depth, y / depth, one])
    return (camera.intrinsics[:2] @ centre).T, spread.mT @ spread, depth


def ellipse_panel(mixture: Mixture, camera: Cameras, side: int, color: np.ndarray) -> np.ndarray:
    """A tile of `side` pixels: each component in its colour, the nearest on top, out to where it alone has alpha 1/2.

    A component that nowhere has as much is drawn at one standard deviation.
    """
    panel = np.full((side, side, 3), GROUND, float)
    centre, covariance, depth = projected(mixture, camera)
    reach = 2.0 * (np.asarray(mixture.log_weight, float) - np.log(np.log(2.0)))
    covariance = np.where(reach > 0.0, reach, 1.0)[:, None, None] * covariance
    zoom = side / SIDE
    row, column = np.mgrid[:side, :side] + 0.5
    for component in np.argsort(-depth):
        offset = np.stack([column, row], axis=-1) - zoom * centre[component]
        pull = offset @ np.linalg.inv(zoom**2 * covariance[component])
        radius = np.sqrt(np.maximum((offset * pull).sum(axis=-1), 1e-12))
        # pixels to the ellipse, to first order, negative inside
        away = (radius - 1.0) * radius / np.maximum(np.linalg.norm(pull, axis=-1), 1e-12)
        for edge, shade in ((0.0, RIM), (-RIM_WIDTH, color[component])):
            cover = np.clip(edge + 0.5 - away, 0.0, 1.0)[..., None]
            panel += cover * (np.asarray(shade, float) - panel)
    return panel.round().astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures")
