"""Pictures of a mixture: a ball, or the model that a run has written, from a camera of your own.

From the project's folder: python -m examples.a_ball [output/model.npz [PICTURE.png]]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fmb
from fmb.fields.mixtures import mixture_frame

SIZE = (300, 300)  # height and width of the image
LIGHT = np.array([-0.45, 0.7, 0.55]) / np.linalg.norm([-0.45, 0.7, 0.55])  # right, up, towards the camera


def a_ball() -> fmb.Model:
    """One Gaussian of standard deviation 0.2: a ball whose surface, where it is half opaque, has radius 0.44."""
    mixture = fmb.Mixture(np.zeros((1, 3)), 5.0 * np.eye(3)[None], np.full(1, 2.0))
    frame = mixture_frame(mixture)
    return fmb.Model(frame.mixture_to_canonical(mixture), frame, None, {})


def main(model_file: str = "", picture: str = "output/ball.png") -> float:
    """Draws opacity, depth, normals and shading; returns the distance of the nearest point seen."""
    model = fmb.load_model(model_file) if model_file else a_ball()
    centre, scale = model.frame.centre, float(model.frame.scale)
    cameras = fmb.Cameras.look_at(centre + scale * np.array([2.0, 1.2, 2.6]), centre, size=SIZE, vfov_degrees=40)
    seen = fmb.render(model, cameras, SIZE)
    axes = cameras.world_from_camera[0, :3, :3] * [1.0, -1.0, -1.0]  # right, up, towards the camera
    normal = seen.normal[0] @ axes
    light = 0.3 + 0.7 * np.clip(normal @ LIGHT, 0.0, 1.0)
    figure = Figure(figsize=(9.6, 2.7), layout="constrained")
    panels = figure.subplots(1, 4)
    panels[0].imshow(seen.alpha[0], cmap="gray_r", vmin=0.0, vmax=1.0)
    depth = panels[1].imshow(seen.depth[0], cmap="viridis")
    figure.colorbar(depth, ax=panels[1], label="input units", shrink=0.8)
    panels[2].imshow(np.nan_to_num(0.5 + 0.5 * normal, nan=1.0))
    panels[3].imshow(np.nan_to_num(light[..., None] * [0.85, 0.76, 0.65], nan=1.0))
    for panel, title in zip(panels, ("opacity", "depth of the surface", "normals", "shaded"), strict=True):
        panel.set_title(title, fontsize=10)
        panel.axis("off")
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)
    print(f"{picture}: nearest point {np.nanmin(seen.depth):.4g} away, seen along the optical axis")
    return float(np.nanmin(seen.depth))


if __name__ == "__main__":
    main(*sys.argv[1:3])
