"""Compiled programs that a later run finds ready.

JAX's own cache knows a program by its lowered text, so every run has Python trace and lower all its programs before it
asks: half of what the default command did on its first core. Here a program has a name beside its text: a digest of
all that the text depends on, which is the function, what it is told at compile time, the shapes of its arguments, the
source of this package, JAX and the machine. Under the name lies which text it is, under the text the program.
"""

import functools
import hashlib
import os
import pickle
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from fmb.machine import replacing

OURS = "fmb", "fm_render", "fm_tiles", "fm_numerics", "jax"  # packages whose functions are what their source says
MOST_KINDS = 8  # programs of one function that stay in memory
SEAL = 32  # bytes of the digest at the head of a file
ROOT = Path(__file__).resolve().parents[1]


class _Store:
    used = False


class UnnamedError(Exception):
    """Something that has no name which means the same in every run."""


def keep_programs() -> None:
    """From now on programs are kept where JAX keeps its own, and looked for there.

    Only for a process that runs this package alone: what others put in its tables, or in place of its functions, has
    no name.
    """
    _Store.used = True


def folder() -> Path | None:
    """Where programs are kept; None where none are. Several devices would each need a program of their own."""
    place = jax.config.jax_compilation_cache_dir if _Store.used and jax.config.jax_enable_compilation_cache else None
    return Path(place) if place and jax.default_backend() == "cpu" and len(jax.devices()) == 1 else None


class Kept:
    """A function for arrays that is compiled once for each kind of arguments, see `jax.jit`, and kept."""

    def __init__(self, function: Callable, static: tuple[int, ...] = ()):
        self.jitted = jax.jit(function, static_argnums=static)
        self.function, self.static, self.programs = function, static, {}
        functools.update_wrapper(self, getattr(function, "func", function))

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns; within another one that is compiled it is part of that."""
        if not _Store.used:
            return self.jitted(*arguments)
        moving = tuple(x for place, x in enumerate(arguments) if place not in self.static)
        leaves, tree = jax.tree.flatten(moving)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self.jitted(*arguments)
        kind = tuple(arguments[place] for place in self.static), tree, tuple(map(kind_of, leaves))
        if kind not in self.programs:
            if len(self.programs) >= MOST_KINDS:
                self.programs.clear()
            self.programs[kind] = self.compiled(*arguments)
        return self.programs[kind](*moving)

    def compiled(self, *arguments: Any) -> Callable:
        """The program for such arguments, of which only shapes and types are read, without the static ones."""
        place = folder()
        try:
            name = None if place is None else self.name(arguments)
        except UnnamedError:
            name = None
        if name is None:
            return self.jitted.lower(*arguments).compile()
        tree = jax.tree.structure((tuple(x for at, x in enumerate(arguments) if at not in self.static), {}))
        text, result = read(place / name) or ("", None)
        program = loaded(place / text, tree, result) if text else None
        return program or made(self.jitted.lower(*arguments), place / name)

    def name(self, arguments: tuple) -> str:
        """The name of the program for such arguments. Raises UnnamedError where it has none."""
        moving = tuple(x for place, x in enumerate(arguments) if place not in self.static)
        leaves, tree = jax.tree.flatten(moving)
        told = [described(self.function), *(described(arguments[place]) for place in self.static), tree_described(tree)]
        return f"fmb-name-{digest(repr(part).encode() for part in (*told, *map(kind_of, leaves), source(), machine()))}"

    def clear_cache(self) -> None:
        """Forgets what was compiled in this process."""
        self.programs.clear()
        self.jitted.clear_cache()


def ready(*static: int) -> Callable[[Callable], Kept]:
    """Makes `Kept` of a function; `static` are the places of arguments that are told at compile time."""
    return lambda function: Kept(function, static)


class Kind(NamedTuple):
    """What a program knows of an array: a plain number takes the type of what it meets."""

    shape: tuple[int, ...]
    dtype: str
    weak: bool


def kind_of(leaf: Any) -> Kind:
    """The kind of an array, a number, or what stands for an array of that shape and type."""
    array = leaf if hasattr(leaf, "dtype") else jax.typeof(leaf)
    return Kind(array.shape, jax.dtypes.canonicalize_dtype(array.dtype).name, bool(getattr(array, "weak_type", False)))


def described(value: Any) -> Any:
    """The value in plain types whose words mean the same in every run. Raises UnnamedError where there are none."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Kept):
        return described(value.function)
    if isinstance(value, functools.partial):
        return described((value.func, value.args, value.keywords))
    if isinstance(value, (FunctionType, type)):
        if "<" in value.__qualname__ or value.__module__.partition(".")[0] not in (*OURS, "builtins"):
            raise UnnamedError
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *map(described, value)
    if isinstance(value, dict):
        return "dict", *((described(name), described(entry)) for name, entry in value.items())
    if is_dataclass(value):
        return described(type(value)), *(described(getattr(value, field.name)) for field in fields(value))
    raise UnnamedError


def tree_described(tree: Any) -> Any:
    """The structure of arguments in plain types."""
    node = tree.node_data()
    return (tree.num_leaves if node is None else described(node)), *map(tree_described, tree.children())


@functools.cache
def source() -> str:
    """Digest of the source of this package."""
    paths = sorted([*ROOT.glob("fm_*.py"), *(ROOT / "fmb").rglob("*.py")])
    return digest(path.read_bytes() for path in paths)


@functools.cache
def machine() -> str:
    """Digest of what a program depends on beside its text: JAX, its settings, and the processor it is made for."""
    settings = {name: value for name, value in jax.config.values.items() if "cache" not in name}
    told = [version("jax"), version("jaxlib"), np.__version__, os.environ.get("XLA_FLAGS", "")]
    return digest(word.encode() for word in (*told, repr(sorted(settings.items())), platform.platform(), processor()))


def processor() -> str:
    """What the processor is and can do."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(("flags", "Features", "model", "CPU")))
    return f"{platform.processor()} {np.show_config(mode='dicts')['SIMD Extensions']}"


def digest(parts: Iterable[bytes]) -> str:
    """A digest of parts, in letters."""
    whole = hashlib.blake2b(digest_size=SEAL)
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()


def made(lowered: jax.stages.Lowered, name: Path) -> Callable:
    """The lowered program, found by its text or compiled, and kept under the name and under the text."""
    text = f"fmb-text-{digest([lowered.as_text().encode(), machine().encode()])}"
    result = jax.tree.unflatten(lowered.out_tree, range(lowered.out_tree.num_leaves))
    program = loaded(name.with_name(text), lowered.in_tree, result)
    if program is None:
        with without_cache():  # parts are missing from what JAX's own cache gives, if it is kept again
            program = lowered.compile()
        write(name.with_name(text), serialize(program)[0])
    write(name, (text, result))
    return program


@contextmanager
def without_cache() -> Iterator[None]:
    """JAX compiles what it is given, within the context, and neither asks its cache nor fills it."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it has decided at its first use whether it is used
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        compilation_cache.reset_cache()


def loaded(path: Path, tree: Any, result: Any) -> Callable | None:
    """The program kept at the path, for arguments of the structure `tree`; None where there is none that runs here."""
    kept_bytes = read(path)
    if kept_bytes is None:
        return None
    link_lapack()
    try:
        return deserialize_and_load(kept_bytes, tree, jax.tree.structure(result))
    except jax.errors.JaxRuntimeError:
        return None


@functools.cache
def link_lapack() -> None:
    """Has JAX tell its library where SciPy's LAPACK lies, which it does as it lowers the first call of it.

    Without that, a program that was lowered in another process crashes there.
    """
    jax.jit(jax.lax.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), np.float32))


def write(path: Path, content: Any) -> None:
    """Keeps the content, sealed; a full disk is no matter of the user's: the next run compiles again."""
    whole = pickle.dumps(content)
    with suppress(ValueError), replacing(path) as partial:
        partial.write_bytes(hashlib.blake2b(whole, digest_size=SEAL).digest() + whole)


def read(path: Path) -> Any:
    """What was kept at the path; None where nothing was, or not all of it."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    if hashlib.blake2b(whole[SEAL:], digest_size=SEAL).digest() != whole[:SEAL]:
        return None
    return pickle.loads(whole[SEAL:])
