"""Options of a search for options."""

from dataclasses import dataclass

from fmb.options import option


@dataclass(frozen=True)
class TuneOptions:
    """A search for better options: task tune."""

    tune_keys: str = option(
        "initial_lr=0.01:0.2:log batch_size=512:4096:log",
        "To try: A=LOW:HIGH, A=LOW:HIGH:log, A=ONE|OTHER",
    )
    trials: int = option(20, "Number of trials, with those of an earlier run", at_least=1, at_most=100_000)
    tune_error: str = option(
        "cross_entropy", "What is to be small on unseen views", choices=("cross_entropy", "iou", "depth_mae")
    )
    most_seconds: float = option(0.0, "Most seconds of a fit that best.yaml may take (0: any)", at_least=0, at_most=1e6)
