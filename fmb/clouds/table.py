"""The methods of task `points`. One that fits a network is a line in LOSSES, any other a line here."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from fmb.clouds.blobs import field_of_blobs, fit_blobs
from fmb.clouds.completion import field_of_completion, fit_completion
from fmb.clouds.methods import LOSSES
from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import State, field_of, fit_network
from fmb.fields.field import Field


class Method(NamedTuple):
    """`fit` takes normalised points, normals or None, options, a generator, hooks and evidence.

    `field` takes the arrays of a checkpoint, `reads` names the options, and a fit that `resumes` goes on from one.
    """

    fit: Callable[..., State]
    field: Callable[[Mapping[str, np.ndarray], PointsOptions], Field]
    reads: tuple[str, ...]
    resumes: bool


OF_NETWORKS = ("preset", "num_steps", "network_width", "network_depth", "activation", "points_per_step", "points_rate")
OF_NETWORKS += ("eikonal_weight", "save_every", "smooth")
OF_ALL = ("points_method", "reference_mesh", "surface_resolution", "sample_points", "thinnest_handle")


METHODS: dict[str, Method] = {
    "metaballs": Method(fit_blobs, field_of_blobs, ("components", "group", "use_normals"), False),
    "latent": Method(fit_completion, field_of_completion, ("latent_space", "turned"), False),
    **{name: Method(fit_network, field_of, (*OF_NETWORKS, *loss.reads), True) for name, loss in LOSSES.items()},
}
