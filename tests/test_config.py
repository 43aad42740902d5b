"""Options: one declaration each, flags over file over defaults, and nothing unread."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fmb.config import DEFAULT_FILE, TASK_OPTIONS, Config, declared, load_config, sections, switches, to_yaml
from fmb.config import reads as is_read
from fmb.options import ConfigError, Option, description
from fmb.shape.options import RELEASED

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("shape", "pose")


def load(*argv: str, file: Path | None = None) -> Config:
    """The options without the shipped config.yaml."""
    return load_config([*argv, *(["--config", str(file)] if file else [])], TASKS, default_file=None)


def value_of(config: Config, spec: Option) -> object:
    return getattr(getattr(config, spec.section) if spec.section else config, spec.name)


@pytest.fixture
def write(tmp_path):
    """A function that writes the text of a config file and returns its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_defaults_are_those_declared():
    config = load()
    assert config == dataclasses.replace(Config(), task="shape")
    assert (config.model.num_mixtures, config.rendering.num_views, config.random_seed) == (40, 20, 42)


def test_names_are_unique_over_sections():
    names = [entry.name for kind in sections().values() for entry in dataclasses.fields(kind)]
    names += [entry.name for entry in dataclasses.fields(Config)]
    assert len(names) == len(set(names))


def test_defaults_are_of_their_type_and_allowed():
    for name, spec in declared().items():
        assert type(spec.default) is spec.type, name
        text = str(spec.default).lower() if spec.type is bool else str(spec.default)
        assert value_of(load(f"{spec.flag}={text}"), spec) == spec.default


def test_shipped_file_holds_every_default_and_its_text():
    assert DEFAULT_FILE == ROOT / "config.yaml"
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    assert text == to_yaml(Config(), comments=True), "write config.yaml again with to_yaml(Config(), comments=True)"
    assert all(len(line) <= 120 for line in text.splitlines())
    for spec in declared().values():
        assert f"# {description(spec)}\n" in text
    assert load_config([], TASKS) == load()


def test_default_mesh_is_shipped():
    assert (ROOT / Config().io.mesh_file).is_file()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder, which is not the one of the program."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_default_mesh_is_found_from_any_folder(elsewhere):
    mesh = load_config([], TASKS).io.mesh_file
    assert mesh == str(ROOT / Config().io.mesh_file)
    # as in a run whose own file says nothing of the mesh
    (elsewhere / "mine.yaml").write_text("random_seed: 7\n")
    assert load_config(["--config", "mine.yaml"], TASKS).io.mesh_file == mesh
    # and the one in the current folder comes first
    nearer = elsewhere / Config().io.mesh_file
    nearer.parent.mkdir()
    nearer.touch()
    assert load_config([], TASKS).io.mesh_file == Config().io.mesh_file


def test_a_mesh_of_the_default_file_is_beside_it(elsewhere, tmp_path):
    default = tmp_path / "program" / "config.yaml"
    default.parent.mkdir()
    assert load_config([], TASKS, default).io.mesh_file == str(default.parent / Config().io.mesh_file)
    default.write_text("io:\n  mesh_file: cow.obj\n")
    config = load_config([], TASKS, default)
    assert config.io.mesh_file == str(default.parent / "cow.obj")
    assert config.io.output_dir == Config().io.output_dir
    # what is written of the run tells the same mesh, wherever it is read
    (elsewhere / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(["--config", "again.yaml"], TASKS, default) == config
    default.write_text(f"io:\n  mesh_file: {tmp_path / 'cow.obj'}\n")
    assert load_config([], TASKS, default).io.mesh_file == str(tmp_path / "cow.obj")


@pytest.mark.usefixtures("elsewhere")
def test_a_mesh_that_the_user_names_is_where_the_user_says(write):
    own = str(write("io:\n  mesh_file: cow.obj\n"))
    assert load_config(["--config", own], TASKS).io.mesh_file == "cow.obj"
    assert load_config(["--mesh-file", "data/ibex.ply"], TASKS).io.mesh_file == "data/ibex.ply"
    assert load_config(["--mesh-file", "x" * 300], TASKS).io.mesh_file == "x" * 300


def test_a_default_mesh_with_a_name_too_long_to_look_for(tmp_path):
    default = tmp_path / "config.yaml"
    default.write_text(f"io:\n  mesh_file: {'x' * 300}\n")
    assert load_config([], TASKS, default).io.mesh_file == str(tmp_path / ("x" * 300))


def test_shipped_file_means_the_same_to_another_reader():
    loaded = yaml.safe_load(DEFAULT_FILE.read_text(encoding="utf-8"))
    expected = dataclasses.asdict(Config())
    for name in ("task", *switches()):
        del expected[name]
    assert loaded == expected


def test_flags_win_over_file_and_file_over_defaults(write):
    file = write("rendering:\n  num_views: 5\n  image_width: 32\n")
    rendering = load("--num-views", "7", file=file).rendering
    assert (rendering.num_views, rendering.image_width, rendering.image_height) == (7, 32, 64)


def test_default_file_is_read_where_it_exists(tmp_path):
    default = tmp_path / "config.yaml"
    assert load_config([], TASKS, default).random_seed == 42
    default.write_text("random_seed: 7\n")
    assert load_config([], TASKS, default).random_seed == 7
    default.write_text("random_seed: -7\n")
    with pytest.raises(ConfigError, match=r"^config.yaml, line 1: random_seed is -7; must be at least 0$"):
        load_config([], TASKS, default)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "model:\n",
        "model: ~\nrendering: {}\n",
        "---\n",
        "\ufeffrandom_seed: 42\n",
        "random_seed: +42",
    ],
)
def test_files_that_change_nothing(write, text):
    assert load(file=write(text)) == load()


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "+.0001", "0.0001", "1E-04", "00.0001"])
def test_numbers_are_numbers_in_file_and_flag(write, text):
    assert load("--initial-lr", text).optimization.initial_lr == 1e-4
    assert load(file=write(f"optimization:\n  initial_lr: {text}\n")).optimization.initial_lr == 1e-4


def test_a_whole_number_is_a_number(write):
    config = load("--opt-shape-scale=2", file=write("model: {gmm_init_scale: 3}"))
    assert (config.optimization.opt_shape_scale, config.model.gmm_init_scale) == (2.0, 3.0)
    assert isinstance(config.optimization.opt_shape_scale, float)


def test_folders_named_like_numbers_and_dates(write):
    file = write("io:\n  output_dir: 2024-11-21\n  mesh_file: 7\n")
    assert load(file=file).io == dataclasses.replace(Config().io, output_dir="2024-11-21", mesh_file="7")
    assert load(file=write("io:\n  output_dir: 'no'")).io.output_dir == "no"


def test_flag_forms():
    assert load("--num-views=3") == load("--num-views", "3") == load("--num-views", "9", "--num-views", "3")
    assert not load("--early-stop", "false").optimization.early_stop
    assert load("--early-stop", "True").optimization.early_stop
    for name in switches():
        assert getattr(load("--" + name.replace("_", "-")), name)
        assert not getattr(load(), name)


def test_task_is_the_first_word_and_defaults_to_the_first():
    assert load().task == "shape"
    assert load("pose", "--num-views", "3").task == "pose"
    assert load("--num-views", "3", "pose").task == "pose"
    assert load_config([], default_file=None).task == ""


def shown_help(capsys, *words: str) -> str:
    """What the help says, and that it ends without an error."""
    with pytest.raises(SystemExit) as exit_of:
        load_config([*words, "--help"], tuple(TASK_OPTIONS))
    assert exit_of.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("task", TASK_OPTIONS)
def test_the_help_of_a_task_shows_what_it_reads_and_nothing_else(task, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = shown_help(capsys, task).splitlines()
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    for spec in declared().values():
        default = str(spec.default).lower() if spec.type is bool else spec.default
        shown = f" {spec.flag} " in text
        assert shown == is_read(TASK_OPTIONS[task], spec), spec.name
        assert not shown or f"{description(spec)} (default {default})" in text.replace("- ", "-") or "-" in spec.name
    assert "--cpu" in text and "--config FILE" in text and TASK_OPTIONS[task].text in text
    examples = [line.split()[1:] for line in lines if line.strip().startswith("run_fmb.py ")]
    assert len(examples) == 3
    for words in examples:
        assert load_config(words, tuple(TASK_OPTIONS)).task == task


def test_every_option_and_switch_is_in_some_help(capsys):
    text = " ".join(shown_help(capsys, task) for task in TASK_OPTIONS)
    assert [spec.name for spec in declared().values() if f" {spec.flag} " not in text] == []
    assert [name for name in switches() if f"--{name.replace('_', '-')} " not in text] == []
    assert shown_help(capsys) == shown_help(capsys, "shape")


def test_narrow_terminals_and_a_start_without_jax(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, shown_help(capsys, "export").splitlines())) <= 70
    heavy = "{'jax', 'trimesh', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)"
    program = (
        f"import sys, atexit, run_fmb\natexit.register(lambda: print('loaded', {heavy}))\nrun_fmb.main(['--help'])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("loaded set()")


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


@pytest.mark.parametrize(
    "name", ["...", "....", "---", "null", "~", "y", "<<", "=", "1e3", ".inf", "../x", "a: b", "'"]
)
def test_words_that_mean_something_in_yaml(write, name):
    config = load(f"--output-dir={name}")
    assert load(file=write(to_yaml(config))) == config


def test_predecessor_has_numbers_of_its_own(tmp_path):
    config = load("--recipe", "predecessor")
    assert {name: getattr(config.optimization, name) for name in RELEASED} == RELEASED
    file = tmp_path / "released.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert load(file=file) == config


def reads(module: Path, spec: Option) -> bool:
    """Whether a module reads the option off a record of its section, of options or of the whole config."""
    holders = {spec.section, "options", "config"} - {""}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == spec.name and isinstance(node.ctx, ast.Load):
            holder = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if holder in holders:
                return True
    return False


def test_no_option_is_unread():
    entry = ROOT / "run_fmb.py"
    if not entry.exists():
        pytest.skip("run_fmb.py, which reads the options, does not exist yet")
    modules = [entry, *(path for path in (ROOT / "fmb").rglob("*.py") if path.name not in ("config.py", "options.py"))]
    flags_alone = [Option("", name, bool, False, {}) for name in switches()] + [Option("", "task", str, "", {})]
    unread = [o.name for o in [*declared().values(), *flags_alone] if not any(reads(m, o) for m in modules)]
    assert not unread, "read as config.<section>.<option>, <section>.<option> or options.<option>, or remove"


def test_the_reading_of_an_option_is_recognised(tmp_path):
    module = tmp_path / "module.py"
    views = declared()["num_views"]
    for source, expected in (
        ("print(config.rendering.num_views)", True),
        ("print(rendering.num_views)", True),
        ("print(options.num_views)", True),
        ("print(model.num_views, num_views, other.num_views)", False),
        ("rendering.num_views = 3", False),
    ):
        module.write_text(source)
        assert reads(module, views) == expected
