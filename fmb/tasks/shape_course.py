"""What lets task `shape` go on after an interruption: what its fit depends on, and where its states are kept."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax

from fm_render import Mixture
from fmb.config import Config
from fmb.fit.checkpoints import data_digest
from fmb.geometry.views import Views
from fmb.options import NONE
from fmb.shape.streaming import ViewStream
from fmb.tasks.shell import task_folder
from fmb.tasks.unfinished import Unfinished

SECTIONS = ("model", "optimization")  # whose options the fit itself sees; all else shows in the views


def check_resume(config: Config) -> None:
    """Raises ValueError for --resume with fits that are several in turn."""
    for name, value, needed in (
        ("symmetry", config.model.symmetry, NONE),
        ("refine_cameras", config.capture.refine_cameras, False),
        ("coordinator", config.cluster.coordinator, NONE),
    ):
        if config.resume and value != needed:
            raise ValueError(f"{name} is {str(value).lower()}; --resume needs {str(needed).lower()}")


def unfinished_shape(config: Config, record: Mapping[str, Any]) -> Unfinished:
    """Where the states of the fit of that record are kept: nowhere before it has gone on for some seconds."""
    return Unfinished(task_folder(config), record, late=True)


def record_of(config: Config, start: Mixture, views: Views, stream: ViewStream | None) -> Mapping[str, Any]:
    """All that the fit depends on: a run that goes on must be given the same."""
    seen = views._replace(color=None) if stream is None else (stream.cameras, stream.census)
    data = data_digest(jax.tree.leaves((start, seen)))
    options = {name: value for part in SECTIONS for name, value in asdict(getattr(config, part)).items()}
    streamed = "never" if stream is None else "always"  # what auto came to
    return {**options, "random_seed": config.random_seed, "stream_views": streamed, "data": data}
