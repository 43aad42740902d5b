"""JSON files of data sets that say nonsense: each gives one line that names the file and what is expected of it."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from capture_makers import Scene, make_scene, refusal, write_krt, write_plain, write_transforms

NAN = float("nan")
REFLECTION = np.diag([-1.0, 1.0, 1.0, 1.0]).tolist()
SHEAR = [[1.0, 0.3, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
WRITERS = {
    "plain": (write_plain, "cameras.json", "views"),
    "transforms": (write_transforms, "transforms.json", "frames"),
    "krt": (write_krt, "cameras.json", "frames"),
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(2)


def first(changes: dict) -> Callable[[dict, list], None]:
    """Changes entries of the first view; None removes one."""

    def change(content: dict, views: list) -> None:
        for key, value in changes.items():
            if value is None:
                del views[0][key]
            else:
                views[0][key] = value

    return change


def top(changes: dict) -> Callable[[dict, list], None]:
    """Changes entries of the file."""
    return lambda content, views: content.update(changes)


def replace_views(value) -> Callable[[dict, list], None]:
    """Another value for the list of views."""

    def change(content: dict, views: list) -> None:
        content[next(key for key, entry in content.items() if entry is views)] = value

    return change


PLAIN = "cameras.json: view 0 (000)"
FRAME = "transforms.json: frame 0 (images/000.png)"
JSON_CASES = [
    ("plain", top({"version": 2}), "cameras.json: format 'fmb-cameras' version 2; expected 'fmb-cameras' version 1"),
    ("plain", replace_views([]), "cameras.json: 'views' must be a list of views"),
    ("plain", lambda content, views: content.pop("views"), "cameras.json: 'views' missing"),
    ("plain", replace_views([3]), "cameras.json: view 0: must be a JSON object"),
    ("plain", first({"name": 3}), "cameras.json: view 0: name 3 must be a text"),
    ("plain", first({"name": "a\nb"}), "cameras.json: view 0: name 'a\\nb' must be a text"),
    ("plain", first({"mask": "\ud800"}), "'\\ud800' is no path"),
    ("plain", first({"intrinsics": None}), f"{PLAIN}: 'intrinsics' missing"),
    ("plain", first({"intrinsics": [[1, 2], [3, 4]]}), f"{PLAIN}: intrinsics: must be 3 x 3 numbers"),
    ("plain", first({"intrinsics": [[1, 0, 0], [0, -1, 0], [0, 0, 1]]}), "focal lengths 1 and -1; must be positive"),
    ("plain", first({"intrinsics": [[1, 0, 0], [1, 1, 0], [0, 0, 1]]}), "must be upper triangular with 1 at the end"),
    ("plain", first({"intrinsics": np.zeros((3, 3)).tolist()}), "must be upper triangular with 1 at the end"),
    ("plain", first({"world_from_camera": SHEAR}), f"{PLAIN}: world_from_camera: not a rotation (R Rᵀ is off by 0.3)"),
    ("plain", first({"world_from_camera": REFLECTION}), "a reflection (determinant -1), expected a rotation"),
    (
        "plain",
        first({"world_from_camera": np.zeros((4, 4)).tolist()}),
        "last row [0.0, 0.0, 0.0, 0.0], expected 0 0 0 1",
    ),
    ("plain", first({"world_from_camera": [[NAN] * 4] * 4}), f"{PLAIN}: world_from_camera: not finite"),
    ("plain", first({"world_from_camera": {"a": 1}}), "world_from_camera: must be 4 x 4 numbers"),
    ("plain", first({"world_from_camera": [[10**400] * 4] * 4}), "world_from_camera: must be 4 x 4 numbers"),
    ("plain", first({"width": 23}), "masks/000.png: 24 x 18 pixels, its camera is for 23 x 18"),
    ("plain", first({"width": 2.5}), f"{PLAIN}: 2.5 x 18 pixels; must be whole numbers from 1"),
    ("plain", first({"held_out": "no"}), f"{PLAIN}: held_out 'no' must be true or false"),
    ("plain", first({"mask": "/etc/hostname"}), f"{PLAIN}: path '/etc/hostname' leaves the data set"),
    ("plain", first({"mask": "C:\\masks\\0.png"}), "leaves the data set; paths must stay inside DATA"),
    ("plain", first({"mask": "../data/masks/000.png/../../../x"}), "leaves the data set"),
    ("plain", first({"mask": 7}), f"{PLAIN}: 7 is no path; expected one relative to DATA"),
    ("plain", first({"mask": "masks/nothing.png"}), "masks/nothing.png: no such image"),
    ("plain", first({"mask": "masks/001.png"}), "masks/001.png: the mask of several views; each needs its own"),
    ("plain", first({"mask": "a\0b"}), "is no path"),
    ("plain", first({"depth_scale": 0}), f"{PLAIN}: depth_scale 0: must be above 0"),
    ("plain", first({"depth": "images/000.png"}), "images/000.png: pixels of mode RGB; a depth map has one channel"),
    ("plain", first({"image": "masks/../cameras.json"}), "not a readable image (none of PNG, JPEG"),
    ("transforms", lambda content, views: content.pop("frames"), "transforms.json: 'frames' missing"),
    ("transforms", replace_views({}), "transforms.json: 'frames' must be a list of frames"),
    ("transforms", first({"file_path": None}), "transforms.json: frame 0: 'file_path' missing"),
    ("transforms", first({"file_path": "../x.png"}), "transforms.json: frame 0: path '../x.png' leaves the data set"),
    ("transforms", first({"mask_path": "/elsewhere/x.png"}), f"{FRAME}: path '/elsewhere/x.png' leaves the data set"),
    ("transforms", first({"mask_path": "masks/x.png"}), "masks/x.png: no such image"),
    ("transforms", first({"depth_file_path": "../x.png"}), f"{FRAME}: path '../x.png' leaves the data set"),
    ("transforms", first({"integer_depth_scale": -0.5}), f"{FRAME}: scale of depth -0.5: must be above 0"),
    ("transforms", first({"depth_file_path": "depth/x.png"}), "depth/x.png: no such image"),
    ("transforms", first({"transform_matrix": None}), f"{FRAME}: 'transform_matrix' missing"),
    ("transforms", first({"transform_matrix": [[0.0] * 4] * 3}), f"{FRAME}: transform_matrix: not a rotation"),
    ("transforms", first({"transform_matrix": [[NAN] * 4] * 4}), f"{FRAME}: transform_matrix: not finite"),
    ("transforms", first({"transform_matrix": [[1.0] * 3] * 3}), "transform_matrix: must be 3 x 4 numbers"),
    ("transforms", first({"fl_x": None, "fl_y": None}), f"{FRAME}: no focal length; expected fl_x, or camera_angle_x"),
    ("transforms", first({"fl_x": None, "camera_angle_x": 4}), "camera_angle_x 4; must lie between 0 and pi"),
    ("transforms", first({"fl_x": "wide"}), f"{FRAME}: fl_x: must be a number"),
    ("transforms", first({"cx": [1]}), f"{FRAME}: cx: must be a number"),
    ("transforms", top({"k1": 0.03}), f"{FRAME}: k1 = 0.03, but only pinhole cameras are read: undistort the images"),
    ("transforms", top({"camera_model": "OPENCV_FISHEYE"}), "camera_model 'OPENCV_FISHEYE', but only pinhole cameras"),
    ("transforms", top({"is_fisheye": True}), "is_fisheye, but only pinhole cameras are read"),
    ("transforms", top({"w": 48}), "masks/000.png: 24 x 18 pixels, its camera is for 48 x 18"),
    ("transforms", top({"w": 0}), f"{FRAME}: w and h are 0 and 18; must be at least 1"),
    ("transforms", top({"test_filenames": 3}), "'test_filenames' and 'val_filenames' must be lists of paths"),
    ("transforms", top({"ply_file_path": "/x.ply"}), "transforms.json: path '/x.ply' leaves the data set"),
    ("transforms", top({"ply_file_path": "x.ply"}), "x.ply: no such file"),
    ("transforms", top({"ply_file_path": "masks/000.png"}), "masks/000.png: not a readable ply file of points"),
    ("krt", first({"mask": None}), "cameras.json: frame 0: 'mask' missing"),
    ("krt", first({"mask": "../m.png"}), "cameras.json: frame 0: path '../m.png' leaves the data set"),
    ("krt", first({"R": None}), "cameras.json: frame 0: 'R' missing"),
    ("krt", first({"R": np.ones((3, 3)).tolist()}), "cameras.json: frame 0: R: not a rotation"),
    ("krt", first({"t": [NAN, 0, 0]}), "cameras.json: frame 0: R: translation: not finite"),
    ("krt", first({"K": [[1]]}), "cameras.json: frame 0: K: must be 3 x 3 numbers"),
    ("krt", top({"size": [24]}), "cameras.json: size: must be 2 numbers"),
    ("krt", top({"bbox": 1}), "cameras.json: bbox: must be 2 x 3 numbers"),
    ("krt", top({"size": [24, 19]}), "masks/000.png: 24 x 18 pixels, its camera is for 24 x 19"),
]


@pytest.mark.parametrize(("kind", "change", "words"), JSON_CASES, ids=range(len(JSON_CASES)))
def test_json_that_says_nonsense(folder, scene, kind, change, words):
    write, name, key = WRITERS[kind]
    write(folder, scene)
    content = json.loads((folder / name).read_text())
    change(content, content[key])
    (folder / name).write_text(json.dumps(content))
    assert words in refusal(folder)
