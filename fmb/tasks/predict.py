"""Task `predict`: one image of an object with its mask -> a symmetric, coloured shape, and how far to believe it."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from fm_render import Cameras, Mixture
from fmb import machine
from fmb.config import PROGRAM, Config
from fmb.fields.mixtures import in_single
from fmb.files.images import WIDE_MODES, color_of, has_alpha, same_image, silhouette_of, size_of
from fmb.files.images import resized as resized_mask
from fmb.files.intrinsics import fitting_intrinsics, read_intrinsics
from fmb.files.poses import read_mask, read_pose
from fmb.files.safe import read_image
from fmb.geometry.atlas import xatlas_module
from fmb.geometry.images import foreground
from fmb.geometry.lenses import bends
from fmb.geometry.views import Views
from fmb.machine import Clock, choose_device, tell
from fmb.options import NONE
from fmb.single_view.blobs import Blobs
from fmb.single_view.crops import cropped, cropped_intrinsics, cropped_within, square_around
from fmb.single_view.layout import Layout
from fmb.single_view.network import Encoder
from fmb.single_view.prediction import Looked, Ranked, blobs_from, given_cameras, look_at_images, rank_cameras
from fmb.single_view.refine import halved, mirrored_views, refine, refined_color
from fmb.tasks.encoders import read_encoder
from fmb.tasks.predict_files import Predicted, summary, write_results
from fmb.tasks.shell import check_before, task_folder
from fmb.tasks.textures import without_rim
from fmb.whole import whole_folder

GREY = 0.5  # what the encoder sees where a mask has no colours, as in a fifth of its training
LARGEST_FINE = 2048  # pixels along a side of the square that a texture takes its colours from
WHOLE = 0.98  # share of an image that no object covers


class Photograph(NamedTuple):
    """The square around the object, as the encoder sees it, and the square's intrinsics where they are known."""

    color: Float[np.ndarray, "size size 3"]
    silhouette: Bool[np.ndarray, "size size"]
    colored: bool
    intrinsics: Float[np.ndarray, "3 3"] | None
    notices: tuple[str, ...]
    fine: tuple[np.ndarray, np.ndarray] | None  # the same square for a texture: colours and silhouette; None: none


def predict(config: Config, clock: Clock) -> None:
    """Image -> what the encoder makes of it -> perhaps a fit to its silhouette -> files."""
    if config.io.image_file == NONE:
        raise ValueError(f"predict needs an image: {PROGRAM} predict photo_with_alpha.png")
    check_options(config)
    place = task_folder(config)
    check_before(config, place)
    with clock("load"):
        tell(choose_device(config.cpu).hint)
        encoder, layout, facts = read_encoder(config.prediction.encoder)
        photograph = read_photograph(config, layout.size)
        pose = None if config.pose.initial_pose_file == NONE else read_pose(Path(config.pose.initial_pose_file))
    if pose is not None and photograph.intrinsics is None:
        raise ValueError("--initial-pose-file is given, but no --intrinsics-file")
    tell(*photograph.notices)
    with whole_folder(place) as folder:
        with clock("predict"):
            found = predicted(encoder, layout, photograph, pose)
            found = found._replace(blobs=colored(found.blobs.mixture, found, layout))
        if config.prediction.refine_epochs:
            with clock("refine"):
                found = found._replace(refined=refined(found, layout, config))
        metrics = write_results(config, found, facts, folder, clock)
    tell(*summary(metrics), f"shape, pictures and numbers in {place}/")


def check_options(config: Config) -> None:
    """Raises ValueError for options that need others, and for a texture where nothing can make one."""
    options = config.prediction
    if options.split_components and not options.refine_epochs:
        raise ValueError(
            "split_components is true and refine_epochs is 0; must be at least 1, what is cut must be fitted"
        )
    if options.texture:
        if config.export.mesh == NONE:
            raise ValueError(f"texture is {options.texture} and mesh is none; a texture needs a mesh")
        xatlas_module()


def read_photograph(config: Config, size: int) -> Photograph:
    """The image with the mask that it has as its alpha, or in a file of its own, or that it is.

    Raises ValueError for a mask of another image, without object, or without background.
    """
    path, mask_path = Path(config.io.image_file), config.pose.mask_file
    image = read_image(path)
    color, notices = color_of(image), ()
    if mask_path != NONE:
        silhouette = np.asarray(read_mask(Path(mask_path)), np.float32)
        if not same_image(silhouette.shape, color.shape[:2]):
            raise ValueError(f"{mask_path}: mask of {size_of(silhouette)} pixels, {path.name} has {size_of(color)}")
        silhouette, colored = resized_mask(silhouette, color.shape[:2]), True
    else:
        silhouette, colored = silhouette_of(image), has_alpha(image)
    if foreground(silhouette).mean() > WHOLE:
        raise ValueError(f"{path}: nothing says what is object; it needs transparency, or its mask by --mask-file")
    try:
        square = square_around(silhouette)
    except ValueError as error:
        raise ValueError(f"{path if mask_path == NONE else mask_path}: {error}") from None
    edge = foreground(np.concatenate([silhouette[0], silhouette[-1], silhouette[:, 0], silhouette[:, -1]]))
    if edge.any():
        notices = ("the object reaches the border of the image; what lies beyond is not known",)
    if not colored and image.mode not in ("1", "L", *WIDE_MODES):
        notices += ("the image has no transparency, so it is taken for a mask, whatever is not black being object",)
    weight = np.where(foreground(silhouette), silhouette, 0.0).astype(np.float32)
    side = min(config.prediction.texture, LARGEST_FINE, max(size, round(square.side)))
    fine = (
        (cropped_within(color, weight, square, side), cropped(silhouette, square, side)) if colored and side else None
    )
    color = cropped_within(color, weight, square, size) if colored else np.full((size, size, 3), GREY, np.float32)
    lens = None if config.pose.intrinsics_file == NONE else lens_of(Path(config.pose.intrinsics_file), path, silhouette)
    lens = None if lens is None else cropped_intrinsics(lens, square, size)
    return Photograph(color, foreground(cropped(silhouette, square, size)), colored, lens, notices, fine)


def lens_of(path: Path, image: Path, silhouette: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "3 3"]:
    """The intrinsics of the whole image. Raises ValueError for a lens that bends lines."""
    camera = read_intrinsics(path)
    if bends(camera.lens):
        raise ValueError(f"{path}: its lens ({camera.lens.model}) bends lines; undistort {image.name} first")
    return fitting_intrinsics(camera, silhouette.shape, path, image)


def predicted(
    encoder: Encoder, layout: Layout, photograph: Photograph, pose: Float[np.ndarray, "4 4"] | None
) -> Predicted:
    """What the encoder makes of the square, and the cameras: the one that is given, or those that it says."""
    silhouette = photograph.silhouette
    looked: Looked = look_at_images(encoder, layout, photograph.color[None], silhouette[None])
    if pose is None:
        ranked: Ranked = rank_cameras(encoder, layout, looked, 0, silhouette, photograph.intrinsics)
    else:
        cameras = Cameras(np.asarray(pose)[None], np.asarray(photograph.intrinsics)[None])
        ranked = given_cameras(encoder, layout, looked, 0, cameras, silhouette)
    return Predicted(
        blobs_from(encoder, layout, ranked.numbers[0]),
        looked.assignment[0],
        ranked,
        np.where(silhouette[..., None], photograph.color, 1.0),
        silhouette,
        photograph.colored,
        pose is not None,
        fine=fine_views(photograph, ranked, layout),
    )


def fine_views(photograph: Photograph, ranked: Ranked, layout: Layout) -> Views | None:
    """The photograph by the first camera, as fine as a texture needs it, and from the other side of the mirror."""
    if photograph.fine is None:
        return None
    color, silhouette = photograph.fine
    pose, lens = (np.asarray(field[:1], float) for field in ranked.cameras)
    lens = np.diag([len(color) / layout.size, len(color) / layout.size, 1.0]) @ lens
    views = Views(Cameras(pose, lens), silhouette[None], color=without_rim(color, silhouette)[None])
    both = (views, mirrored_views(views)) if layout.mirrored else (views,)
    return jax.tree.map(lambda *fields: np.concatenate(fields), *both)


def refined(found: Predicted, layout: Layout, config: Config) -> Blobs:
    """The prediction after a fit to its silhouette, from the first of its cameras."""
    views, generator = found.views(), np.random.default_rng(config.random_seed)
    blobs = halved(found.blobs, layout) if config.prediction.split_components else found.blobs
    with machine.progress_bar("refine") as on_progress:
        fit = refine(blobs, layout, views, generator, config.prediction.refine_epochs, on_progress)
    return colored(fit.mixture, found._replace(blobs=blobs), layout)


def colored(mixture: Mixture, found: Predicted, layout: Layout) -> Blobs:
    """The mixture in the colours that the image shows from the first camera, else in those that are predicted.

    Predicted colours are dull: they are means of what the encoder takes for possible.
    """
    color = np.asarray(found.blobs.color)
    if found.colored:
        try:
            color = refined_color(in_single(mixture), layout, found.views())
        except ValueError:  # no pixel is object in both, so the image tells no colour
            tell("the shape does not lie on the object in the image; its colours are those that are predicted")
    return Blobs(mixture, np.asarray(color))
