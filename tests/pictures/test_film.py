"""Frames of a fit: overlays in closed form, which snapshots are kept, one frame for each."""

import numpy as np
import pytest

from fm_render import Mixture
from fmb.geometry.cameras import orbit_cameras, pinhole_intrinsics
from fmb.geometry.views import Views
from fmb.pictures.film import (
    FOOT,
    LAST,
    LEAST_WIDTH,
    MARGIN,
    Recorder,
    Snapshot,
    film,
    frame,
    overlay,
    rgb,
    tall_of,
    words,
)
from fmb.pictures.sheets import AGREE, BLUE, NOTHING, ORANGE

BLOB = Mixture(np.zeros((1, 3), np.float32), 4.0 * np.eye(3, dtype=np.float32)[None], np.ones(1, np.float32))


def test_overlay_has_the_colours_of_its_legend():
    alpha, reference = np.array([[[1.0, 0.0, 1.0, 0.0]]]), np.array([[[1.0, 1.0, 0.0, 0.0]]])
    assert np.array_equal(overlay(alpha, reference)[0, 0], [rgb(code) for code in (AGREE, ORANGE, BLUE, NOTHING)])
    halves = overlay(np.full((1, 1, 1), 0.5), np.full((1, 1, 1), 0.5))[0, 0, 0]
    assert np.allclose(halves, np.mean([rgb(code) for code in (AGREE, ORANGE, BLUE, NOTHING)], axis=0), atol=0.5)


def test_frame_shows_every_view_words_and_progress():
    reference = np.zeros((3, 8, 12))
    page = frame(np.ones((3, 8, 12)), reference, "step 1", 0.25)
    assert page.shape[1] >= LEAST_WIDTH
    assert np.sum(np.all(page == rgb(BLUE), axis=-1)) > 3 * 8 * 12 * 100  # three enlarged tiles and the bar
    blank = frame(np.ones((3, 8, 12)), reference, "", 0.25)
    assert np.any(page[-FOOT - MARGIN :] != blank[-FOOT - MARGIN :])
    assert np.array_equal(page[: -FOOT - MARGIN], blank[: -FOOT - MARGIN])
    full = frame(np.ones((3, 8, 12)), reference, "", 1.0)
    grown = np.sum(np.all(full == rgb(BLUE), axis=-1)) - np.sum(np.all(blank == rgb(BLUE), axis=-1))
    assert grown == pytest.approx(3 * 0.75 * (page.shape[1] - 2 * MARGIN), abs=3)


def test_film_has_a_frame_for_each_snapshot_and_stays_at_the_end():
    cameras = orbit_cameras(2, 3.0, pinhole_intrinsics(16, 16, 45.0))
    views, calls = Views(cameras, np.zeros((2, 16, 16), np.float32)), []
    shots = [
        Snapshot(step, 20, np.nan, BLOB._replace(mean=BLOB.mean + np.float32(0.01 * step))) for step in (0, 10, 20)
    ]
    frames = film(shots, views, lambda *call: calls.append(call))
    assert calls == [(number + 1, 2 + LAST) for number in range(2 + LAST)]
    masks = frames[:, :, : -tall_of((2, 16, 16)) - MARGIN]
    assert len(frames) == 2 + LAST and np.all(masks[2:] == masks[2])
    assert np.any(masks[0] != masks[1]) and np.any(masks[1] != masks[2])


def test_words_leave_out_a_loss_that_is_unknown():
    assert words(Snapshot(3, 9, 0.25, BLOB), 0.5) == "step 3 of 9   loss 0.2500   IoU 0.500"
    assert words(Snapshot(3, 9, np.nan, BLOB), 0.5) == "step 3 of 9   IoU 0.500"


def test_a_film_without_snapshots_is_refused():
    views = Views(orbit_cameras(1, 3.0, pinhole_intrinsics(8, 8, 45.0)), np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match="film of a fit: no snapshots"):
        film([], views)


def test_recorder_keeps_more_of_the_beginning_and_the_end():
    record = Recorder(10)
    for step in range(0, 1001, 10):
        record(step, 1000, 0.1, BLOB)
    steps = [shot.step for shot in record.snapshots]
    assert steps == [0, 10, 40, 90, 160, 250, 360, 490, 640, 810, 1000]


def test_recorder_keeps_the_end_of_a_fit_that_reports_seldom():
    record = Recorder(10)
    for step in (400, 800, 1000):
        record(step, 1000, 0.1, BLOB)
    assert [shot.step for shot in record.snapshots] == [400, 800, 1000]
