"""The number of components where `num_mixtures` leaves it to the data."""

from dataclasses import replace
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from fm_render import Mixture
from fmb.config import Config
from fmb.geometry.views import Views
from fmb.machine import tell
from fmb.shape.count import LAST, Choice, choose_count
from fmb.shape.options import COUNTED, OptimizationOptions
from fmb.shape.start import start_mixture
from fmb.shape.symmetry_fit import Aim


def with_count(
    config: Config,
    options: OptimizationOptions,
    views: Views,
    mesh: trimesh.Trimesh | None,
    inside: Float[np.ndarray, "point 3"] | None = None,
    point: Float[np.ndarray, "point 3"] | None = None,
) -> tuple[Config, dict[str, Any]]:
    """The config with the number of components that suits the views, and what there is to tell of it.

    `options` are those of the fit, `mesh`, `inside` and `point` what its start and its surface come from. Where the
    config names a number it stays, and nothing is told. Random numbers are those of a stream of their own: the fit is
    the same, bit for bit, as with that number given.
    """
    if config.model.num_mixtures != COUNTED:
        return config, {}

    def numbered(count: int) -> Config:
        return replace(config, model=replace(config.model, num_mixtures=count))

    def start_of(count: int) -> Mixture:
        made = start_mixture(mesh, numbered(count).model, config.random_seed, options.recipe, inside)
        return made.mixture

    aim = Aim(views, options, np.random.default_rng(config.random_seed).spawn(3)[2], point)
    most = LAST if config.model.init == "sphere" else min(LAST, config.model.gmm_points)
    choice: Choice = choose_count(start_of, aim, most)
    tell(choice.words)
    return numbered(choice.count), {"num_mixtures_auto": choice.record()}
