"""Options of the loop that fits."""

from dataclasses import dataclass

from fmb.options import option


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast; decays are Adam's of the squared gradient and the average's of the parameters."""

    num_epochs: int = option(
        100,
        "Passes over the rays (each takes all rays near an outline and a quarter of the others)",
        at_least=1,
        at_most=100_000,
    )
    batch_size: int = option(2048, "Rays in one step", at_least=1, at_most=10**7)
    initial_lr: float = option(0.06, "Largest learning rate of Adam", above=0, at_most=10)
    schedule: str = option(
        "cosine", "How the learning rate changes over the fit", choices=("cosine", "one_cycle", "plateau", "constant")
    )
    fit_devices: int = option(
        1,
        "Devices that the rays or images of each step are spread over (0: all, of all hosts)",
        at_least=0,
        at_most=100_000,
    )
    early_stop: bool = option(True, "Stop early once the loss no longer falls")
    square_decay: float = 0.999
    average_decay: float = 0.0
