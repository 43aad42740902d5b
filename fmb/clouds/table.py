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
    """`fit` takes normalised points, normals or None, options, a generator and hooks; `field` a checkpoint's arrays."""

    fit: Callable[..., State]
    field: Callable[[Mapping[str, np.ndarray], PointsOptions], Field]


METHODS: dict[str, Method] = {
    "metaballs": Method(fit_blobs, field_of_blobs),
    "latent": Method(fit_completion, field_of_completion),
    **{name: Method(fit_network, field_of) for name in LOSSES},
}
