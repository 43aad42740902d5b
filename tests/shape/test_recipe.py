import numpy as np
import pytest
import trimesh

from fm_render import render
from fmb.geometry.cameras import pixel_rays
from fmb.geometry.frames import canonical_frame
from fmb.geometry.metrics import iou
from fmb.geometry.options import RenderingOptions
from fmb.shape.options import ModelOptions
from fmb.shape.recipe import CONVERSION, conversion_views, refine_mixture
from fmb.shape.start import start_mixture
from fmb.shape.supervision import DEPTH_SETTINGS


def errors(mixture, mesh) -> tuple[float, float]:
    """IoU and median depth error of six views."""
    small = RenderingOptions(num_views=6, image_width=40, image_height=40)
    views = conversion_views(mesh, np.random.default_rng(5), small)
    sight = render(mixture, pixel_rays(views.cameras, 40, 40), 1.0, ("alpha", "depth"), DEPTH_SETTINGS)
    both = (np.asarray(sight.alpha) > 0.5) & np.isfinite(views.depth)
    off = np.abs(np.asarray(sight.depth) - views.depth)[both]
    return iou(sight.alpha, views.silhouette), float(np.median(off))


@pytest.mark.slow
def test_a_mesh_becomes_a_mixture_of_its_depth():
    mesh = trimesh.creation.capsule(height=1.0, radius=0.3, count=(12, 12))
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    start = start_mixture(mesh, ModelOptions(num_mixtures=6, gmm_points=2_000), 0).mixture
    progress = []
    fit = refine_mixture(mesh, start, np.random.default_rng(0), on_progress=lambda *now: progress.append(now))
    assert len(progress[-1]) == 3 and progress[-1][0] == len(fit.history.loss) == progress[-1][1]
    (before, far), (after, near) = errors(start, mesh), errors(fit.mixture, mesh)
    assert after > 0.93 and near < 0.6 * far, (before, after, near, far)
    assert fit.mixture.mean.shape == (6, 3) and CONVERSION.depth_weight > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bunny", "plane"])
def test_real_meshes(models_folder, name):
    mesh = trimesh.load(models_folder / f"{name}.ply", force="mesh")
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    start = start_mixture(mesh, ModelOptions(), 0).mixture
    overlap, off = errors(refine_mixture(mesh, start, np.random.default_rng(0)).mixture, mesh)
    assert overlap > 0.93 and off < 0.05
