"""Time and peak memory of one size, in a process that does nothing else; started by growth.py.

    python -m benchmarks.render.growth_process SCENE.npz COMPONENTS RAYS SECONDS

Prints a line of JSON. What the process holds beside the renderer (Python, JAX, the rays) is "idle".
"""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import interleaved, peak_memory
from benchmarks.render.cases import Batch, mixture_gradient, silhouette_loss
from fm_render import Mixture, Rays, render

LONG = 10**8  # pairs from which one call is enough, and nobody waits for a second


def main(scene: str, components: int, rays: int, seconds: float) -> None:
    """Times the silhouette loss, then its gradient, and reads the peak after each."""
    with np.load(scene) as arrays:
        mixture = Mixture(*(jnp.asarray(arrays[f"{name}_{components}"]) for name in Mixture._fields))
        origin, direction, silhouette = (
            jnp.asarray(arrays[name][:rays]) for name in ("origin", "direction", "silhouette")
        )
    batch = Batch(Rays(origin, direction), silhouette, silhouette)
    jax.block_until_ready(batch)
    found = {"idle_mebibytes": peak_memory()}
    once = components * rays >= LONG
    repeat = {"seconds": 0.0 if once else seconds, "fewest": 1 if once else 3, "warm": 0 if once else 1}
    for name, function in (("forward", silhouette_loss), ("both", mixture_gradient)):
        timing = interleaved({name: partial(function, render)}, (mixture, batch), **repeat)[name]
        found |= {f"{name}_milliseconds": timing.median, f"{name}_mebibytes": peak_memory()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
