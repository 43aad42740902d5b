"""Whole fits of the benchmark of an accelerator: the masks it draws, and what it tells."""

import numpy as np
import pytest

from benchmarks import gpu, gpu_fits, scaling
from fmb.shape.options import OptimizationOptions


def test_masks_are_those_of_balls(monkeypatch):
    monkeypatch.setattr(gpu_fits, "BALLS", 1)
    views = gpu_fits.views_of(3, 2, 96)
    centre, radius = (lambda g: (g.uniform(-0.4, 0.4, 3), g.uniform(0.25, 0.5)))(after_cameras(3, 2, 96))
    away = np.linalg.norm(np.asarray(views.cameras.world_from_camera)[:, :3, 3] - centre, axis=1)
    # seen from the middle of the image a ball is a disc of radius f r / sqrt(d^2 - r^2); elsewhere it is larger
    disc = np.pi * (48 / np.tan(np.deg2rad(22.5)) * radius) ** 2 / (away**2 - radius**2)
    area = views.silhouette.sum((1, 2))
    assert np.all((area > 0.97 * disc) & (area < 1.25 * disc))


def after_cameras(seed: int, count: int, side: int) -> np.random.Generator:
    generator = np.random.default_rng(seed)
    lens = gpu_fits.pinhole_intrinsics(side, side, gpu_fits.FIELD_OF_VIEW)
    gpu_fits.random_cameras(generator, count, gpu_fits.DISTANCE, lens)
    return generator


def test_what_is_told(monkeypatch):
    row = {"name": "a", "seconds": 2.0, "compiled": 3.0, "iou": 0.95}
    assert "128.0 shapes a second, 256 slots" in gpu_fits.told({**row, "shapes_per_second": 128.0, "slots": 256})[3]
    assert gpu_fits.told({**row, "steps": 100, "pairs_per_second": 5e9})[3] == "100 steps, 5.00 G pairs a second"
    assert gpu_fits.told({"name": "a", "failed": "x|y"})[1] == "x\\|y"
    assert (
        gpu.fits_words([{"missing": "scipy is not installed"}]) == "Whole fits: not measured, scipy is not installed."
    )
    assert [row["failed"][:9] for row in gpu_fits.measure_fits(0.0)] == ["not begun"] * 3


@pytest.mark.slow
def test_fits_at_once():
    found = gpu_fits.at_once(3, OptimizationOptions(num_epochs=3))
    assert found["shapes_per_second"] > 0 and found["iou"] > 0.6


def test_more_devices_are_faster_up_to_a_wall():
    known = scaling.Constants()
    paces = [scaling.batch(devices, 64, known).pace for devices in (1, 8, 64, 4096)]
    assert paces == sorted(paces) and scaling.batch(4096, 64, known).wall == "disk"
    times = [scaling.step(devices, 10**7, 10_000, known).total for devices in (1, 8, 100)]
    assert times[0] > times[1] > times[2] > times[0] / 100
    assert scaling.step(1, 10**6, 40, known)[1:] == (0.0, 0.0)
