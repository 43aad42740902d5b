"""What the command line takes for true, what it answers at once, and what a shell completes."""

import shlex
import subprocess

import pytest

from fmb import __version__
from fmb.command.completion import completion
from fmb.command.flags import flag_parser
from fmb.command.load import load_config
from fmb.command.tasks import TASKS
from fmb.config import declared
from tests.configs import load, written


def test_words_for_true_and_false(tmp_path):
    for word, value in {"true": True, "Yes": True, "ON": True, "false": False, "no": False, "off": False}.items():
        assert load("--splats", word).export.splats is value
        assert load(file=written(tmp_path, f"export:\n  splats: {word}\n")).export.splats is value


def test_a_flag_of_true_or_false_without_a_value_is_true(tmp_path):
    mesh = tmp_path / "cow.obj"
    mesh.touch()
    for words in (["--splats"], ["--splats", "--cpu"], ["--splats", str(mesh)], ["--splats", "shape", str(mesh)]):
        config = load(*words)
        assert config.export.splats and config.task == "shape"
        assert config.io.mesh_file == (str(mesh) if str(mesh) in words else "data/ibex.ply")


def test_versions_are_told(capsys):
    with pytest.raises(SystemExit):
        load("pose", "--version")
    assert capsys.readouterr().out.startswith(f"fuzzy-metaballs {__version__} (Python 3.")


@pytest.mark.parametrize("task", TASKS)
def test_help_of_every_task_is_narrow_and_has_examples_that_are_read(task, monkeypatch, capsys):
    assert len(TASKS[task].examples) >= 3
    for columns, most in ((60, 60), (300, 100)):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit):
            flag_parser(tuple(TASKS), task).parse_args(["--help"])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= most
    for example in TASKS[task].examples:
        assert load_config(shlex.split(example), tuple(TASKS)).task == task


def test_a_shell_completes_tasks_flags_and_choices():
    pytest.importorskip("shtab")
    script = completion("bash")
    asked = f"""{script}
COMP_WORDS=(fuzzy-metaballs "$@"); COMP_CWORD=$#; COMPREPLY=(); _shtab_fuzzy_metaballs; echo "${{COMPREPLY[@]}}"
"""

    def completed(*words: str) -> list[str]:
        run = subprocess.run(["bash", "-c", asked, "bash", *words], capture_output=True, text=True, check=True)
        return run.stdout.split()

    assert completed("po") == ["pose", "points"]
    assert completed("pose", "--num-sta") == ["--num-starts"]
    assert completed("shape", "--init", "s") == ["surface_gmm", "sphere"]
    assert all(spec.flag in script for spec in declared().values())
