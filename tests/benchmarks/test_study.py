"""The study under all tables: rows that are resumed, keys, meshes, methods, sections."""

from typing import NamedTuple

import pytest

from benchmarks import study as studies
from benchmarks.markdown import table
from benchmarks.study import Job, find_meshes, key, read_rows, runnable, study, told, write_section


class Method(NamedTuple):
    package: str | None


@pytest.fixture
def meshes(tmp_path):
    for name in ("ball.ply", "brick.obj", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_study_that_was_killed_goes_on_where_it_was(tmp_path):
    made = []

    def make(value: int) -> dict:
        made.append(value)
        return {"value": value, "square": value**2}

    jobs = [Job(f"row-{value}", lambda value=value: make(value)) for value in range(4)]
    assert [row["square"] for row in study(jobs[:1], tmp_path / "out", "test")] == [0]
    assert len(study(jobs, tmp_path / "out", "test", minutes=0.0)) == 1 and made == [0]
    study(jobs, tmp_path / "out", "test")
    path = tmp_path / "out" / "results.jsonl"
    path.write_text(path.read_text()[:-5])
    assert list(read_rows(path)) == ["row-0", "row-1", "row-2"]
    rows = study(jobs, tmp_path / "out", "test")
    assert made == [0, 1, 2, 3, 3] and [row["value"] for row in rows] == [0, 1, 2, 3]
    assert list(read_rows(path).values()) == rows


def test_a_key_tells_settings_sources_and_files(meshes, monkeypatch):
    source, file = "benchmarks/study.py", meshes / "ball.ply"
    found = {key(name, [seed], [source], [file]) for name in ("a", "b c'") for seed in (0, 1)}
    assert len(found) == 4 and all(set(one) <= set("abc_-0123456789def") for one in found)
    before = key("a", [0], [source], [file])
    assert before in found
    for changed in ("study.py", "ball.ply"):
        monkeypatch.setattr(studies, "digest", lambda path, changed=changed: str(path.name == changed))
        assert key("a", [0], [source], [file]) not in found
    monkeypatch.undo()
    assert key("a", [0], [source], [file]) == before


def test_meshes_by_name_the_usual_ones_or_all(meshes):
    def names(*given) -> list[str]:
        return [path.name for path in find_meshes(meshes, *given)]

    assert names([]) == names([], ["ball", "cone"]) == ["ball.ply", "brick.obj"]
    assert names([], ["brick"]) == ["brick.obj"] and names(["ball"], ["brick"]) == ["ball.ply"]
    with pytest.raises(ValueError, match="no mesh named cone; there are ball, brick"):
        names(["cone"])
    (meshes / "empty").mkdir()
    with pytest.raises(ValueError, match="no mesh in this folder"):
        find_meshes(meshes / "empty", [])


def test_methods_without_their_package_are_named():
    methods = {"ours": Method(None), "theirs": Method("no_such_package")}
    said = "Skipped, for want of a package (No module named 'no_such_package'): theirs."
    assert runnable(methods, ["ours", "theirs"]) == (["ours"], said)
    assert runnable(methods, ["ours"]) == (["ours"], "")
    with pytest.raises(ValueError, match="theirs. No method is left"):
        runnable(methods, ["theirs"])


def test_tables_line_up():
    assert table(("a", "b"), [("long", "1"), ("x", "20")]).splitlines() == [
        "| a    |  b |",
        "| ---- | -: |",
        "| long |  1 |",
        "| x    | 20 |",
    ]


def test_a_section_replaces_itself_alone(tmp_path):
    path = tmp_path / "table.md"
    write_section(path, "first", "part")
    path.write_text(path.read_text(encoding="utf-8") + "\nof others\n", encoding="utf-8")
    write_section(path, "second", "part")
    text = path.read_text(encoding="utf-8")
    assert text.count("part:begin") == text.count("part:end") == 1
    assert "<!-- part:begin -->\nsecond\n<!-- part:end -->\n\nof others\n" in text and "first" not in text


def test_what_the_user_can_mend_is_one_line(tmp_path, capsys):
    def fail() -> str:
        raise ValueError("no mesh")

    assert told(fail, tmp_path / "table.md", "part") == 2
    assert capsys.readouterr().err == "error: no mesh\n" and not (tmp_path / "table.md").exists()
    assert told(lambda: "text", tmp_path / "table.md", "part") == 0
    assert capsys.readouterr().out == "text\n" and "\ntext\n" in (tmp_path / "table.md").read_text()
