"""Options of the encoder from one image, of its training, and of a prediction."""

from dataclasses import dataclass

from fmb.options import NONE, option

MIRRORED = "plane"
FAMILY_NAMES = ("animal", "car", "chair", "plane")


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder and its training."""

    families: str = option("all", "Families of shapes to make and learn from", choices=("all", *FAMILY_NAMES))
    family_shapes: int = option(600, "Shapes made of each family", at_least=1, at_most=10**6)
    shape_views: int = option(4, "Views drawn of each shape", at_least=2, at_most=1000)
    save_sights: bool = option(False, "Write the training images as sights.npz, which train-encoder reads again")
    encoder_size: int = option(64, "Pixels along a side of the input; a multiple of 16", at_least=16, at_most=256)
    encoder_width: int = option(
        24, "Channels of the first of four stages; the last has four times as many", 4, None, 256
    )
    encoder_features: int = option(160, "Numbers between the image and what is predicted", at_least=4, at_most=4096)
    encoder_components: int = option(
        32, "Components predicted; with a mirror as many come on its other side", at_least=1, at_most=1024
    )
    mean_shapes: int = option(4, "Learnt mean shapes, of which a prediction mixes its start", at_least=1, at_most=64)
    camera_hypotheses: int = option(4, "Cameras predicted for one image", at_least=1, at_most=64)
    encoder_symmetry: str = option(MIRRORED, "Symmetry of what is predicted", choices=(MIRRORED, NONE))
    encoder_split: bool = option(False, "Cut each component in two, in a way learnt once for all images")
    encoder_alignments: int = option(
        2, "Times that components are moved by what the image shows where they lie", at_least=0, at_most=8
    )
    encoder_start: str = option(NONE, "Encoder that the training starts from, of the same sizes (none: a random one)")
    encoder_steps: int = option(9000, "Steps of the training", at_least=1, at_most=10**8)
    encoder_batch: int = option(16, "Images in one step", at_least=1, at_most=65536)
    encoder_rate: float = option(1.5e-3, "Largest learning rate of the training", above=0, at_most=1)
    encoder_color_weight: float = option(1.0, "Weight of the squared error of colours", at_least=0, at_most=1e3)
    encoder_depth_weight: float = option(1.0, "Weight of the error of depths, in radii", at_least=0, at_most=1e3)
    camera_weight: float = option(0.3, "Weight of the camera's error", at_least=0, at_most=1e3)
    deformation_weight: float = option(0.003, "Weight of the squared deformation", at_least=0, at_most=1e3)


@dataclass(frozen=True)
class PredictionOptions:
    """A shape from one image."""

    encoder: str = option("data/encoder.npz", "Encoder that task train-encoder has written")
    refine_epochs: int = option(
        0,
        "Epochs in which the prediction is fitted to its own silhouette (0: as predicted)",
        at_least=0,
        at_most=10_000,
    )
    split_components: bool = option(
        False,
        "Cut each predicted component in two along its longest axis before that fit",
    )
    texture: int = option(
        0,
        "Pixels along a side of the texture of textured.glb and textured.obj (0: none; needs the extra texture)",
        at_least=0,
        at_most=8192,
    )
