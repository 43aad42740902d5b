"""Pictures of a pose: what their pixels say."""

import numpy as np
import pytest

from fmb.geometry.views import Images
from fmb.pictures import draw
from fmb.pictures.pose import (
    LEGEND,
    RED,
    FilmText,
    PoseCourse,
    Trace,
    agreement,
    as_images,
    convergence_page,
    film,
    pose_sheets,
    rgb,
)

TEXT = FilmText("Descent", "in 4 steps", "step", "error")


def square(left: int) -> np.ndarray:
    image = np.zeros((30, 40))
    image[10:20, left : left + 10] = 1.0
    return image


def rendered(*lefts: int) -> Images:
    alpha = np.stack([square(left) for left in lefts])
    return Images(alpha, 3.0 + 0.01 * alpha * np.arange(len(lefts))[:, None, None])


def test_sheets_tell_of_start_and_end(tmp_path):
    observed = as_images(np.where(square(10) > 0, 3.0, 0.0), square(10))
    sheets = pose_sheets(observed, rendered(14), rendered(10), "metres")
    masks, depths = sheets["pose_masks"], sheets["pose_depths"]
    assert masks.labels == depths.labels == ["start", "end"]
    # 60 pixels in common of 140, then all
    assert "0.429 at the start, 1.000 at the end" in masks.note
    assert "0 metres at the start" in depths.note and depths.panels == ("seen", "rendered", "rendered minus seen")
    colors = {tuple(color) for color in masks.tiles[1].reshape(-1, 3)}
    assert colors == {tuple(rgb(LEGEND[name])) for name in ("in both", "in neither")}
    assert all(path.stat().st_size for path in draw.draw_sheets(tmp_path, sheets))


def test_masks_alone_and_depth_alone():
    sheets = pose_sheets(as_images(None, square(10)), rendered(14), rendered(10), "metres")
    assert set(sheets) == {"pose_masks"}
    # without a mask, the mask is where depth was measured
    alone = as_images(np.where(square(10) > 0, 3.0, np.nan), None)
    np.testing.assert_array_equal(alone.alpha[0], square(10))
    far = pose_sheets(alone, rendered(25), rendered(25), "metres")["pose_depths"]
    assert "nan metres at the start" in far.note


def test_agreement_has_the_legend_s_colours():
    tiles = agreement(np.array([[[0.0, 1.0, 0.4, 0.6]]]), np.array([[[0.0, 0.0, 0.5, 1.0]]]))
    names = ["in neither", "seen, not rendered", "rendered, not seen", "in both"]
    np.testing.assert_array_equal(tiles[0, 0], [rgb(LEGEND[name]) for name in names])


@pytest.mark.parametrize("known", [True, False])
def test_convergence(known):
    loss, errors = np.array([3.0, 1.0, 0.1]), np.array([30.0, 4.0, 0.5])
    page = convergence_page(PoseCourse(loss, 2, errors, errors) if known else PoseCourse(loss, 40))
    assert page.shape[1] == 1260 and page.shape[0] == (930 if known else 630)
    assert (page < 250).any()


def test_a_film_follows_its_trace():
    observed, path = as_images(None, square(10)), rendered(22, 18, 14, 10)
    traces = [
        Trace("rotation", np.array([40.0, 10.0, 3.0, 1.0])),
        Trace("translation", np.array([9.0, np.nan, 2.0, 1.0])),
    ]
    frames = film(observed, path, traces, TEXT)
    assert frames.shape[0] == 4 and frames.dtype == np.uint8
    red = np.all(frames == rgb(RED), axis=-1)
    # the outline is that of what is rendered, and moves to the left by four pixels of ten
    middle = [np.nonzero(part)[1].mean() for part in red]
    np.testing.assert_allclose(np.diff(middle), -40.0, atol=1.0)
    dark = np.all(frames[:, 500:] == rgb(traces[0].color), axis=-1).sum(axis=(1, 2))
    assert np.all(np.diff(dark) > 0)  # the full trace grows
    # a view for each frame is the same film
    moving = Images(np.repeat(observed.alpha, 4, axis=0))
    np.testing.assert_array_equal(film(moving, path, traces, TEXT), frames)
