"""Time and peak memory of one size, in a process that does nothing else; started by growth.py.

    python -m benchmarks.render.growth_process SCENE.npz METHOD COMPONENTS SIDE SECONDS

Prints a line of JSON. What the process holds beside the renderer (Python, JAX, the scene) is "idle".
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import alone, peak_memory
from benchmarks.render.methods import METHODS, Scene
from fm_render import Mixture
from fmb.geometry.cameras import Cameras, pixel_rays


def main(file: str, name: str, components: int, side: int, seconds: float) -> None:
    """Times the silhouette loss, then its gradient, and reads the peak after each."""
    with np.load(file) as arrays:
        mixture = Mixture(*(jnp.asarray(arrays[f"{field}_{components}"]) for field in Mixture._fields))
        cameras = Cameras(jnp.asarray(arrays["world_from_camera"]), jnp.asarray(arrays[f"intrinsics_{side}"]))
        silhouette = jnp.asarray(arrays[f"silhouette_{side}"])
    rays = jax.tree.map(lambda x: x.reshape(-1, 3), pixel_rays(cameras, side, side))
    scene, method = Scene(cameras, rays, silhouette), METHODS[name]
    jax.block_until_ready(scene)
    found = {"idle_mebibytes": peak_memory()}
    for kind, function in (("forward", method.loss), ("both", method.gradient)):
        timing, _ = alone(function, (mixture, scene), seconds)
        found |= {f"{kind}_milliseconds": timing.minimum, f"{kind}_mebibytes": peak_memory()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:5]), float(sys.argv[5]))
