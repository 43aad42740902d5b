"""Draws the README's picture of the uncertainty: depth, its standard deviation, and how far it really is off.

    python docs/make_uncertainty.py [FOLDER]

The default mesh, 32 silhouettes of it, half of them damaged, a fit that saw nothing else, and four views it never saw.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from fmb.evaluation import VISIBLE, look
from fmb.frames import canonical_frame
from fmb.ground_truth import render_ground_truth
from fmb.noise import damaged
from fmb.options import Config, ModelOptions, RenderingOptions
from fmb.readers.mesh import read_mesh
from fmb.shape import compile_shape_fit, fit_shape
from fmb.sheets import SEAM, Images, Scale, Sheet, fit_tiles, paint, sheet_note, view_labels
from fmb.start import start_mixture
from fmb.uncertainty import fit_covariance, look_deviation
from fmb.views import scene_cameras, select_views
from util import draw_sheet, prepare_output_dir

ROOT = Path(__file__).resolve().parents[1]
VIEWS, SHOWN, SIDE, SEED = 32, 4, 64, 0


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
    mixture = fit_shape(program, start, views, fit_generator).mixture
    deviation = look_deviation(mixture, fit_covariance(mixture, views), unseen.cameras, (SIDE, SIDE))
    sheet = deviation_sheet(look(mixture, unseen.cameras, (SIDE, SIDE)), deviation, unseen.depth)
    print(draw_sheet(folder / "uncertainty.png", sheet))


def deviation_sheet(seen: Images, deviation: Images, depth: np.ndarray) -> Sheet:
    """Depth, its standard deviation and its error side by side for each view.

    Each has its own range: the error is several times the deviation, which knows nothing of the model's own bias.
    """
    visible = seen.alpha >= VISIBLE
    error = np.where(visible, np.abs(seen.depth - depth), np.nan)
    expected = np.where(visible, deviation.depth, np.nan)
    shown = np.where(visible, seen.depth, np.nan)
    depths = Scale("viridis", (float(np.nanmin(shown)), float(np.nanmax(shown))), "depth (object scales)")
    deviations, errors = (
        Scale("magma", (0.0, float(np.nanpercentile(values, 95))), f"{name} (object scales)", "max")
        for values, name in ((expected, "standard deviation"), (error, "error"))
    )
    panels = [fit_tiles(paint(v, s), 3) for v, s in ((shown, depths), (expected, deviations), (error, errors))]
    seam = np.full((*panels[0].shape[:2], SEAM, 3), 255, np.uint8)
    tiles = np.concatenate([panels[0], seam, panels[1], seam, panels[2]], axis=2)
    note = f"{sheet_note(depth)}; median deviation {np.nanmedian(expected):.3f}, median error {np.nanmedian(error):.3f}"
    names = ("depth", "its standard deviation", "its error")
    return Sheet("How sure the depth is", note, tiles, view_labels(len(tiles)), (depths, deviations, errors), {}, names)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures")
