"""Task `doctor`: what the program finds on this machine, and whether it computes here what it should."""

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import trimesh

from fmb import machine
from fmb.command.load import load_config
from fmb.config import Config
from fmb.machine import CACHE, Clock, choose_device, say
from fmb.tasks.shell import VERSIONS, task_folder
from fmb.whole import HIDDEN, is_free

EXTRAS = ("pyarrow", "submitit", "optuna", "viser", "xatlas")
BACKENDS = {"EGL": {"PYOPENGL_PLATFORM": "egl"}, "OSMesa": {"PYOPENGL_PLATFORM": "osmesa"}, "raycast": {}}
PROBE_SECONDS = 40.0
# run in a process of its own: a driver that crashes takes only that with it
PROBE = """
import sys, numpy, trimesh
from fmb.geometry.cameras import Cameras, pinhole_intrinsics
from fmb.geometry.ground_truth import render_ground_truth
pose = numpy.eye(4)
pose[2, 3] = -3.0
cameras = Cameras(pose[None], pinhole_intrinsics(32, 32, 45.0)[None])
seen = render_ground_truth(trimesh.creation.icosphere(3), cameras, (32, 32), sys.argv[1]).views
print(float(seen.silhouette.mean()), float(numpy.nanmin(seen.depth)))
"""
# part of the image that a ball of radius 1 at distance 3 covers, pi / (32 tan(22.5 degrees)^2), and its least depth
SHARE, NEAREST = 0.572, 2.0
SHARE_OFF, NEAREST_OFF = 0.02, 0.02  # pixels at the outline; facets
TEST = "--num-mixtures 8 --num-views 8 --image-width 32 --image-height 32 --batch-size 512 --num-epochs 60 --mesh none"
LEAST_IOU = 0.95  # of the views of a box, after the test's fit; 0.98 where this was written


def doctor(config: Config, clock: Clock) -> None:
    """Prints what it finds, as text or JSON. Raises ValueError, at the end, where something must be mended."""
    device = choose_device(config.cpu)
    found: dict[str, Any] = {"versions": versions(), "machine": machine_facts(config), "device": devices(device)}
    found["ground_truth"] = {name: probe(name, extra) for name, extra in BACKENDS.items()}
    found |= {"cache": cache_facts(), "output": output_facts(task_folder(config))}
    found["test"] = self_test(config.cpu)
    found["wrong"] = wrong(found)
    say(json.dumps(machine.plain(found), indent=2) if config.json else "\n".join(lines(found)))
    if found["wrong"]:
        raise ValueError(f"doctor: {len(found['wrong'])} of what is needed is wrong: {'; '.join(found['wrong'])}")


def versions() -> dict[str, str]:
    """Of Python, of what is needed and of what is optional, the latter empty where it is not there."""
    found = {"python": platform.python_version()}
    for name in (*VERSIONS, "jaxlib", *EXTRAS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def machine_facts(config: Config) -> dict[str, Any]:
    """The system, its cores and memory, and room on the disk of the results."""
    place = nearest_there(task_folder(config))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    facts = {"system": platform.platform(), "cores": os.cpu_count(), "memory_bytes": pages}
    return {**facts, "memory_free_bytes": machine.free_memory(), "disk_free_bytes": shutil.disk_usage(place).free}


def devices(chosen: machine.Device) -> dict[str, Any]:
    """What JAX computes on, all that it finds, and a hint."""
    import jax

    return {"platform": chosen.name, "all": [str(device) for device in jax.devices()], "hint": chosen.hint}


def probe(name: str, extra: Mapping[str, str]) -> dict[str, Any]:
    """Whether a back end draws a ball as it is, in a process of its own; else why not, in a line."""
    backend, start = ("raycast" if name == "raycast" else "pyrender"), time.perf_counter()
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, **extra, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    environment["JAX_PLATFORMS"] = "cpu"
    command = [sys.executable, "-c", PROBE, backend]
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"works": False, "why": f"no answer within {PROBE_SECONDS:.0f} s"}
    seconds = time.perf_counter() - start
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or [f"ended with code {ran.returncode}"])[-1]
        return {"works": False, "why": last.removeprefix("ValueError: ")[:200], "seconds": seconds}
    share, nearest = map(float, ran.stdout.split())
    good = abs(share - SHARE) < SHARE_OFF and abs(nearest - NEAREST) < NEAREST_OFF
    why = "" if good else f"draws a ball of {share:.3f} of the image at {nearest:.3f}; must be {SHARE}, {NEAREST}"
    return {"works": good, "why": why, "seconds": seconds}


def cache_facts() -> dict[str, Any]:
    """The folder of compiled programs, how much is in it, and whether it can be used."""
    if CACHE is None:
        return {"folder": None, "usable": False, "files": 0, "bytes": 0}
    usable = machine.usable_cache(CACHE)
    sizes = [entry.stat().st_size for entry in os.scandir(CACHE) if entry.is_file()] if usable else []
    return {"folder": str(CACHE), "usable": usable, "files": len(sizes), "bytes": sum(sizes)}


def output_facts(folder: Path) -> dict[str, Any]:
    """Whether results can be written, which runs write there now, and what killed ones have left."""
    above, beside = nearest_there(folder), folder.resolve().parent
    hidden = [entry for entry in os.scandir(beside) if HIDDEN.fullmatch(entry.name)] if beside.is_dir() else []
    running = [entry.name for entry in hidden if not free(entry.path)]
    left = [entry.name for entry in hidden if entry.name not in running]
    return {"folder": str(folder), "writable": os.access(above, os.W_OK), "running": running, "left_by_killed": left}


def nearest_there(folder: Path) -> Path:
    """The folder, or the innermost of those above it that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def free(path: str) -> bool:
    """Whether no run holds the lock of a hidden folder; another user's is left alone, as if one did."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return is_free(lock)
    finally:
        os.close(lock)


def self_test(cpu: bool) -> dict[str, Any]:
    """A small fit of a box: its numbers, and whether they are as they should be; in a line why there are none."""
    from jax.errors import JaxRuntimeError

    try:
        return fitted_box(cpu)
    except (ValueError, FloatingPointError, OSError, JaxRuntimeError) as error:
        return {"good": False, "why": machine.reason(error)}


def fitted_box(cpu: bool) -> dict[str, Any]:
    """The fit of `self_test`."""
    from fmb.tasks.shape import shape

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trimesh.creation.box((1.0, 0.8, 0.6)).export(Path(folder) / "box.ply")
        flags = ["shape", f"{folder}/box.ply", "--output-dir", f"{folder}/out", *TEST.split()]
        flags += ["--report", "false", "--ground-truth", "raycast", *(["--cpu"] if cpu else [])]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            shape(load_config(flags, ("shape",)), Clock(time.perf_counter()))
        metrics = json.loads((Path(folder) / "out" / "metrics.json").read_text(encoding="utf-8"))
    found = {"train_iou": metrics["train"]["iou"], "unseen_iou": metrics["novel"]["iou"], "steps": metrics["steps"]}
    fit = metrics["seconds"]["optimize"]
    found |= {"fit_seconds": fit, "steps_per_second": metrics["steps"] / fit, "seconds": time.perf_counter() - start}
    return {**found, "good": bool(found["train_iou"] >= LEAST_IOU)}


def wrong(found: Mapping[str, Any]) -> list[str]:
    """What must be mended; that OpenGL is missing is no matter, since rays can be cast."""
    words = [f"{name} is not installed" for name in VERSIONS if not found["versions"][name]]
    if not found["ground_truth"]["raycast"]["works"]:
        words.append(f"ray casting: {found['ground_truth']['raycast']['why']}")
    if not found["output"]["writable"]:
        words.append(f"{found['output']['folder']} cannot be written to")
    if "why" in found["test"]:
        words.append(f"the test's fit fails: {found['test']['why']}")
    elif not found["test"]["good"]:
        words.append(f"the test's fit reaches an IoU of {found['test']['train_iou']:.3f}; must be {LEAST_IOU}")
    return words


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    there = {name: words for name, words in found["versions"].items() if words or name not in EXTRAS}
    missing = [name for name in EXTRAS if not found["versions"][name]]
    facts, cache, output, test = found["machine"], found["cache"], found["output"], found["test"]
    told = ["versions      " + ", ".join(f"{name} {words or 'MISSING'}" for name, words in there.items())]
    told += [f"optional      not installed: {', '.join(missing)}"] if missing else []
    memory, disk = facts["memory_bytes"] / 2**30, facts["disk_free_bytes"] / 2**30
    unused = facts["memory_free_bytes"]
    unused = "" if unused is None else f" ({unused / 2**30:.0f} GiB free)"
    room = f"{memory:.0f} GiB memory{unused}, {disk:.0f} GiB of disk free"
    told.append(f"machine       {facts['system']}, {facts['cores']} cores, {room}")
    told.append(f"devices       {', '.join(found['device']['all'])}")
    told += [f"              {found['device']['hint']}"] if found["device"]["hint"] else []
    for name, state in found["ground_truth"].items():
        told.append(f"{name:<14}" + (f"works ({state['seconds']:.1f} s)" if state["works"] else f"no: {state['why']}"))
    size = f"{cache['files']} programs, {cache['bytes'] / 2**20:.0f} MiB" if cache["usable"] else "not usable"
    told.append(f"cache         {cache['folder']}: {size}")
    state = "writable" if output["writable"] else "NOT WRITABLE"
    told.append(f"results       {output['folder']}: {state}, {len(output['running'])} runs write beside it")
    if left := ", ".join(output["left_by_killed"]):
        told.append(f"              left by killed runs, the next run removes it: {left}")
    told.append(f"test          {words_of(test)}")
    return [*told, "all is well" if not found["wrong"] else f"wrong: {'; '.join(found['wrong'])}"]


def words_of(test: Mapping[str, Any]) -> str:
    """What the test's fit came to."""
    if "why" in test:
        return f"FAILED: {test['why']}"
    return (
        f"IoU {test['train_iou']:.3f} (unseen {test['unseen_iou']:.3f}), {test['steps']} steps in "
        f"{test['fit_seconds']:.1f} s, {test['seconds']:.1f} s in all: {'good' if test['good'] else 'WRONG'}"
    )
