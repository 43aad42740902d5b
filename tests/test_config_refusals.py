"""Wrong flags, words and files are told in one line, flags of other tasks too."""

from functools import partial

import pytest

from fmb.command.load import load_config
from fmb.command.tasks import TASKS as ALL
from fmb.options import ConfigError
from tests.configs import message, written


@pytest.fixture
def write(tmp_path):
    """A function that writes a config file and returns its path."""
    return partial(written, tmp_path)


BAD_FLAGS = {
    "--num-mixture 3": "unknown flag --num-mixture (did you mean --num-mixtures?)",
    "--num_mixtures 3": "unknown flag --num_mixtures (did you mean --num-mixtures?)",
    "--num-view=3": "unknown flag --num-view (did you mean --num-views?)",
    "--gpu": "unknown flag --gpu (did you mean --cpu?)",
    "-n 3": "unknown flag -n; TASK --help lists the flags of a task",
    "--zebra": "unknown flag --zebra; TASK --help lists the flags of a task",
    "--num-views": "--num-views: expected one argument",
    "--num-views --cpu": "--num-views: expected one argument",
    "--cpu=3": "--cpu takes no value",
    "cow": "unknown task 'cow'; must be one of shape, pose",
    "cow.obj hen.obj": "unexpected 'hen.obj'; options are given as flags such as --mesh-file FILE",
    "nowhere/model.x": "nowhere/model.x: no such file or folder",
    "pse": "unknown task 'pse' (did you mean pose?); must be one of shape, pose",
    "pose cow.obj hen.obj": "unexpected 'hen.obj'; options are given as flags such as --mesh-file FILE",
    "pose cow.obj --mesh-file hen.obj": "unexpected 'cow.obj': --mesh-file is given, too",
    "pose --data photographs": "--data: task pose does not work on it, but on mesh_file or model_file",
    "--recipe predecessor --num-epochs 5": "--num-epochs: recipe predecessor has its own num_epochs, 10",
    "shape model.pkl": "'model.pkl': task shape does not work on it, but on mesh_file or data",
    "shape --model-file model.npz": "--model-file: task shape does not work on it, but on mesh_file or data",
    "--view=true": "--view takes no value",
    "--num-mixtures 0": "--num-mixtures is 0; must be at least 1",
    "--num-views -3": "--num-views is -3; must be at least 1",
    "--num-views 20000": "--num-views is 20000; must be at most 10000",
    "--num-views 4.0": "--num-views is '4.0'; must be a whole number",
    "--num-views 1_000": "--num-views is '1_000'; must be a whole number",
    "--num-views 010": "--num-views is '010'; must be a whole number",
    "--num-views 00000000000000000000": "--num-views is '00000000000000000000'; must be a whole number",
    "--num-views 10000000000000000000": "--num-views is '10000000000000000000'; must be a whole number of fewer than "
    "20 digits",
    "--num-views true": "--num-views is 'true'; must be a whole number",
    "--image-width 7": "--image-width is 7; must be at least 8",
    "--initial-lr -1e-4": "--initial-lr is -0.0001; must be above 0",
    "--initial-lr 0": "--initial-lr is 0.0; must be above 0",
    "--initial-lr fast": "--initial-lr is 'fast'; must be a number",
    "--initial-lr nan": "--initial-lr is 'nan'; must be a finite number",
    "--initial-lr -inf": "--initial-lr is '-inf'; must be a finite number",
    "--initial-lr 1e999": "--initial-lr is '1e999'; must be a finite number",
    "--early-stop 1": "--early-stop is '1'; must be true or false",
    "--init spher": "--init is 'spher' (did you mean sphere?); must be one of auto, volume_gmm, surface_gmm, sphere",
    "--mesh cow.obj": "--mesh is 'cow.obj' (did you mean --mesh-file?); must be one of none, ply, obj, glb, stl",
    "--model cow.npz": "unknown flag --model (did you mean --model-file?)",
    "--print-completion fish": "--print-completion is 'fish'; must be one of bash, zsh, tcsh",
    "--mesh-file=": "--mesh-file is ''; must be printable text",
    "--batch-size 81921": "--batch-size is 81921; must be at most 81920, the rays of 20 views of 64 x 64 pixels",
    "--num-mixtures 30000": "--num-mixtures is 30000; must be at most gmm_points, 20000",
    "--config=": "--config is ''; must be the name of a YAML file",
    "--config nowhere.yaml": "nowhere.yaml: no such file",
}


UNREAD_FLAGS = {
    "pose --num-epochs 5": "--num-epochs: task pose does not read it; shape, convert, batch and tune do",
    "pose --film gif": "--film: task pose does not read it; shape and train-encoder do",
    "pose --view": "--view: task pose does not read it; shape and points do",
    "--overwrite": "--overwrite: task shape does not read it; export and batch do",
    "export model.npz --uncertainty --film none": "--uncertainty: task export does not read it; shape does",
    "--turntable-degrees 10": "--turntable-degrees is only read together with --data",
    "--data photographs --camera-degrees 10": "--camera-degrees is only read together with --refine-cameras",
    "--data photographs --mesh-file cow.obj": "--data and --mesh-file: task shape works on one of them",
}


@pytest.mark.parametrize("line", UNREAD_FLAGS)
def test_flags_that_a_task_does_not_read_are_refused(line):
    with pytest.raises(ConfigError) as error:
        load_config(line.split(), tuple(ALL))
    assert str(error.value) == UNREAD_FLAGS[line]
    assert load_config(["pose", "--num-epochs", "100"], tuple(ALL)).task == "pose"  # its default


@pytest.mark.parametrize("task", ["pose", "export", "convert"])
def test_what_is_no_mesh_or_mixture_is_told_with_what_the_task_reads(task, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("hello")
    read = {
        "pose": "a mesh (.obj, .ply, .stl, .off, .glb, .gltf) or a mixture (.npz, .pkl, .ply, .splat)",
        "export": "a mixture (.npz, .pkl, .ply, .splat)",
        "convert": "a mesh (.obj, .ply, .stl, .off, .glb, .gltf)",
    }[task]
    for path, found in ((note, "is of no kind that is known here"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError) as error:
            load_config([task, str(path)], tuple(ALL))
        assert str(error.value) == f"{path}: {found}; task {task} reads {read}"


@pytest.mark.parametrize("line", BAD_FLAGS)
def test_bad_flags(line):
    assert message(*line.split()) == BAD_FLAGS[line]


def test_bad_words():
    for name in ("", " ", "a\nb.yaml"):
        assert message("--config", name) == f"--config is {name!r}; must be the name of a YAML file"
    assert len(message("--num-views", "9" * 10_000)) < 140
    with pytest.raises(ConfigError, match=r"^unexpected 'shape'; options are given as flags such as --mesh-file FILE$"):
        load_config(["shape"], default_file=None)


BAD_FILES = {
    "model:\n  num_mixture: 3\n": ", line 2: unknown key 'num_mixture' in section model (did you mean num_mixtures?)",
    "model:\n  xyz: 3\n": ", line 2: unknown key 'xyz' in section model",
    "modle:\n  num_mixtures: 3\n": ", line 1: unknown key 'modle' (did you mean model?)",
    "num_view: 3\n": ", line 1: unknown key 'num_view' (did you mean num_views?)",
    "model:\n  num_views: 3\n": ", line 2: num_views belongs to section rendering, not to section model",
    "num_views: 3\n": ", line 1: num_views belongs to section rendering, not to the top level",
    "model:\n  random_seed: 3\n": ", line 2: random_seed belongs to the top level, not to section model",
    "cpu: true\n": ", line 1: cpu is of the command line alone, not of a file",
    "io:\n  overwrite: true\n": ", line 2: overwrite is of the command line alone, not of a file",
    "rendering:\n  num_views: 3\n\n  num_views: 4\n": ", line 4: 'num_views' is given twice, first in line 2",
    "model: {}\nmodel: {}\n": ", line 2: 'model' is given twice, first in line 1",
    "model: 3\n": ", line 1: section model must hold `key: value` lines",
    "[1, 2]\n": ", line 1: the file must hold `key: value` lines",
    "? [1]\n: 2\n": ", line 1: a key must be a word",
    "model:\n  num_mixtures: 0\n": ", line 2: num_mixtures is 0; must be at least 1",
    "model:\n  num_mixtures: 40.0\n": ", line 2: num_mixtures is '40.0'; must be a whole number or auto",
    "model:\n  num_mixtures: true\n": ", line 2: num_mixtures is 'true'; must be a whole number or auto",
    "model:\n  num_mixtures: 0x10\n": ", line 2: num_mixtures is '0x10'; must be a whole number or auto",
    "model:\n  num_mixtures: 1:30\n": ", line 2: num_mixtures is '1:30'; must be a whole number or auto",
    "model:\n  num_mixtures:\n": ", line 2: num_mixtures is empty; must be a whole number or auto",
    "model:\n  num_mixtures: '40'\n": ", line 2: num_mixtures is the text '40'; must be a whole number or auto "
    "without quotes",
    "model:\n  num_mixtures: [40]\n": ", line 2: num_mixtures is a sequence; must be a whole number or auto",
    "model:\n  num_mixtures: {a: 4}\n": ", line 2: num_mixtures is a mapping; must be a whole number or auto",
    "model:\n  num_mixtures: !!python/object/apply:os.getcwd []\n": ", line 2: num_mixtures is a sequence; must be "
    "a whole number or auto",
    "model:\n  num_mixtures: !!python/name:os.sep x\n": ", line 2: num_mixtures has the tag 'python/name:os.sep'; "
    "must be a whole number or auto without a tag",
    "model:\n  init: 3\n": ", line 2: init is '3'; must be one of auto, volume_gmm, surface_gmm, sphere",
    "io:\n  mesh_file: yes\n": ", line 2: mesh_file is yes; must be printable text, with quotes around a word "
    "like this",
    'io:\n  mesh_file: "a\\nb"\n': ", line 2: mesh_file is 'a\\nb'; must be printable text",
    "optimization:\n  initial_lr: .nan\n": ", line 2: initial_lr is '.nan'; must be a finite number",
    "optimization:\n  early_stop: 1\n": ", line 2: early_stop is '1'; must be true or false",
    "optimization:\n  batch_size: 99999\n": ", line 2: batch_size is 99999; must be at most 81920, the rays of 20 "
    "views of 64 x 64 pixels",
    "a: b: c\n": ", line 1, column 5: not YAML: mapping values are not allowed here",
    "model:\n\tnum_mixtures: 3\n": ", line 2, column 1: not YAML: found character '\\t' that cannot start any token",
    "a: 1\n---\nb: 2\n": ", line 2, column 1: not YAML: but found another document",
    "model: *x\n": ", line 1, column 8: not YAML: found undefined alias 'x'",
    "a: \x01\n": ': not YAML: unacceptable character #x0001: special characters are not allowed in "<unicode string>", '
    "position 3",
    "[" * 1000: ": not YAML of sections and keys: nested too deep",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=lambda text: text[:30])
def test_bad_files(write, text):
    file = write(text)
    assert message(file=file) == f"{file}{BAD_FILES[text]}"


def test_files_that_are_no_text_and_aliases_that_would_multiply(write, tmp_path):
    assert "not a text file in UTF-8" in message(file=write(b"\xff\xfe\x00m"))
    assert "is a folder, expected a regular file" in message(file=tmp_path)
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)]
    assert "line 1: unknown key 'a'" in message(file=write("\n".join(lines)))
