"""How far images are from what an encoder has learnt: photographs with masks, and renderings before a photograph.

    python -m benchmarks.single_view_strange --images FOLDER --masks FOLDER --background PHOTO MESH MESH

`--images` and `--masks` hold files of one name each.  Each mesh is seen by two random cameras, as those of the
training, and stands before the middle of the background.  All go through task `predict`, which says IoU of the own
silhouette and a verdict; the camera is not known.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.markdown import table
from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.files.meshes import read_mesh
from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth
from fmb.machine import choose_device
from fmb.single_view.crops import fitting_intrinsics
from fmb.single_view.families import unit_ball
from fmb.single_view.sights import random_poses
from fmb.tasks.encoders import read_encoder
from fmb.tasks.predict import predicted, read_photograph
from fmb.tasks.predict_files import facts_of

SIDE, VIEWS, SEED, WIDE = 256, 2, 0, 1.6  # of the renderings: pixels, of each mesh, of cameras, over the object's box


def photographs(images: Path, masks: Path) -> Iterator[tuple[str, Path, Path]]:
    """Names, images and masks."""
    for image in sorted(images.iterdir()):
        mask = next((path for path in masks.iterdir() if path.stem == image.stem), None)
        if mask is not None:
            yield image.stem, image, mask


def renderings(meshes: list[Path], background: Path, folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Meshes before the background, as files in the folder."""
    behind = np.asarray(Image.open(background).convert("RGB").resize((SIDE, SIDE)), float) / 255.0
    generator = np.random.default_rng(SEED)
    for path in meshes:
        mesh = read_mesh(path)
        mesh = unit_ball(mesh).mesh_to_canonical(mesh)
        if mesh.visual.kind != "vertex":
            mesh.visual.vertex_colors = np.tile([180, 140, 110, 255], (len(mesh.vertices), 1)).astype(np.uint8)
        pose = random_poses(generator, VIEWS)
        lens = np.stack([fitting_intrinsics(one, np.asarray(mesh.vertices), SIDE, WIDE) for one in pose])
        views = render_ground_truth(mesh, Cameras(pose, lens), (SIDE, SIDE), "raycast").views
        for number, (color, silhouette) in enumerate(zip(views.color, views.silhouette, strict=True)):
            seen = np.where(silhouette[..., None] >= 0.5, color, behind)
            names = [folder / f"{path.stem}_{number}{kind}.png" for kind in ("", "_mask")]
            for name, pixels in zip(names, (seen, silhouette), strict=True):
                Image.fromarray(np.rint(255.0 * np.clip(pixels, 0.0, 1.0)).astype(np.uint8)).save(name)
            yield f"{path.stem} {number + 1}", *names


def row(name: str, image: Path, mask: Path, encoder: str) -> tuple[str, str, str]:
    """What `predict` says of an image."""
    config = load_config(["predict", str(image), "--mask-file", str(mask), "--cpu"], tuple(TASKS))
    net, layout, told = read_encoder(encoder)
    facts = facts_of(predicted(net, layout, read_photograph(config, layout.size), None), told)
    return name, f"{facts['own_iou']:.3f}", str(facts.get("verdict", "")).partition(":")[0]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", nargs="*", type=Path, help="upright meshes, y up")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--background", type=Path)
    parser.add_argument("--encoder", default="data/encoder.npz")
    arguments = parser.parse_args()
    if arguments.meshes and arguments.background is None:
        parser.error("meshes need a --background")
    choose_device(True)
    rows = []
    if arguments.images is not None:
        rows += [row(*one, arguments.encoder) for one in photographs(arguments.images, arguments.masks)]
    with tempfile.TemporaryDirectory() as folder:
        made = renderings(arguments.meshes, arguments.background, Path(folder)) if arguments.meshes else ()
        rows += [row(*one, arguments.encoder) for one in made]
    print(table(("image", "own IoU", "what the run says"), rows))


if __name__ == "__main__":
    main()
