"""Run by test_recipe in a process of its own: a training on one device of the CPU, and shared out over two."""

from dataclasses import replace

import jax
import numpy as np

from fmb.fit.checkpoints import named
from fmb.single_view.layout import layout_of
from fmb.single_view.options import EncoderOptions
from fmb.single_view.recipe import Hooks, State, train
from fmb.single_view.sights import family_sights

OPTIONS = EncoderOptions(
    encoder_size=16, encoder_width=4, encoder_features=8, encoder_components=3, encoder_batch=4, encoder_steps=3,
    mean_shapes=2, camera_hypotheses=2, encoder_alignments=1,
)  # fmt: skip


def main() -> None:
    """Prints what the test reads."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    sights, found = family_sights(("car",), range(2), 2, 16, 0).sights, []
    for devices in (1, 2):
        kept: list[State] = []
        train(sights, OPTIONS, layout_of(OPTIONS), np.random.default_rng(0), Hooks(save=kept.append), devices)
        found.append((named(kept[-1].encoder), kept[-1].history["loss"]))
    (one, loss), (two, _) = found
    print("APART", max(float(np.abs(np.asarray(one[name]) - np.asarray(two[name])).max(initial=0.0)) for name in one))
    print("LOSS", *loss)
    odd = replace(OPTIONS, encoder_batch=3)
    try:
        train(sights, odd, layout_of(odd), np.random.default_rng(0), devices=2)
    except ValueError as error:
        print("REFUSED", error)


if __name__ == "__main__":
    main()
