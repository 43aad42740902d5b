"""pixi.lock fits pixi.toml, and the check that says so fails for each way to break it."""

import copy
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import check_lock

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
Json = dict[str, Any]


def git_hash(*arguments: str) -> str:
    """Hash that a git command prints; empty where there is no git, no checkout or no commit."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def rewritten_by_pixi() -> bool:
    committed = git_hash("rev-parse", "--verify", "--quiet", "HEAD:./pixi.lock")
    return "PIXI_PROJECT_ROOT" in os.environ or committed not in ("", git_hash("hash-object", "pixi.lock"))


@pytest.fixture(scope="module")
def lock() -> Json:
    if rewritten_by_pixi():
        pytest.skip(
            "pixi.lock is not as committed (pixi completes it): run tools/check_lock.py on what is to be committed"
        )
    return check_lock.read_lock(ROOT / "pixi.lock")


def test_lock_fits_manifest(lock: Json):
    assert check_lock.check_lock(MANIFEST, lock) == []


def test_main_prints_each_error(tmp_path: Path, lock: Json, capsys: pytest.CaptureFixture[str]):
    assert check_lock.main([]) == 0
    text = (ROOT / "pixi.toml").read_text(encoding="utf-8").replace('numpy = "==2.4.6"', 'numpy = "==2.4.5"')
    (tmp_path / "pixi.toml").write_text(text, encoding="utf-8")
    assert check_lock.main([str(tmp_path / "pixi.toml"), str(ROOT / "pixi.lock")]) == 1
    assert "default, osx-arm64: numpy ==2.4.5: locked is 2.4.6" in capsys.readouterr().err


def url_of(lock: Json, name: str, environment: str = "default", platform: str = "linux-64") -> str:
    urls = [entry["conda"] for entry in lock["environments"][environment]["packages"][platform]]
    return next(url for url in urls if check_lock.parse_url(url)[0] == name)


def entry_of(lock: Json, name: str) -> Json:
    return next(entry for entry in lock["packages"] if entry["conda"] == url_of(lock, name))


def default_packages(lock: Json) -> list[Json]:
    return lock["environments"]["default"]["packages"]["linux-64"]


def remove(lock: Json, name: str) -> None:
    default_packages(lock).remove({"conda": url_of(lock, name)})


def replace_host(lock: Json) -> None:
    url = url_of(lock, "trimesh")
    other = url.replace("conda.anaconda.org", "example.org")
    entry_of(lock, "trimesh")["conda"] = other
    for environment in lock["environments"].values():
        for packages in environment["packages"].values():
            packages[:] = [{"conda": other} if entry == {"conda": url} else entry for entry in packages]


def lock_missing_package(lock: Json) -> None:
    url = f"{check_lock.CHANNEL}noarch/pyrender-0.1.45-pyh8a188c0_3.tar.bz2"
    lock["packages"].append({"conda": url, "sha256": "0" * 64, "size": 1})
    default_packages(lock).append({"conda": url})


BREAKAGES = {
    "hash": (lambda _, lock: entry_of(lock, "numpy").pop("sha256"), r"numpy-2.4.6.*: no sha256"),
    "size": (lambda _, lock: entry_of(lock, "numpy").update(size=0), r"numpy-2.4.6.*: no size"),
    "host": (lambda _, lock: replace_host(lock), r"example.org: a host other than conda.anaconda.org"),
    "origin": (
        lambda _, lock: replace_host(lock),
        r"trimesh-4.12.2.*: not from https://conda.anaconda.org/conda-forge/",
    ),
    "index": (
        lambda _, lock: default_packages(lock).append({"pypi": "https://example.org/embreex-4.4.0.whl"}),
        r"^example.org: a host other",
    ),
    "kind": (
        lambda _, lock: lock["packages"].append({"pypi": "https://example.org/embreex-4.4.0.whl"}),
        r"embreex-4.4.0.whl'}: not a conda package",
    ),
    "channel": (
        lambda _, lock: lock["environments"]["cuda"]["channels"].append({"url": check_lock.CHANNEL}),
        r"cuda: channels are not",
    ),
    "environment": (
        lambda _, lock: lock["environments"].pop("cuda"),
        r"environments: locked are \['default', 'jupyter'\]",
    ),
    "platform": (
        lambda _, lock: lock["environments"]["default"]["packages"].pop("osx-arm64"),
        r"default: platforms are \['linux-64'\], not \['linux-64', 'osx-arm64'\]",
    ),
    "record": (
        lambda _, lock: lock["packages"].remove(entry_of(lock, "numpy")),
        r"numpy-2.4.6.*: no record under packages",
    ),
    "twice": (lambda _, lock: default_packages(lock).append({"conda": url_of(lock, "numpy")}), r"numpy: locked twice"),
    "subdir": (
        lambda _, lock: default_packages(lock).append({"conda": url_of(lock, "numpy", platform="osx-arm64")}),
        r"numpy-2.4.6.*: not for linux-64",
    ),
    "unused": (
        lambda _, lock: lock["packages"].append({"conda": f"{check_lock.CHANNEL}noarch/a-1-0.conda"}),
        r"a-1-0.conda: in no environment",
    ),
    "unreachable": (
        lambda _, lock: default_packages(lock).append({"conda": url_of(lock, "jupyterlab", "jupyter")}),
        r"jupyterlab: nothing in the manifest needs it",
    ),
    "dependency": (lambda _, lock: remove(lock, "libzlib"), r"python: depends on libzlib >=.*, which is not locked"),
    "depends": (
        lambda _, lock: entry_of(lock, "jax")["depends"].append("numpy <2"),
        r"jax: depends numpy <2, locked is 2.4.6",
    ),
    "constrains": (
        lambda _, lock: entry_of(lock, "jaxlib")["constrains"].append("jax >=0.11"),
        r"jaxlib: constrains jax >=0.11, locked is 0.10.2",
    ),
    "machine": (
        lambda _, lock: entry_of(lock, "jaxlib")["depends"].append("__glibc >=2.40"),
        r"jaxlib: depends __glibc >=2.40, locked is 2.28",
    ),
    "missing": (lambda manifest, _: manifest["dependencies"].update(optax="==0.2.3"), r"optax ==0.2.3: not locked"),
    "version": (
        lambda manifest, _: manifest["dependencies"].update(scipy="==1.17.0"),
        r"scipy ==1.17.0: locked is 1.17.1",
    ),
    "build": (
        lambda manifest, _: manifest["feature"]["cuda"]["dependencies"]["jaxlib"].update(build="cuda130*"),
        r"jaxlib ==0.10.2 cuda130\*: locked is 0.10.2 cuda129_py311",
    ),
    "completed": (
        lambda _, lock: lock_missing_package(lock),
        r"pyrender: locked, but listed in COMPLETED_BY_FIRST_RUN",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_check_finds_each_way_to_break_the_lock(name: str, lock: Json):
    damage, message = BREAKAGES[name]
    manifest, broken = copy.deepcopy((MANIFEST, lock))
    damage(manifest, broken)
    errors = check_lock.check_lock(manifest, broken)
    assert any(re.search(message, error) for error in errors), errors


@pytest.mark.parametrize(
    ("version", "constraint", "expected"),
    [
        ("1.17.1", ">=1.9", True),
        ("1.17.1", ">=1.2,<1.10", False),
        ("3.11.15", "3.11.*", True),
        ("3.110", "3.11.*", False),
        ("2.0", "1.0|2.*", True),
        ("1.4.2", "=1.4", True),
        ("1.4", "!=1.4.*", False),
        ("2.28", "<2.28.0a0", False),
        ("2.27", "<=2.28", True),
        ("2.28", ">2.28", False),
        ("anything", "*", True),
    ],
)
def test_version_constraints(version: str, constraint: str, expected: bool):
    assert check_lock.version_matches(version, constraint) == expected


def test_unknown_operator():
    with pytest.raises(ValueError, match=r"~=1.4: unknown operator '~='; known are"):
        check_lock.version_matches("1.4", "~=1.4")


def test_specs_of_three_forms():
    assert check_lock.split_spec("python_abi 3.11.* *_cp311") == ("python_abi", "3.11.*", "*_cp311")
    assert check_lock.split_spec("libgcc-ng ==16.1.0=*_2") == ("libgcc-ng", "==16.1.0", "*_2")
    assert check_lock.split_spec("libblas   3.11.0   9*_openblas") == ("libblas", "3.11.0", "9*_openblas")
    assert check_lock.split_spec("tzdata") == ("tzdata", "*", "*")
