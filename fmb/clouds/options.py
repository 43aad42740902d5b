"""Options of surfaces from points."""

from dataclasses import dataclass
from typing import Any

from fmb.options import NONE, option

AUTO = "auto"
METHOD_NAMES = ("metaballs", "diff_cd", "igr", "neural_pull", "siren", "latent")
PRESETS = ("fast", "quality", "paper")


@dataclass(frozen=True)
class PointsOptions:
    """A surface from points: what is fitted to them and for how long. Lengths are in longest sides of their box."""

    points_method: str = option(
        "metaballs",
        "What is fitted to points",
        choices=(*METHOD_NAMES, AUTO),
    )
    preset: str = option("fast", "Size of the network and number of steps", choices=PRESETS)
    reference_mesh: str = option(NONE, "Mesh to measure the result against, in the frame of the points")
    num_steps: int = option(0, "Steps of the fit of a network (0: the preset's)", at_least=0, at_most=10**7)
    network_width: int = option(0, "Width of the network's layers (0: the preset's)", at_least=0, at_most=4096)
    network_depth: int = option(0, "Number of hidden layers (0: the preset's)", at_least=0, at_most=64)
    activation: str = option(
        AUTO, "Activation of the network (auto: the preset's)", choices=(AUTO, "softplus", "relu", "elu", "sine")
    )
    points_per_step: int = option(0, "Points in one step (0: the preset's)", at_least=0, at_most=10**6)
    points_rate: float = option(0.0, "Largest learning rate of a network (0: the preset's)", at_least=0, at_most=1)
    distance: str = option(
        "implicit",
        "Distance of points: the field's value, or that of the closest point (slower)",
        choices=("implicit", "closest"),
    )
    eikonal_weight: float = option(
        -1.0, "Weight of slopes other than 1: more is smoother (-1: the method's)", at_least=-1, at_most=1e6
    )
    area_weight: float = option(-1.0, "Weight of the surface's area (-1: the method's)", at_least=-1, at_most=1e6)
    surface_weight: float = option(
        1.0, "diff_cd: weight of surface to points beside points to surface", at_least=0, at_most=1e6
    )
    body_weight: float = option(
        -1.0, "diff_cd: weight of places that are surely inside or outside (-1: 3)", at_least=-1, at_most=1e6
    )
    normal_weight: float = option(
        0.1, "Weight of slopes that differ from the points' normals, where these are used", at_least=0, at_most=1e6
    )
    save_every: int = option(0, "Steps between checkpoints (0: a twentieth of all)", at_least=0, at_most=10**7)
    surface_resolution: int = option(128, "Grid cells along the longest side", at_least=16, at_most=1024)
    sample_points: int = option(20_000, "Points taken where a mesh is given", at_least=100, at_most=10**7)
    smooth: bool = option(True, "Move noisy points to the surface that their neighbours lie about, for a network")
    use_normals: bool = option(False, "Use the points' normals where the file has some")
    turned: bool = option(False, "latent: the points may be turned in any way against the shapes of the space")
    thinnest_handle: float = option(
        -1.0,
        "Cut handles and fill holes where that moves the surface by less (-1: by the fit; 0: none)",
        at_least=-1,
        at_most=1,
    )
    components: int = 40  # of metaballs; the config names them num_mixtures
    group: str = "none"  # of metaballs, its symmetry; the config has it in the model's section
    latent_space: Any = None  # for latent: the fmb.fields.latent.Space that the folder `shapes` holds
