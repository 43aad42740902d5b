"""What tasks share: lines on the screen, what follows a fit, the model as a file."""

import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fm_render import Mixture, Settings
from fmb import machine
from fmb.config import AUTO, Config
from fmb.fields.looks import look, measure
from fmb.files.media import ffmpeg_program
from fmb.fit.history import History
from fmb.geometry.cameras import Cameras
from fmb.geometry.views import Views
from fmb.machine import tell
from fmb.options import NONE
from fmb.pictures.film import Recorder
from fmb.pictures.live import LiveView
from fmb.shape.recipe import ShapeFit
from fmb.whole import METRICS, read_record

VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "trimesh", "pyrender", "embreex", "matplotlib")


KEPT = "no state of the fit was better than its start, which is kept"
POSE_RECORDS = ("pose.json", "bop_errors.json")  # a folder of poses has one or the other, see `whole_folder`
RECORDS = {METRICS: None, **dict.fromkeys(POSE_RECORDS, "pose")}  # of runs, and whose they are where they do not say
RESULTS = Path("output")
ADDING = ("export", "doctor")  # tasks that replace no results of others
AT_TOP = ("shape", *ADDING)  # tasks that write there; each of the others into a folder of its name in it


def task_folder(config: Config) -> Path:
    """Where the task writes: the folder that --output-dir names, else one of its own, so that no two tasks meet.

    Raises ValueError where the results of another task lie there, which would be replaced.
    """
    if config.io.output_dir == AUTO:
        return RESULTS / (config.task if config.task not in AT_TOP else "")
    folder = Path(config.io.output_dir)
    for name, task in RECORDS.items():
        found = read_record(folder / name).get("task", task) if (folder / name).is_file() else None
        if found is not None and config.task not in (found, *ADDING):
            raise ValueError(f"{folder}: holds the results of task {found}; choose another --output-dir")
    return folder


def check_before(config: Config, folder: Path) -> None:
    """Raises ValueError for what would fail, or harm, only after the work.

    That is where results in the folder would replace what they are made from, and where there is no ffmpeg for a film.
    """
    data, place = config.capture.data, os.path.realpath(folder)
    if data != NONE and os.path.realpath(data) == place:
        raise ValueError(f"--output-dir {folder}: is the data set's own folder, whose cameras.json would be replaced")
    results = [
        os.path.join(place, name)
        for name in (f"mesh.{config.export.mesh}", "splats.ply", "aligned.ply", "symmetric.ply")
    ]
    sources = [config.io.mesh_file if data == NONE else NONE, config.io.model_file]
    others = config.io.cloud_file, config.cloud.reference_mesh, config.io.shape_file, config.io.reference_file
    for source in [*sources, *others, config.template.template_mesh]:
        if source != NONE and os.path.realpath(source) in results:
            raise ValueError(f"{source}: would be replaced by a result of the same name; choose another --output-dir")
    for name in ("film", "turntable"):
        if getattr(config.export, name) == "mp4" and (name != "film" or config.task in ("shape", "train-encoder")):
            ffmpeg_program(f"--{name} mp4")


def circumstances(config: Config) -> dict[str, Any]:
    """What else a result should tell of how it was made."""
    versions = {name: version(name) for name in VERSIONS}
    return {"num_mixtures": config.model.num_mixtures, "recipe": config.optimization.recipe, "versions": versions}


class Followers:
    """Whoever looks on while a fit runs, called after each chunk: progress bar, unseen views, recorder, live page."""

    def __init__(
        self,
        config: Config,
        views: dict[str, Views],
        settings: Settings = Settings(),
        start: Mixture | None = None,
    ):
        self.start = start  # the first picture of a film
        self.loss = None  # the last that was told
        self.config, self.train, self.recorder, self.bar = config, views["train"], Recorder(), None
        self.stack, self.bars = ExitStack(), ExitStack()
        self.bystander = Bystander(views["novel"], settings) if "novel" in views else None

    def __enter__(self) -> "Followers":
        """Raises ValueError where the live page is asked for and cannot be."""
        self.live = self.stack.enter_context(LiveView(self.train)) if self.config.view else None
        if self.live is not None:
            tell(f"the fit can be watched at {self.live.address}")
        return self

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """`mixture` is the state after `step` of `total` steps, in the frame of the views."""
        if self.bar is None:
            self.bar = self.bars.enter_context(machine.progress_bar("fit"))
        self.bar(step, total, loss)
        self.loss = loss
        if self.start is not None and self.config.export.film != NONE:
            self.recorder(0, total, math.nan, self.start)
            self.start = None
        self._show(step, total, loss, mixture)

    def on_round(self, rounds: int) -> Callable[[int, Mixture, Cameras], None]:
        """What to call after each round of shape and cameras: the bar, the recorder and the page see it."""

        def see(number: int, mixture: Mixture, cameras: Cameras) -> None:
            if self.bar is None:
                self.bar = self.bars.enter_context(machine.progress_bar("rounds"))
            self.bar(number + 1, rounds + 1, math.nan)
            self._show(number + 1, rounds + 1, math.nan, mixture, unseen=False)

        return see

    def finish(self, fit: ShapeFit) -> None:
        """Shows the end of the fit, which may be another state than the last that was seen."""
        self.bars.close()
        steps = len(fit.history.step)
        loss = float(fit.history.loss[-1]) if self.loss is None else self.loss
        self._show(steps, steps, loss, fit.mixture, unseen=False)

    def _show(self, step: int, total: int, loss: float, mixture: Mixture, unseen: bool = True) -> None:
        if unseen and self.bystander is not None:
            self.bystander(step, total, loss, mixture)
        if self.config.export.film != NONE:
            self.recorder(step, total, loss, mixture)
        if self.live is not None:
            self.live.update(step, total, loss, mixture)

    def filled(self, history: History, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> History:
        """The history with the loss on unseen views, where there are some; errors before and after are those told."""
        if self.bystander is None:
            return history
        known = [errors["novel"]["cross_entropy"] if errors else np.nan for errors in (before, after)]
        return self.bystander.fill(history, known[0], known[1])

    def wait(self) -> None:
        """Leaves the live page open, if there is one, until the keyboard interrupts."""
        if self.live is not None:
            tell(f"the result stays at {self.live.address} until Ctrl-C")
            self.live.wait()

    def __exit__(self, *reason: Any) -> None:
        self.bars.close()
        self.stack.close()


class Bystander:
    """Looks on while a fit runs, and measures it now and then on all views that it does not see.

    To be called after each chunk of steps. Of 32 views of 64 x 64 pixels that takes a tenth of the fit's time; at
    larger ones it looks less often.
    """

    LOOKS, MOST_PIXELS = 5, 4_000_000  # how often before the end, and how many pixels all looks may take

    def __init__(self, views: Views, settings: Settings = Settings()):
        self.views, self.settings = views._replace(depth=None), settings
        self.looks = min(self.LOOKS, self.MOST_PIXELS // views.silhouette.size)
        self.loss: dict[int, float] = {}
        self.last = 0

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """Measures this state of the fit if it is time to."""
        if step < self.last:  # another fit has begun
            self.loss.clear()
        self.last = step
        if step < total and step * (self.looks + 1) >= total * (len(self.loss) + 1):
            images = look(mixture, self.views.cameras, self.views.silhouette.shape[1:], self.settings)
            self.loss[step] = measure(images, self.views, 1.0)["cross_entropy"]

    def fill(self, history: History, before: float, after: float) -> History:
        """The history with the losses on unseen views, NaN where none was measured; the first and last are told."""
        novel = np.full(len(history.step), np.nan)
        for step, loss in self.loss.items():
            novel[min(step, len(novel)) - 1] = loss
        novel[0], novel[-1] = before, after
        return history._replace(novel_loss=novel)
