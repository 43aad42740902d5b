"""Fits 40 Gaussians to each of ten shapes and draws them all around: GALLERY.md and figures/gallery_NAME.png.

    python docs/make_gallery.py --models FOLDER [--names bunny gear ...] [--output docs]

FOLDER holds meshes NAME.ply. Everything is what `run_fmb.py` does by default: 20 silhouettes of 64 x 64 pixels.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import trimesh
from jaxtyping import UInt8

from fm_render import Mixture
from fmb.config import Config
from fmb.fields.looks import evaluate
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras, pixel_rays
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.views import scene_cameras, split_views
from fmb.machine import prepare_output_dir, write_text
from fmb.pictures.draw import write_picture
from fmb.pictures.ellipsoids import enclosing_ball
from fmb.pictures.turntable import brightness, on_white, turn_cameras, turntable
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture

NAMES = ("arma", "buddha", "dragon", "lucy", "bunny", "gear", "eiffel", "human", "yoga", "plane")
NOVEL = 32  # views that no fit has seen
FRAMES, SIDE, FINER = 5, 176, 2  # directions; pixels of a tile; samples of the reference along each side of a pixel
CLAY = np.array([0.80, 0.72, 0.62])
UP = (0.0, 1.0, 0.0)
HEAD = """# Gallery

Ten shapes, each 40 Gaussians (400 numbers), started from points of the mesh's volume and fitted to 20 silhouettes of
64 x 64 pixels. From above: the mesh that the silhouettes are of; the fit, every component in a colour of its own; its
normals (red to the right, green up, blue towards the camera). Numbers are of 32 views that the fit has not seen, depth
errors in percent of the object's scale: silhouettes alone leave depth to the blend, whose hits lie inside the body.

All of this page is made by

    python docs/make_gallery.py --models FOLDER

where FOLDER holds the meshes, about 2,500 faces each. arma, buddha, dragon, lucy and bunny are scans of the Stanford
Computer Graphics Laboratory.
"""
FOOT = """
## Shapes from one image

Twelve shapes that the training of the encoder has not seen, each predicted from the first image beside it: see
[predict](predict.md). Made by `python -m benchmarks.single_view quality --picture docs/figures/single_view.png`.

![Image, prediction, and both from another side](figures/single_view.png)
"""


class Shown(NamedTuple):
    """What the page says of one shape."""

    name: str
    errors: dict[str, float]


def main(arguments: list[str]) -> None:
    """Fits and draws the shapes named, one after the other, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of NAME.ply")
    parser.add_argument("--names", nargs="+", default=NAMES, help="shapes to show")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent, help="folder of GALLERY.md")
    options = parser.parse_args(arguments)
    figures = prepare_output_dir(options.output / "figures")
    shown = []
    for name in options.names:
        mesh = read_mesh(options.models / f"{name}.ply")
        mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
        mixture, entry = fitted(name, mesh)
        write_picture(figures / f"gallery_{name}.png", strip(mesh, mixture))
        shown.append(entry)
        print(row(entry), flush=True)
    write_text(options.output / "GALLERY.md", page(shown))


def fitted(name: str, mesh: trimesh.Trimesh) -> tuple[Mixture, Shown]:
    """The default fit to silhouettes of the canonical mesh, and how good it is."""
    config = Config()
    views_generator, fit_generator = np.random.default_rng(config.random_seed).spawn(2)
    count, size = config.rendering.num_views, (config.rendering.image_height, config.rendering.image_width)
    cameras = scene_cameras(views_generator, count + NOVEL, config.rendering)
    views = split_views(render_ground_truth(mesh, cameras, size, "raycast").views, count)
    start = start_mixture(mesh, config.model, config.random_seed, config.optimization.recipe).mixture
    program = compile_shape_fit(start, (count, *size), config.optimization)
    fit = fit_to_views(program, start, views["train"], fit_generator)
    return fit.mixture, Shown(name, evaluate(fit.mixture, views, 1.0)[1]["novel"])


def strip(mesh: trimesh.Trimesh, mixture: Mixture) -> UInt8[np.ndarray, "tall wide 3"]:
    """The mesh, the fit's components and its normals, one below the other, from FRAMES directions."""
    ball = enclosing_ball(mixture)
    turn = turntable(mixture, FRAMES, SIDE)
    rows = (reference(mesh, turn_cameras(ball, FRAMES, FINER * SIDE, UP)), turn.color, turn.normal)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def reference(mesh: trimesh.Trimesh, cameras: Cameras) -> UInt8[np.ndarray, "frame height width 3"]:
    """The mesh in clay, under the light of the turntable."""
    rays = pixel_rays(cameras, FINER * SIDE, FINER * SIDE)
    tiles = []
    for frame, pose in enumerate(cameras.world_from_camera):
        origin, direction = (np.asarray(part[frame], float).reshape(-1, 3) for part in rays)
        place, ray, face = mesh.ray.intersects_location(origin, direction, multiple_hits=False)
        share = trimesh.triangles.points_to_barycentric(mesh.triangles[face], place)
        normal = np.einsum("rc,rci->ri", share, mesh.vertex_normals[mesh.faces[face]])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        color, alpha = np.zeros((len(origin), 3)), np.zeros(len(origin))
        color[ray] = CLAY * brightness(normal @ (pose[:3, :3] * np.array([1.0, -1.0, -1.0])))[:, None]
        alpha[ray] = 1.0
        samples = on_white(color, alpha).reshape(SIDE, FINER, SIDE, FINER, 3)
        tiles.append(np.round(samples.mean(axis=(1, 3))).astype(np.uint8))
    return np.stack(tiles)


def row(entry: Shown) -> str:
    """A line of the page's table."""
    errors = entry.errors
    numbers = f"{errors['iou']:.3f} | {errors['cross_entropy']:.4f} | {100.0 * errors['rendered_depth_mae']:.1f} %"
    return f"| {entry.name} | {numbers} |"


def page(shown: list[Shown]) -> str:
    """The text of GALLERY.md."""
    table = ["| shape | IoU | cross-entropy | depth error, as rendered |", "|---|---|---|---|", *map(row, shown)]
    pictures = [
        f"## {entry.name}\n\n![{entry.name}: mesh, components and normals, from {FRAMES} directions]"
        f"(figures/gallery_{entry.name}.png)\n"
        for entry in shown
    ]
    return "\n".join([HEAD, *table, "", *pictures]) + FOOT


if __name__ == "__main__":
    main(sys.argv[1:])
