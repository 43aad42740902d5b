"""Options: one declaration each, flags over file over defaults, nothing unread; what is wrong is told in one line."""

import ast
import dataclasses
import gc
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import run_fmb
from fmb.command.help_text import with_default
from fmb.command.load import load_config
from fmb.command.tasks import TASKS as ALL
from fmb.command.yaml_file import to_yaml
from fmb.config import DEFAULT_FILE, Config, declared, sections, switches
from fmb.fields.metaballs import FIELDS
from fmb.files import mesh_output, meshes, models
from fmb.files.captures.read import SOURCES
from fmb.files.options import FILE_SUFFIXES
from fmb.files.points import POINT_FORMATS
from fmb.fit.schedules import SCHEDULES
from fmb.options import ConfigError, Option, description
from fmb.shape.options import RELEASED
from fmb.shape.recipe import RECIPES
from tests.configs import TASKS, load, written

ROOT = Path(__file__).resolve().parents[1]


def value_of(config: Config, spec: Option) -> object:
    return getattr(getattr(config, spec.section) if spec.section else config, spec.name)


@pytest.fixture
def write(tmp_path):
    """A function that writes a config file and returns its path."""

    return partial(written, tmp_path)


def test_defaults_are_those_declared_of_their_type_and_allowed():
    config = load()
    assert config == dataclasses.replace(Config(), task="shape")
    assert (config.model.num_mixtures, config.rendering.num_views, config.random_seed) == (40, 20, 42)
    for name, spec in declared().items():
        assert type(spec.default) is spec.type, name
        text = str(spec.default).lower() if spec.type is bool else str(spec.default)
        assert value_of(load(f"{spec.flag}={text}"), spec) == spec.default


def test_names_are_unique_over_sections():
    names = [entry.name for kind in (*sections().values(), Config) for entry in dataclasses.fields(kind)]
    assert sorted(set(names)) == sorted(names), "a flag would mean two options"


def test_names_that_can_be_chosen_are_those_that_there_are():
    # the options name them, too, so that help comes without loading what they stand for
    chosen = {name: set(spec.limits["choices"] or ()) - {"auto", "none"} for name, spec in declared().items()}
    assert chosen["recipe"] == set(RECIPES) and chosen["schedule"] == set(SCHEDULES)
    assert chosen["mesh_field"] == set(FIELDS) and chosen["format"] == set(SOURCES)
    assert {f".{name}" for name in chosen["mesh"]} == set(mesh_output.MESH_FORMATS)
    assert {f".{name}" for name in chosen["points"]} == set(POINT_FORMATS)
    assert set(FILE_SUFFIXES) == {f".{kind}" for kind in meshes.FORMATS} | set(models.MODEL_FORMATS)


def test_shipped_file_holds_every_default_and_its_text_for_any_reader():
    assert DEFAULT_FILE == ROOT / "config.yaml"
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    assert text == to_yaml(Config(), comments=True), "write config.yaml again with to_yaml(Config(), comments=True)"
    assert all(len(line) <= 120 for line in text.splitlines())
    assert [spec.name for spec in declared().values() if f"# {description(spec)}\n" not in text] == []
    assert load_config([], TASKS) == load() and (ROOT / Config().io.mesh_file).is_file()
    loaded = yaml.safe_load(text)
    for name, spec in declared().items():
        assert (loaded[spec.section] if spec.section else loaded).pop(name) == spec.default
    assert not any(loaded.values())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder, which is not the one of the program."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_default_mesh_is_found_from_any_folder_and_a_named_one_is_where_the_user_says(elsewhere):
    mesh = load_config([], TASKS).io.mesh_file
    assert mesh == str(ROOT / Config().io.mesh_file)
    # as in a run whose own file says nothing of the mesh
    (elsewhere / "mine.yaml").write_text("random_seed: 7\n")
    assert load_config(["--config", "mine.yaml"], TASKS).io.mesh_file == mesh
    (elsewhere / "mine.yaml").write_text("io:\n  mesh_file: cow.obj\n")
    assert load_config(["--config", "mine.yaml"], TASKS).io.mesh_file == "cow.obj"
    for name in ("data/ibex.ply", "x" * 300):
        assert load_config(["--mesh-file", name], TASKS).io.mesh_file == name
    # and the one in the current folder comes first
    nearer = elsewhere / Config().io.mesh_file
    nearer.parent.mkdir()
    nearer.touch()
    assert load_config([], TASKS).io.mesh_file == Config().io.mesh_file


def test_a_mesh_of_the_default_file_is_beside_it(elsewhere, tmp_path):
    default = tmp_path / "program" / "config.yaml"
    default.parent.mkdir()
    assert load_config([], TASKS, default).io.mesh_file == str(default.parent / Config().io.mesh_file)
    for name in ("x" * 300, str(tmp_path / "cow.obj"), "cow.obj"):
        default.write_text(f"io:\n  mesh_file: {name}\n")
        config = load_config([], TASKS, default)
        assert config.io == dataclasses.replace(Config().io, mesh_file=str(default.parent / name))
    # what is written of the run tells the same mesh, wherever it is read
    (elsewhere / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(["--config", "again.yaml"], TASKS, default) == config
    default.write_text("random_seed: -7\n")
    with pytest.raises(ConfigError, match=r"^config.yaml, line 1: random_seed is -7; must be at least 0$"):
        load_config([], TASKS, default)


def test_flags_win_over_file_and_file_over_defaults(write):
    file = write("rendering:\n  num_views: 5\n  image_width: 32\n")
    rendering = load("--num-views", "7", file=file).rendering
    assert (rendering.num_views, rendering.image_width, rendering.image_height) == (7, 32, 64)


NOTHING = (
    "",
    "# nothing\n",
    "model:\n",
    "model: ~\nrendering: {}\n",
    "---\n",
    "\ufeffrandom_seed: 42\n",
    "random_seed: +42",
)


@pytest.mark.parametrize("text", NOTHING)
def test_files_that_change_nothing(write, text):
    assert load(file=write(text)) == load()


def test_values_are_read_alike_in_file_and_flag(write):
    for text in ("1e-4", "1.0e-4", "+.0001", "0.0001", "1E-04", "00.0001"):
        assert load("--initial-lr", text).optimization.initial_lr == 1e-4
        assert load(file=write(f"optimization:\n  initial_lr: {text}\n")).optimization.initial_lr == 1e-4
    config = load("--opt-shape-scale=2", file=write("model: {gmm_init_scale: 3}"))
    assert (config.optimization.opt_shape_scale, config.model.gmm_init_scale) == (2.0, 3.0)
    assert isinstance(config.optimization.opt_shape_scale, float), "a whole number is a number"
    file = write("io:\n  output_dir: 2024-11-21\n  mesh_file: 7\n")
    assert load(file=file).io == dataclasses.replace(Config().io, output_dir="2024-11-21", mesh_file="7")
    assert load(file=write("io:\n  output_dir: 'no'")).io.output_dir == "no"


def test_flag_forms():
    assert load("--num-views=3") == load("--num-views", "3") == load("--num-views", "9", "--num-views", "3")
    assert not load("--early-stop", "false").optimization.early_stop
    assert load("--early-stop", "True").optimization.early_stop
    assert load("--num-mixtures", "30000", "--init", "sphere").model.num_mixtures == 30_000
    for name in switches():
        task = next(task for task, entry in ALL.items() if entry.reads_flag(name))
        assert getattr(load_config([task, "--" + name.replace("_", "-")], tuple(ALL), None), name)
        assert not getattr(load(), name)


def test_words_are_the_task_and_what_to_work_on(tmp_path):
    words = {
        "": ("shape", "mesh_file", Config().io.mesh_file),
        "pose --image-width 32": ("pose", "mesh_file", Config().io.mesh_file),
        "--image-width 32 pose": ("pose", "mesh_file", Config().io.mesh_file),
        "pose cow.obj": ("pose", "mesh_file", "cow.obj"),
        "pose --image-width 32 out/model.npz": ("pose", "model_file", "out/model.npz"),
        "--cpu pose released.pkl": ("pose", "model_file", "released.pkl"),
        "export splats.ply": ("export", "model_file", "splats.ply"),
        f"shape {tmp_path}": ("shape", "data", str(tmp_path)),
        f"--cpu {tmp_path}": ("shape", "data", str(tmp_path)),
        "their.OBJ --num-views 3": ("shape", "mesh_file", "their.OBJ"),
        "points scan.npy": ("points", "cloud_file", "scan.npy"),
        "points their.obj": ("points", "cloud_file", "their.obj"),
        "pose --method first_order": ("pose", "method", "first_order"),
        "points --method igr": ("points", "points_method", "igr"),
        "--method=igr points --cpu": ("points", "points_method", "igr"),
    }
    for line, (task, name, value) in words.items():
        config = load_config(line.split(), tuple(ALL), None)
        assert (config.task, value_of(config, declared()[name])) == (task, value)
    assert load_config([], default_file=None).task == ""


# Every command of the README before the tasks had files of their own, and the flags that it names in its text.
OLD_README = (
    "",
    "--num-mixtures 80 --cpu",
    "--mesh-file their.obj --output-dir output/theirs",
    "--init sphere --num-views 32",
    "--fit-color false --mesh none --report false",
    "--data photographs/",
    "--data FOLDER --check-cameras",
    "--data FOLDER --longest-side 0 --depth-weight 3 --point-weight 1 --refine-cameras true",
    "pose",
    "pose output/model.npz --sensor-noise 1",
    "pose output/model.npz --depth-file depth.png --mask-file mask.png --intrinsics-file camera.json "
    "--initial-pose-file guess.json",
    "pose --method first_order --bop-dir DATASET/test/000001",
    "pose --model-file released.pkl",
    "track --image-width 80 --image-height 60",
    "export output/model.npz --mesh glb --points ply --splats true --turntable mp4",
    "export output/model.npz --mesh-faces 2000 --overwrite",
    "convert their.obj --num-mixtures 40",
    "--film gif --view",
    "--recipe predecessor",
)


@pytest.mark.usefixtures("elsewhere")
def test_commands_of_the_old_readme_and_of_the_help_are_taken():
    for line in (*OLD_README, *(example for task in ALL.values() for example in task.examples)):
        words = line.split()
        config = load_config(words, tuple(ALL))
        assert config.task == (words[0] if words and words[0] in ALL else "shape")


def test_the_file_of_one_task_serves_every_other(write):
    file = write(to_yaml(load("--num-epochs", "5", "--film", "gif", "--data", "photographs")))
    for task in ALL:
        config = load_config([task, "--config", str(file), "--num-epochs", "100"], tuple(ALL), None)
        assert (config.export.film, config.capture.data, config.optimization.num_epochs) == ("gif", "photographs", 100)


def shown_help(capsys, *words: str) -> str:
    """What the help says, and that it ends without an error."""
    with pytest.raises(SystemExit) as exit_of:
        load_config([*words, "--help"], tuple(ALL))
    assert exit_of.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("task", ALL)
def test_the_help_of_a_task_shows_what_it_reads_and_nothing_else(task, capsys, monkeypatch):
    for columns, widest in (("60", 60), ("80", 80), ("200", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = shown_help(capsys, task).splitlines()
        assert max(map(len, lines)) <= widest
    text = " ".join(" ".join(lines).split())
    for spec in declared().values():
        default = str(spec.default).lower() if spec.type is bool else spec.default
        if spec.flag in dict(ALL[task].own):  # here it means another option
            continue
        shown = f" {ALL[task].flag(spec)} " in text
        assert shown == ALL[task].reads(spec), spec.name
        assert not shown or " ".join(with_default(description(spec), default).split()) in text
    for words in ("--cpu", "--config FILE", ALL[task].text, *ALL[task].examples):
        assert words in text.replace(" \\ ", " ")


def test_every_option_and_switch_is_in_some_help(capsys):
    text = " ".join(shown_help(capsys, task) for task in ALL)
    own = {name: flag for task in ALL.values() for flag, name in task.own}
    flags = [own.get(name, spec.flag) for name, spec in declared().items()] + [
        f"--{name.replace('_', '-')}" for name in switches()
    ]
    assert [flag for flag in flags if f" {flag} " not in text] == []
    assert shown_help(capsys) == shown_help(capsys, "shape")


def test_help_starts_without_jax():
    heavy = "{'jax', 'trimesh', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)"
    program = (
        f"import sys, atexit, run_fmb\natexit.register(lambda: print('loaded', {heavy}))\nrun_fmb.main(['--help'])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("loaded set()")


def test_collecting_garbage_goes_on_after_a_task_is_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "this_is_new", raising=False)
    with pytest.raises(ModuleNotFoundError):
        run_fmb.loaded("this_is_new", "main")
    assert gc.isenabled() and run_fmb.loaded("fmb.config", "Config") is Config
    gc.disable()
    try:
        run_fmb.loaded("fmb.config", "Config")
        assert not gc.isenabled()
    finally:
        gc.enable()


def values(spec: Option) -> st.SearchStrategy:
    """Any value that an option allows."""
    choices, low, above, high = (spec.limits[key] for key in ("choices", "at_least", "above", "at_most"))
    if choices:
        return st.sampled_from(choices)
    if spec.type is bool:
        return st.booleans()
    if spec.type is int:
        return st.integers(low, high)
    if spec.type is float:
        lowest = low if low is not None else above
        return st.floats(lowest, high, exclude_min=above is not None, allow_nan=False, allow_infinity=False)
    return st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1)  # all printable


CONFIGS = st.builds(
    Config,
    **{
        section: st.builds(kind, **{name: values(o) for name, o in declared().items() if o.section == section})
        for section, kind in sections().items()
    },
    random_seed=values(declared()["random_seed"]),
    task=st.just("shape"),
)


@settings(max_examples=60, deadline=None, database=None)
@given(CONFIGS, st.booleans())
def test_round_trip(tmp_path_factory, config, comments):
    # Rays and points enough for any batch and any mixture: those limits are met in tests of their own.
    config = dataclasses.replace(
        config,
        optimization=dataclasses.replace(config.optimization, batch_size=config.rendering.num_views, recipe="best"),
        model=dataclasses.replace(config.model, num_mixtures=10),
    )
    file = tmp_path_factory.getbasetemp() / "round.yaml"
    file.write_text(to_yaml(config, comments), encoding="utf-8", newline="\n")
    assert load(file=file) == config
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["io"] == dataclasses.asdict(config.io)


@pytest.mark.parametrize("name", ["...", "....", "---", "null", "~", "y", "<<", "=", "1e3", ".inf", "../x", "a: b"])
def test_words_that_mean_something_in_yaml(write, name):
    config = load(f"--output-dir={name}")
    assert load(file=write(to_yaml(config))) == config


def test_predecessor_has_numbers_of_its_own(write):
    config = load("--recipe", "predecessor")
    assert {name: getattr(config.optimization, name) for name in RELEASED} == RELEASED
    assert load(file=write(to_yaml(config))) == config


def read_in(source: str) -> set[tuple[str, str]]:
    """Whatever is read as HOLDER.NAME, or SOMETHING.HOLDER.NAME, in a module."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    nodes = [node for node in nodes if isinstance(node.ctx, ast.Load)]
    return {(getattr(node.value, "attr", getattr(node.value, "id", "")), node.attr) for node in nodes}


def test_no_option_is_unread():
    declaring = ("config.py", "options.py")
    modules = [ROOT / "run_fmb.py", *(path for path in (ROOT / "fmb").rglob("*.py") if path.name not in declaring)]
    found = set().union(*(read_in(path.read_text(encoding="utf-8")) for path in modules))
    options = [(spec.section, name) for name, spec in declared().items()] + [
        ("", name) for name in (*switches(), "task")
    ]
    unread = [name for section, name in options if not found & {(section, name), ("options", name), ("config", name)}]
    assert not unread, "read as config.<section>.<option>, <section>.<option> or options.<option>, or remove"
    read = read_in("print(config.pose.a, pose.b, c, other.d)\npose.e = 3")
    assert read & {("pose", name) for name in "abcde"} == {("pose", "a"), ("pose", "b")}
