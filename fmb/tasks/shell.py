"""What tasks share: lines on the screen, what follows a fit, the model as a file."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import util
from fm_render import Mixture
from fmb.cameras import Cameras
from fmb.evaluation import Bystander
from fmb.mixture import in_double
from fmb.options import NONE, Config
from fmb.shape import ShapeFit
from fmb.sheets import History
from fmb.show.film import Recorder
from fmb.show.live import LiveView
from fmb.views import Views
from fmb.writers.assets import Subject

VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "trimesh", "pyrender", "embreex", "matplotlib")


def say(*lines: str) -> None:
    """Prints the lines that say something."""
    for line in filter(None, lines):
        print(line, flush=True)


def task_folder(config: Config) -> Path:
    """Where a task beside shape writes: a folder of its own name, so that it meets no other task's results."""
    return Path(config.io.output_dir) / config.task


def circumstances(config: Config) -> dict[str, Any]:
    """What else a result should tell of how it was made."""
    versions = {name: version(name) for name in VERSIONS}
    return {"num_mixtures": config.model.num_mixtures, "recipe": config.optimization.recipe, "versions": versions}


class Followers:
    """Whoever looks on while a fit runs, called after each chunk: progress bar, unseen views, recorder, live page."""

    def __init__(self, config: Config, views: dict[str, Views]):
        self.config, self.train, self.recorder, self.bar = config, views["train"], Recorder(), None
        self.stack, self.bars = ExitStack(), ExitStack()
        self.bystander = Bystander(views["novel"]) if "novel" in views else None

    def __enter__(self) -> "Followers":
        """Raises ValueError where the live page is asked for and cannot be."""
        self.live = self.stack.enter_context(LiveView(self.train)) if self.config.view else None
        if self.live is not None:
            say(f"the fit can be watched at {self.live.address}")
        return self

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """`mixture` is the state after `step` of `total` steps, in the frame of the views."""
        if self.bar is None:
            self.bar = self.bars.enter_context(util.progress_bar("fit"))
        self.bar(step, total, loss)
        self._show(step, total, loss, mixture)

    def on_round(self, rounds: int) -> Callable[[int, Mixture, Cameras], None]:
        """What to call after each round of shape and cameras: the bar, the recorder and the page see it."""

        def see(number: int, mixture: Mixture, cameras: Cameras) -> None:
            if self.bar is None:
                self.bar = self.bars.enter_context(util.progress_bar("rounds"))
            self.bar(number + 1, rounds + 1, math.nan)
            self._show(number + 1, rounds + 1, math.nan, mixture, unseen=False)

        return see

    def finish(self, fit: ShapeFit) -> None:
        """Shows the end of the fit, which may be another state than the last that was seen."""
        self.bars.close()
        steps = len(fit.history.step)
        self._show(steps, steps, float(fit.history.loss[-1]), fit.mixture)

    def _show(self, step: int, total: int, loss: float, mixture: Mixture, unseen: bool = True) -> None:
        if unseen and self.bystander is not None:
            self.bystander(step, total, loss, mixture)
        if self.config.export.film != NONE:
            self.recorder(step, total, loss, mixture)
        if self.live is not None:
            self.live.update(step, total, loss, mixture)

    def filled(self, history: History) -> History:
        """The history with the loss on unseen views, where there are some."""
        return history if self.bystander is None else self.bystander.fill(history)

    def wait(self) -> None:
        """Leaves the live page open, if there is one, until the keyboard interrupts."""
        if self.live is not None:
            say(f"the result stays at {self.live.address} until Ctrl-C")
            self.live.wait()

    def __exit__(self, *reason: Any) -> None:
        self.bars.close()
        self.stack.close()


def write_mixture(path: Path, subject: Subject, facts: dict[str, Any]) -> Path:
    """Writes the mixture, in the input's frame and unit, with its colours and what there is to tell of it."""
    mixture = subject.frame.mixture_to_world(in_double(subject.mixture))
    color = None if subject.color is None else np.asarray(subject.color, float)
    return util.write_model(path, *mixture, facts, color)
