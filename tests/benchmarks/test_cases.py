"""The runner of reproducers tells a good end from a bad one."""

import pytest

from benchmarks.cases import main, run

ENDS = {
    "echo fine": "ran",
    "echo error: no such file >&2; exit 2": "refused",
    "$PY -c 'raise KeyError'": "TRACEBACK",
    "exit 3": "EXIT 3",
    "mkdir $OUT/r; touch $OUT/r/.mesh.ply.12.partial": "LEFT FILES",
    "sleep 30 & sleep 30": "HANG",
}


@pytest.mark.parametrize(("line", "verdict"), ENDS.items(), ids=ENDS.values())
def test_verdicts(tmp_path, line, verdict):
    case, folder = tmp_path / "case", tmp_path / "out"
    case.mkdir()
    folder.mkdir()
    (case / "run").write_text(line)
    end = run(case, folder, limit=1.0 if verdict == "HANG" else 60.0)
    assert end.verdict == verdict
    assert end.said == {"ran": "fine", "refused": "error: no such file", "TRACEBACK": "KeyError"}.get(verdict, "")


def test_table_and_a_folder_without_cases(tmp_path, capsys):
    assert main(["--cases", str(tmp_path)]) == 2
    assert "no folder with a file `run`" in capsys.readouterr().err
    (tmp_path / "01-hello").mkdir()
    (tmp_path / "01-hello" / "run").write_text("echo hello $REPO | head -c 5")
    assert main(["--cases", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert "1 cases: 1 ran." in capsys.readouterr().out
    assert (tmp_path / "out" / "01-hello.log").read_text() == "hello"
