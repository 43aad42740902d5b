"""Where JAX computes, and where it keeps what it compiled; to be called before any array exists."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fuzzy-metaballs"
CUDA_HINT = "an NVIDIA GPU is here, but JAX runs on the CPU; for the GPU: pixi run -e cuda, or uv run --extra cuda"


class Device(NamedTuple):
    """What JAX computes on, and a hint of one line where that could be better."""

    name: str
    hint: str


def choose_device(cpu: bool) -> Device:
    """The device JAX will use; `cpu` asks for the CPU even beside a GPU.

    Compiled programs are kept in the user's cache folder, so that a second run need not compile them again.

    Raises ValueError where JAX_PLATFORMS asks for what JAX cannot use here.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if cpu:
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", str(CACHE))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # the second where CUDA is asked for and not installed
        asked = jax.config.jax_platforms
        raise ValueError(f"JAX_PLATFORMS is {asked!r}, which JAX cannot use here; unset it, or use --cpu") from error
    without_cuda = device.platform == "cpu" and not cpu and shutil.which("nvidia-smi") is not None
    return Device(device.platform, CUDA_HINT if without_cuda else "")
