import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fmb import machine
from fmb.machine import CUDA_HINT, cache_folder, usable_cache

ROOT = Path(__file__).resolve().parents[1]
CHOOSE = """
import json, sys
from fmb.machine import CACHE, choose_device
device = choose_device(sys.argv[1] == "--cpu")
import jax, jax.numpy
place = jax.jit(lambda x: x + 1)(jax.numpy.ones(3)).devices().pop().platform
print(json.dumps([*device, place, str(CACHE)]))
"""


def child(program: str, *arguments: str, **environment: str) -> list:
    """What a program of its own prints; JAX cannot change its device within this one."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def path_with_gpu(tmp_path) -> str:
    """A PATH on which the NVIDIA driver's program is found."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def test_a_gpu_that_jax_cannot_use_is_hinted_at(path_with_gpu, tmp_path):
    environment = {"JAX_PLATFORMS": "cpu", "PATH": path_with_gpu, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    name, hint, place, cache = child(CHOOSE, "", **environment)
    assert (name, place, hint) == ("cpu", "cpu", CUDA_HINT)
    assert "\n" not in hint and "pixi run -e cuda" in hint
    # and what was compiled is kept in the user's cache folder
    assert Path(cache) == tmp_path / "cache" / "fuzzy-metaballs"
    assert any(Path(cache).iterdir())


def test_cpu_means_the_cpu(path_with_gpu, tmp_path):
    # a platform that does not exist stands for one that is not to be asked
    environment = {"JAX_PLATFORMS": "none_of_these", "PATH": path_with_gpu, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    name, hint, place, _ = child(CHOOSE, "--cpu", **environment)
    assert (name, hint, place) == ("cpu", "", "cpu")


# "cuda" only where there is none: JAX tells of the missing plugin by an AssertionError without words
@pytest.mark.parametrize("platform", ["none_of_these", *([] if shutil.which("nvidia-smi") else ["cuda"])])
def test_a_platform_that_is_not_here_is_told_in_one_line(platform, tmp_path):
    program = """
import json
from fmb.machine import choose_device
try:
    choose_device(False)
except ValueError as error:
    print(json.dumps([str(error)]))
"""
    (message,) = child(program, JAX_PLATFORMS=platform, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert message == f"JAX_PLATFORMS is '{platform}', which JAX cannot use here; unset it, or use --cpu"


@pytest.mark.parametrize(("xdg", "expected"), [("", ".cache/fuzzy-metaballs"), ("else", "else/fuzzy-metaballs")])
def test_cache_folder(xdg, expected, tmp_path):
    program = "import json, sys\nfrom fmb.machine import CACHE\nprint(json.dumps([str(CACHE), 'jax' in sys.modules]))"
    xdg = str(tmp_path / xdg) if xdg else ""
    cache, jax_is_loaded = child(program, HOME=str(tmp_path), XDG_CACHE_HOME=xdg)
    assert Path(cache) == tmp_path / expected
    assert not jax_is_loaded, "the device must be chosen before JAX is there"


def test_the_cache_forgets_the_oldest(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "LARGEST_CACHE", 100)
    for age in range(4):
        (tmp_path / f"{age}").write_bytes(bytes(30))
        os.utime(tmp_path / f"{age}", (10**9 - age, 10**9 - age))
    assert usable_cache(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["0"]
    assert usable_cache(tmp_path / "new") and not usable_cache(tmp_path / "0")


def test_nobody_s_cache(monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() is None
