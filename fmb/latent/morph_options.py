"""Options of a morph: from where, to where, by which loss."""

from dataclasses import dataclass

from fmb.options import NONE, option


@dataclass(frozen=True)
class MorphOptions:
    """A morph: a shape that changes until a loss on the vertices of its surface is least."""

    source: str = option(NONE, "Shape of the space to start from (none: the first, or the mixture of --model-file)")
    target: str = option(NONE, "Shape of the space to reach, or a mesh file")
    loss: str = option(
        "silhouettes",
        "Loss on vertices: silhouettes, spots, fuzzy, chamfer, points, normals, volume or FILE.py:name",
    )
    morph_views: int = option(4, "Number of views of the target, if it is a mesh", at_least=1, at_most=1000)
    morph_steps: int = option(100, "Steps of the morph", at_least=1, at_most=100_000)
    morph_rate: float = option(0.1, "Largest learning rate of the code", above=0, at_most=10)
    morph_cells: int = option(40, "Grid cells along the side of the box while it morphs", at_least=16, at_most=512)
    morph_starts: int = option(
        0, "Number of starts tried: the source and random codes (0: 1, or 5 with one view)", at_least=0, at_most=1000
    )
    iso_level: float = option(0.0, "Value of the field on the surface, in longest sides", at_least=-0.2, at_most=0.2)
