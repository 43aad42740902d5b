"""A data set of the BOP challenge, made here, read back, and broken."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from fmb.files.bop import bop_targets, read_bop_model, read_bop_records, read_bop_results, read_bop_view
from fmb.geometry.cameras import Cameras
from fmb.geometry.ground_truth import render_ground_truth

HEIGHT, WIDTH = 24, 32
K = np.array([[40.0, 0.0, 15.5], [0.0, 40.0, 11.5], [0.0, 0.0, 1.0]])  # BOP: centre of pixel (0, 0) at (0, 0)


@pytest.fixture
def dataset(tmp_path):
    """A scene of a data set."""
    return make_dataset(tmp_path)


def make_dataset(tmp_path):
    """Two models, one scene of one image with both in it; masks for the first alone."""
    models, scene = tmp_path / "models", tmp_path / "test" / "000003"
    for folder in (models, scene / "depth", scene / "mask_visib"):
        folder.mkdir(parents=True)
    meshes = {1: trimesh.creation.box((60.0, 40.0, 30.0)), 2: trimesh.creation.icosphere(2, 20.0)}
    info, truth, depths = {}, [], []
    for number, mesh in meshes.items():
        mesh.export(models / f"obj_{number:06d}.ply")
        info[number] = {"diameter": float(np.linalg.norm(mesh.extents))}
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0.3, 0.4 * number, 0.1]).as_matrix()
        pose[:3, 3] = [60.0 * number - 90.0, 5.0, 300.0]
        turn, shift = pose[:3, :3].ravel().tolist(), pose[:3, 3].tolist()
        truth.append({"cam_R_m2c": turn, "cam_t_m2c": shift, "obj_id": number})
        matrix = K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        cameras = Cameras(np.linalg.inv(pose)[None], matrix[None])
        depths.append(np.nan_to_num(render_ground_truth(mesh, cameras, (HEIGHT, WIDTH), "raycast").views.depth[0]))
    info[2]["symmetries_continuous"] = [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]
    write(models / "models_info.json", info)
    write(scene / "scene_gt.json", {"5": truth})
    write(scene / "scene_camera.json", {"5": {"cam_K": K.ravel().tolist(), "depth_scale": 0.1}})
    Image.fromarray(np.rint(10.0 * sum(depths)).astype(np.uint16)).save(scene / "depth" / "000005.png")
    visible = np.where(depths[0] > 0, 255, 0).astype(np.uint8)
    Image.fromarray(visible).save(scene / "mask_visib" / "000005_000000.png")
    return scene


def write(path, value):
    path.write_text(json.dumps(value))


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
        drawn = render_ground_truth(model.mesh, cameras, (HEIGHT, WIDTH), "raycast").views.depth[0]
        seen = np.isfinite(drawn)
        assert seen.sum() > 20
        np.testing.assert_allclose(view.depth[seen], drawn[seen], atol=0.0501)
        assert model.symmetric == (target.object == 2)
    box, ball = (read_bop_view(read_bop_records(dataset), target) for target in targets)
    assert ball.silhouette is None and np.isfinite(ball.depth).sum() > box.silhouette.sum()
    np.testing.assert_array_equal(np.isfinite(box.depth), box.silhouette > 0)
    assert read_bop_model(dataset.parents[1] / "models", 1).diameter == pytest.approx(np.sqrt(6100.0))


def test_without_a_depth_scale_it_is_1(dataset):
    write(dataset / "scene_camera.json", {"5": {"cam_K": K.ravel().tolist()}})
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
        write(dataset / "scene_camera.json", camera)
        with pytest.raises(ValueError, match=words):
            read_bop_view(read_bop_records(dataset), target)
    write(dataset / "scene_gt.json", {"5": {"obj_id": 1}})
    with pytest.raises(ValueError, match="image 5: must be a list of objects"):
        bop_targets(dataset)
    write(dataset / "scene_gt.json", {"5": [{"obj_id": "cow"}]})
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
    write(models / "models_info.json", {"1": {"diameter": 0}})
    with pytest.raises(ValueError, match="object 1: diameter 0.0; must be positive"):
        read_bop_model(models, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scene,image\n", "first line must be scene_id,im_id"),
        ("HEAD\n1,2,3\n", "line 2: 3 fields, expected 7"),
        ("HEAD\n1,2,3,0.5,1 0 0,0 0 1,0.1\n", "line 2: R: must be 9 numbers"),
        ("HEAD\n1,2,x,0.5,1 0 0 0 1 0 0 0 1,0 0 1,0.1\n", "line 2: obj_id 'x': must be a whole number"),
        ("HEAD\n1,2,3,0.5,1 0 0 0 1 0 0 0 2,0 0 1,0.1\n", "line 2: not a rotation"),
    ],
)
def test_what_is_wrong_with_results(tmp_path, text, words):
    path = tmp_path / "results.csv"
    path.write_text(text.replace("HEAD", "scene_id,im_id,obj_id,score,R,t,time"))
    with pytest.raises(ValueError, match=words):
        read_bop_results(path)
