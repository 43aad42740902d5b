"""Options of the mixture, its start and its fit."""

from dataclasses import dataclass

from fmb.options import option


@dataclass(frozen=True)
class ModelOptions:
    """The mixture and its start."""

    num_mixtures: int = option(40, "components of the mixture", at_least=1, at_most=100_000)
    init: str = option(
        "auto",
        "start; auto is volume_gmm, of mesh or hull",
        choices=("auto", "volume_gmm", "surface_gmm", "sphere"),
    )
    gmm_points: int = option(20_000, "points of the mesh that a GMM start is fitted to", at_least=10, at_most=10**7)
    gmm_init_scale: float = option(1.0, "factor on the weights of the start", above=0, at_most=1000)
    rand_sphere_size: float = option(
        30.0, "precision of a sphere start: larger means smaller blobs", above=0, at_most=1e6
    )


@dataclass(frozen=True)
class OptimizationOptions:
    """The fit of the mixture to the silhouettes."""

    recipe: str = option(
        "best",
        "way to fit; predecessor is the released one, with numbers of its own",
        choices=("best", "predecessor"),
    )
    num_epochs: int = option(
        100, "passes over the rays: all near an outline, a quarter of the others", at_least=1, at_most=100_000
    )
    batch_size: int = option(2048, "rays of one step", at_least=1, at_most=10**7)
    initial_lr: float = option(0.06, "largest learning rate of Adam", above=0, at_most=10)
    schedule: str = option(
        "cosine", "course of the learning rate", choices=("cosine", "one_cycle", "plateau", "constant")
    )
    early_stop: bool = option(True, "end sooner once the loss has stalled")
    opt_shape_scale: float = option(
        2.2, "scale of the object while it is fitted; matters to recipe predecessor alone", above=0, at_most=1000
    )
    depth_weight: float = option(
        0.0, "of depth errors, in object scales, beside silhouettes'; convert takes 3 for 0", at_least=0, at_most=1000
    )
    point_weight: float = option(
        0.0, "of how far given points of the surface are off it, likewise; needs points", at_least=0, at_most=1000
    )


# What recipe "predecessor" uses, whatever config.yaml says; flags that say otherwise are refused.
RELEASED = {"num_epochs": 10, "batch_size": 800, "initial_lr": 0.1, "schedule": "plateau", "early_stop": True}
