"""Options of a space of shapes."""

from dataclasses import dataclass

from fmb.options import option


@dataclass(frozen=True)
class SpaceOptions:
    """A space of shapes: the network that decodes codes, and its training. Lengths are in longest sides of a shape."""

    code_length: int = option(0, "Numbers in the code of a shape (0: 2 for two shapes, 16 for more)", 0, at_most=1024)
    decoder_width: int = option(128, "Width of the decoder's layers", at_least=1, at_most=4096)
    decoder_depth: int = option(4, "Number of its hidden layers", at_least=1, at_most=64)
    decoder_skip: int = option(
        0, "Hidden layer before which code and point enter again (0: none)", at_least=0, at_most=64
    )
    frequencies: int = option(1, "Octaves of the positional encoding", at_least=1, at_most=12)
    decoder_activation: str = option("sine", "Activation of the decoder", choices=("relu", "softplus", "elu", "sine"))
    decoder_output: str = option("linear", "Last function of the decoder", choices=("linear", "tanh"))
    clamp: float = option(0.1, "Signed distances are cut off at this length, predictions are not", above=0, at_most=2)
    code_weight: float = option(1e-4, "Weight of the mean length of the codes", at_least=0, at_most=1e3)
    mix_weight: float = option(
        0.5, "Weight of codes between two shapes, which should give the mean of both fields", at_least=0, at_most=1e3
    )
    learn_steps: int = option(0, "Steps of the training (0: by the number of shapes)", at_least=0, at_most=10**7)
    learn_points: int = option(4096, "Points in one step, of all shapes together", at_least=2, at_most=10**6)
    decoder_rate: float = option(1e-3, "Largest learning rate of the decoder", above=0, at_most=1)
    code_rate: float = option(1e-3, "Largest learning rate of the codes", above=0, at_most=1)
    learn_samples: int = option(
        60_000, "Signed distances sampled of each mesh, half of them inside", at_least=1000, at_most=10**7
    )
    learn_resolution: int = option(128, "Grid cells along the longest side of reconstructions", 16, at_most=1024)
    save_samples: bool = option(False, "Write the signed distances of every shape as .npz with pos and neg")
