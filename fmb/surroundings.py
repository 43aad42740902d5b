"""What the environment tells libraries and is not meant for this program: numbers and pictures do not depend on it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# JAX's own switches: runs are float32, compiled, and do with not-a-number what the code says.
JAX = "JAX_ENABLE_X64 JAX_DEFAULT_DTYPE_BITS JAX_DEBUG_NANS JAX_DEBUG_INFS JAX_DISABLE_JIT JAX_CHECK_TRACER_LEAKS"
JAX += " JAX_NUMPY_DTYPE_PROMOTION JAX_NUMPY_RANK_PROMOTION JAX_DEFAULT_MATMUL_PRECISION JAX_TRANSFER_GUARD"
JAX += " JAX_COMPILATION_CACHE_MAX_SIZE JAX_RAISE_PERSISTENT_CACHE_ERRORS JAX_LOG_COMPILES"
SET = {"matplotlib": {"MPLBACKEND": "agg"}, "jax": dict.fromkeys(JAX.split())}  # None: not set


@contextmanager
def own_environment() -> Iterator[None]:
    """The environment as this program needs it, for libraries that are loaded within; as it was afterwards.

    A library that is loaded already belongs to whoever has loaded it. With $FMB_TRACEBACK, which helps to look for a
    fault, everything stays as it is.
    """
    wanted = {name: value for library in SET if library not in sys.modules for name, value in SET[library].items()}
    before = {name: os.environ.get(name) for name in wanted}
    try:
        if not os.environ.get("FMB_TRACEBACK"):
            put(wanted)
        yield
    finally:
        put(before)


def put(values: dict[str, str | None]) -> None:
    """Sets the variables, those of None not at all."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
