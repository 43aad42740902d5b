"""Fits the betas of the blends to mixtures of meshes, and says how well meshes that were not looked at come out.

    python -m benchmarks.fit_betas --models FOLDER [--seeds 0 1] [--size 48] [--views 6]

Each mesh becomes a volumetric mixture of 40 components by EM, which stays as it is. The betas minimise the
cross-entropy of its silhouettes plus `DEPTH_WEIGHT` times its relative depth error, against exact rays. Every second
mesh is held out. Prints a table; the lengths are in scales (3 x mean standard deviation of the surface).
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import minimize

from fm_render import BLENDINGS, FiveBetas, Mixture, Settings, TwoBetas, render
from fmb.files.meshes import read_mesh
from fmb.fit.losses import relative_depth_loss, silhouette_cross_entropy
from fmb.geometry.cameras import pinhole_intrinsics, random_cameras
from fmb.geometry.frames import canonical_frame
from fmb.geometry.ground_truth import render_ground_truth
from fmb.geometry.metrics import cross_entropy, depth_mae, iou
from fmb.geometry.views import Pixels, Views, flatten_views
from fmb.shape.options import ModelOptions
from fmb.shape.start import start_mixture

DEPTH_WEIGHT = 100.0  # a relative error of 3 % of the distance then counts as a cross-entropy of 0.09
DISTANCE, VFOV_DEGREES = 3.0, 45.0
STEPS = 60  # of L-BFGS


class Example(NamedTuple):
    """A mixture and what the mesh it came from looks like, in the canonical frame."""

    mixture: Mixture
    pixels: Pixels


class Score(NamedTuple):
    """Means over examples."""

    cross_entropy: float
    iou: float
    depth_error: float


def example(path: Path, seed: int, views: int, size: int) -> Example:
    """Mixture and views of one mesh file."""
    mesh = read_mesh(path)
    mesh = canonical_frame(mesh).mesh_to_canonical(mesh)
    start = start_mixture(mesh, ModelOptions(), seed)
    intrinsics = pinhole_intrinsics(size, size, VFOV_DEGREES)
    cameras = random_cameras(np.random.default_rng(seed), views, DISTANCE, intrinsics)
    truth = render_ground_truth(mesh, cameras, (size, size), "raycast").views
    return Example(start.mixture, _single(flatten_views(Views(cameras, truth.silhouette, truth.depth))))


def loss(settings: Settings, shown: Example) -> Array:
    """Cross-entropy of the silhouette and weighted relative depth error of one example."""
    image = render(shown.mixture, shown.pixels.rays, 1.0, ("density", "depth"), settings)
    silhouette = silhouette_cross_entropy(image.density, shown.pixels.silhouette)
    return silhouette + DEPTH_WEIGHT * relative_depth_loss(image.depth, shown.pixels.depth)


def fit(blending: str, start: TwoBetas | FiveBetas, examples: list[Example]) -> TwoBetas | FiveBetas:
    """The betas that minimise the mean loss; all but the offset stay positive, as they are fitted in logs."""
    logs = np.array([name != "offset" for name in start._fields])

    def unpack(vector: Array) -> TwoBetas | FiveBetas:
        return type(start)(*jnp.where(logs, jnp.exp(jnp.where(logs, vector, 0.0)), vector))

    @jax.jit
    def slope(vector: Array, shown: Example) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda x: loss(Settings(blending=blending, betas=unpack(x)), shown))(vector)

    def total(vector: np.ndarray) -> tuple[float, np.ndarray]:
        parts = [slope(jnp.asarray(vector, jnp.float32), shown) for shown in examples]
        return float(np.mean([p[0] for p in parts])), np.mean([np.asarray(p[1], float) for p in parts], axis=0)

    first = np.where(logs, np.log(np.where(logs, start, 1.0)), start)
    found = minimize(total, first, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return type(start)(*(float(x) for x in unpack(jnp.asarray(found.x, jnp.float32))))


def score(settings: Settings, examples: list[Example]) -> Score:
    """How good the images are, as the project's metrics say."""
    draw: Callable = jax.jit(partial(render, scale=1.0, settings=settings))
    rows = []
    for mixture, pixels in examples:
        image = draw(mixture, pixels.rays)
        depth = depth_mae(image.depth, pixels.depth, image.alpha)
        rows.append((cross_entropy(image.alpha, pixels.silhouette), iou(image.alpha, pixels.silhouette), depth))
    return Score(*(float(x) for x in np.mean(rows, axis=0)))


def main() -> None:
    """Reads, fits, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of meshes, *.ply; *_hi.ply are left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of mixtures and cameras")
    parser.add_argument("--views", type=int, default=6, help="of each mesh")
    parser.add_argument("--size", type=int, default=48, help="of an image in pixels")
    options = parser.parse_args()
    paths = sorted(path for path in options.models.glob("*.ply") if not path.stem.endswith("_hi"))
    if len(paths) < 2:
        parser.error(f"--models {options.models}: {len(paths)} meshes, at least 2 are needed")
    fitted, held_out = (
        [example(path, seed, options.views, options.size) for path in part for seed in options.seeds]
        for part in (paths[::2], paths[1::2])
    )
    print("fitted:", *(path.stem for path in paths[::2]), "held out:", *(path.stem for path in paths[1::2]))
    betas = {
        name: (BLENDINGS[name][2], fit(name, BLENDINGS[name][2], fitted)) for name in BLENDINGS if name != "sorted"
    }
    columns = [f"{part} {field}" for part in ("fitted", "held out") for field in Score._fields]
    print("| blend | betas |", *(f"{column} |" for column in columns))
    for name in BLENDINGS:
        for kind, chosen in zip(("default", "fitted"), betas.get(name, ((),)), strict=False):
            settings = Settings(blending=name, betas=chosen)
            numbers = [*score(settings, fitted), *score(settings, held_out)]
            text = ", ".join(f"{beta:.4g}" for beta in chosen)
            print(f"| {name} ({kind}) | {text} |", *(f"{number:.4f} |" for number in numbers))


def _single(pixels: Pixels) -> Pixels:
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), pixels)


if __name__ == "__main__":
    main()
