"""A data set of the BOP challenge, made here, read back, and broken."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.bop import (
    BopResult,
    bop_targets,
    read_bop_model,
    read_bop_records,
    read_bop_results,
    read_bop_view,
    write_bop_results,
)
from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth
from tests.datasets import BOP_K, BOP_SIZE, write_bop, write_json


@pytest.fixture
def dataset(tmp_path):
    """A scene of a data set."""
    return write_bop(tmp_path)


def test_targets_views_and_models(dataset):
    targets = bop_targets(dataset)
    assert [tuple(target) for target in targets] == [(3, 5, 0, 1), (3, 5, 1, 2)]
    for target in targets:
        view, model = (
            read_bop_view(read_bop_records(dataset), target),
            read_bop_model(dataset.parents[1] / "models", target.object),
        )
        assert view.intrinsics[0, 2] == 16.0 and view.intrinsics[1, 2] == 12.0  # the middle of the image
        # what the model shows from the pose that was read is what was read, to the 0.1 mm that the file keeps
        cameras = Cameras(np.linalg.inv(view.camera_from_object)[None], view.intrinsics[None])
        drawn = render_ground_truth(model.shape, cameras, BOP_SIZE, "raycast").views.depth[0]
        seen = np.isfinite(drawn)
        assert seen.sum() > 20
        np.testing.assert_allclose(view.depth[seen], drawn[seen], atol=0.0501)
        assert model.symmetric == (target.object == 2)
    box, ball = (read_bop_view(read_bop_records(dataset), target) for target in targets)
    assert ball.silhouette is None and np.isfinite(ball.depth).sum() > box.silhouette.sum()
    assert np.isfinite(box.depth[box.silhouette > 0]).all() and box.hidden is None
    assert read_bop_model(dataset.parents[1] / "models", 1).diameter == pytest.approx(np.sqrt(6100.0))


def test_without_a_depth_scale_it_is_1(dataset):
    write_json(dataset / "scene_camera.json", {"5": {"cam_K": BOP_K.ravel().tolist()}})
    assert np.nanmedian(read_bop_view(read_bop_records(dataset), bop_targets(dataset)[0]).depth) == pytest.approx(
        2850, rel=0.05
    )


def test_what_is_wrong_with_a_scene(dataset):
    target = bop_targets(dataset)[0]
    with pytest.raises(ValueError, match="image 5, object 9: not there"):
        read_bop_view(read_bop_records(dataset), target._replace(instance=9))
    for camera, words in (
        ({}, "scene_camera.json: '5' missing"),
        ({"5": {}}, "image 5: 'cam_K' missing"),
        ({"5": {"cam_K": [1, 2]}}, "cam_K: must be 9 numbers"),
        ({"../5": {}}, r"scene_camera.json: key '../5': must be a whole number"),
        ([], "must hold a JSON object at the top"),
    ):
        write_json(dataset / "scene_camera.json", camera)
        with pytest.raises(ValueError, match=words):
            read_bop_view(read_bop_records(dataset), target)
    write_json(dataset / "scene_gt.json", {"5": {"obj_id": 1}})
    with pytest.raises(ValueError, match="image 5: must be a list of objects"):
        bop_targets(dataset)
    write_json(dataset / "scene_gt.json", {"5": [{"obj_id": "cow"}]})
    with pytest.raises(ValueError, match="obj_id 'cow': must be a whole number"):
        bop_targets(dataset)
    (dataset / "scene_gt.json").unlink()
    with pytest.raises(ValueError, match="scene_gt.json: no such file"):
        bop_targets(dataset)
    with pytest.raises(ValueError, match="name of the folder 'models': must be a whole number"):
        bop_targets(dataset.parents[1] / "models")


def test_paths_stay_in_the_scene(dataset, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "depth.png"
    depth = dataset / "depth" / "000005.png"
    depth.rename(outside)
    depth.symlink_to(outside)
    with pytest.raises(ValueError, match="leaves the data set; paths must stay inside"):
        read_bop_view(read_bop_records(dataset), bop_targets(dataset)[0])
    depth.unlink()
    with pytest.raises(ValueError, match="000005.png: no such image"):
        read_bop_view(read_bop_records(dataset), bop_targets(dataset)[0])


def test_what_a_scene_may_lack_and_other_sensors(dataset):
    target = bop_targets(dataset)[0]
    whole = read_bop_view(read_bop_records(dataset), target)
    Image.open(dataset / "depth" / "000005.png").save(dataset / "depth" / "000005.tif")
    (dataset / "depth" / "000005.png").unlink()
    for name in ("camera", "gt"):
        (dataset / f"scene_{name}.json").rename(dataset / f"scene_{name}_gray1.json")
    (dataset / "depth").rename(dataset / "depth_gray1")
    (dataset / "mask_visib").rename(dataset / "mask")
    records = read_bop_records(dataset)
    told = ("read as seen by gray1", "no mask_visib/: mask/ is taken, whose masks show hidden parts as well")
    assert bop_targets(dataset)[0] == target and records.notices == told
    found = read_bop_view(records, target)
    np.testing.assert_array_equal(found.depth, whole.depth)
    np.testing.assert_array_equal(found.silhouette, whole.silhouette)
    (dataset / "depth_gray1").rename(dataset / "elsewhere")
    assert read_bop_view(read_bop_records(dataset), target).depth is None
    (dataset / "elsewhere").rename(dataset / "depth")
    (dataset / "mask").rename(dataset / "elsewhere")
    records = read_bop_records(dataset)
    assert "no mask_visib/ and no mask/" in records.notices[1]
    assert read_bop_view(records, target).silhouette is None
    (dataset / "depth").rename(dataset / "else")
    with pytest.raises(ValueError, match="neither depth/ nor mask_visib/ nor mask/"):
        read_bop_records(dataset)


def test_a_mask_of_another_size(dataset):
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(dataset / "mask_visib" / "000005_000000.png")
    with pytest.raises(ValueError, match="000005_000000.png: 4 x 4 pixels, its depth map has 32 x 24"):
        read_bop_view(read_bop_records(dataset), bop_targets(dataset)[0])


def test_what_is_wrong_with_models(dataset):
    models = dataset.parents[1] / "models"
    with pytest.raises(ValueError, match="models_info.json: '9' missing"):
        read_bop_model(models, 9)
    (models / "obj_000002.ply").unlink()
    with pytest.raises(ValueError, match="obj_000002.ply: no such mesh file"):
        read_bop_model(models, 2)
    write_json(models / "models_info.json", {"1": {"diameter": 0}})
    with pytest.raises(ValueError, match="object 1: diameter 0.0; must be positive"):
        read_bop_model(models, 1)


def test_bop_results_come_back(tmp_path):
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = Rotation.random(3, random_state=0).as_matrix()
    poses[:, :3, 3] = 1e3 * np.random.default_rng(0).normal(size=(3, 3))
    results = [BopResult(1, image, 7, 0.5, pose, 0.25) for image, pose in enumerate(poses)]
    path = write_bop_results(tmp_path / "ours_set-test.csv", results)
    lines = path.read_text().splitlines()
    assert lines[0] == "scene_id,im_id,obj_id,score,R,t,time"
    numbers = lines[1].split(",")
    assert numbers[:4] == ["1", "0", "7", "0.5"] and len(numbers[4].split()) == 9 and numbers[6] == "0.25"
    assert float(numbers[4].split()[1]) == results[0].camera_from_object[0, 1]  # row by row
    for found, given in zip(read_bop_results(path), results, strict=True):
        assert found[:4] == given[:4] and found.seconds == given.seconds
        np.testing.assert_allclose(found.camera_from_object, given.camera_from_object, rtol=1e-12, atol=1e-12)
