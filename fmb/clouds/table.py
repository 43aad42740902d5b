"""The methods of task `points`. A new one that fits a network is a line in LOSSES, any other a line here."""

from collections.abc import Callable

from fmb.clouds.methods import LOSSES
from fmb.clouds.recipe import State, fit_network

# Each takes normalised points, their normals or None, options, a generator and hooks.
METHODS: dict[str, Callable[..., State]] = dict.fromkeys(LOSSES, fit_network)
