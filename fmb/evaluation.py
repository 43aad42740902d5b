"""How a mixture looks from given cameras, and how well that agrees with what they saw."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from fm_render import Mixture, Settings, render
from fmb.cameras import Cameras, pixel_rays
from fmb.metrics import cross_entropy, depth_mae, iou
from fmb.sheets import History, Images
from fmb.views import Views, select_views

VISIBLE = 0.5  # alpha from which a pixel belongs to the object


@partial(jax.jit, static_argnums=2)
def _look_once(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int], settings: Settings):
    sight = render(mixture, pixel_rays(cameras, *image_size), settings=settings)
    return sight.alpha, sight.depth


def look(mixture: Mixture, cameras: Cameras, image_size: tuple[int, int], settings: Settings = Settings()) -> Images:
    """The mixture as the cameras see it, images of (height, width); in the canonical frame, view after view.

    Depth is smooth everywhere; see `shown` for where it means something.
    """
    cameras = jax.tree.map(partial(np.asarray, dtype=mixture.mean.dtype), cameras)
    count = len(cameras.intrinsics)
    each = (jax.tree.map(lambda x, i=i: x[i : i + 1], cameras) for i in range(count))
    seen = [_look_once(mixture, camera, image_size, settings) for camera in each]
    return Images(*(np.concatenate([np.asarray(image) for image in images]) for images in zip(*seen, strict=True)))


def shown(images: Images, unit: float) -> Images:
    """The images for a picture: depth times `unit`, and NaN where alpha is below VISIBLE.

    A start may be too thin to be visible anywhere; then half of its largest alpha is the bound.
    """
    bound = min(VISIBLE, float(images.alpha.max()) / 2)
    return images._replace(depth=np.where((images.alpha >= bound) & (images.alpha > 0), unit * images.depth, np.nan))


def measure(images: Images, views: Views, unit: float) -> dict[str, float]:
    """Errors of what is seen against the views; `unit` is the length of the views' unit in the one to report in."""
    errors = {
        "cross_entropy": cross_entropy(images.alpha, views.silhouette, views.valid),
        "iou": iou(images.alpha, views.silhouette, views.valid),
    }
    if views.depth is not None:
        errors["depth_mae"] = unit * depth_mae(images.depth, views.depth, images.alpha, views.valid)
    return errors


def evaluate(
    mixture: Mixture, views: Mapping[str, Views], unit: float, settings: Settings = Settings()
) -> tuple[dict[str, Images], dict[str, dict[str, float]]]:
    """What the mixture looks like from each set of views, by its name, and the errors of that."""
    seen = {name: look(mixture, part.cameras, part.silhouette.shape[1:], settings) for name, part in views.items()}
    return seen, {name: measure(seen[name], part, unit) for name, part in views.items()}


class Bystander:
    """Looks on while a fit runs, and measures it now and then on a few views that it does not see.

    To be called after each chunk of steps; of 32 views of 64 x 64 that takes 2 % of the fit's time.
    """

    COUNT, LOOKS = 4, 8  # views, and how often

    def __init__(self, views: Views):
        total = len(views.silhouette)
        self.views = select_views(views, np.unique(np.linspace(0, total - 1, min(total, self.COUNT)).astype(int)))
        self.loss: dict[int, float] = {}

    def __call__(self, step: int, total: int, loss: float, mixture: Mixture) -> None:
        """Measures this state of the fit if it is time to."""
        if step * self.LOOKS >= total * (len(self.loss) + 1) or step >= total:
            images = look(mixture, self.views.cameras, self.views.silhouette.shape[1:])
            self.loss[step] = measure(images, self.views._replace(depth=None), 1.0)["cross_entropy"]

    def fill(self, history: History) -> History:
        """The history with the losses on unseen views, NaN where they were not measured."""
        novel = np.full(len(history.step), np.nan)
        novel[np.array(list(self.loss), int) - 1] = list(self.loss.values())
        return history._replace(novel_loss=novel)
