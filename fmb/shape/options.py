"""Options of the mixture, its start and its fit."""

from dataclasses import dataclass

from fmb.fit.options import FitOptions
from fmb.geometry.options import SYMMETRIES
from fmb.options import option, worded

AUTO = "auto"
COUNTED = 0  # in place of a number of components: the data tell


@dataclass(frozen=True)
class ModelOptions:
    """The mixture and its start."""

    num_mixtures: int = worded(
        option(40, "Number of Gaussians in the mixture (auto: from rays held back)", at_least=1, at_most=100_000),
        AUTO,
        COUNTED,
    )
    symmetry: str = option(
        SYMMETRIES[0],
        "Its symmetry (auto: found)",
        choices=(AUTO, *SYMMETRIES),
    )
    init: str = option(
        "auto",
        "How the mixture starts (auto: volume_gmm)",
        choices=("auto", "volume_gmm", "surface_gmm", "sphere"),
    )
    gmm_points: int = option(20_000, "Number of points that a GMM start is fitted to", at_least=10, at_most=10**7)
    gmm_init_scale: float = option(1.0, "Factor on the weights of the start", above=0, at_most=1000)
    rand_sphere_size: float = option(
        30.0, "Precision of the balls of a sphere start; larger means smaller balls", above=0, at_most=1e6
    )


@dataclass(frozen=True)
class OptimizationOptions(FitOptions):
    """The fit of the mixture to the silhouettes."""

    recipe: str = option(
        "best",
        "How to fit; predecessor repeats the released program with its own settings",
        choices=("best", "predecessor"),
    )
    opt_shape_scale: float = option(
        2.2, "Scale of the object during the fit; only recipe predecessor depends on it", above=0, at_most=1000
    )
    depth_weight: float = option(
        0.0,
        "Weight of the depth error, in object scales (0: silhouettes only; convert then takes 3)",
        at_least=0,
        at_most=1000,
    )
    point_weight: float = option(
        0.0,
        "Weight of the distance of given points from the surface, in object scales (0: none)",
        at_least=0,
        at_most=1000,
    )
    teachers: int = option(
        0,
        "Fits from other starts that teach the fit where views are few (0: none)",
        at_least=0,
        at_most=100,
    )
    square_decay: float = 0.99
    average_decay: float = 0.98


# What recipe "predecessor" uses, whatever config.yaml says; flags that say otherwise are refused.
RELEASED = {"num_epochs": 10, "batch_size": 800, "initial_lr": 0.1, "schedule": "plateau", "early_stop": True}
