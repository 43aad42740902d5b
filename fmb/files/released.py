"""Models of the released program: pickles of arrays, read without running anything that they ask for.

A pickle calls what it names. Here every name that NumPy and JAX write for arrays stands for a function of ours, which
checks what it is given and makes plain arrays of numbers; any other name is an error. NumPy's own constructors are
never reached, and what stands for them cannot be changed by a file. What the file asks for is counted before any of it
is done: nine bytes can ask for gigabytes.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fm_render import Mixture
from fmb.fields.mixtures import lower_factor
from fmb.files.door import MEBIBYTE, Refusal, read_bytes, refusing
from fmb.files.safe import check_single

MOST_BYTES = 64 * MEBIBYTE  # of a file, and of all texts turned into bytes; 40 components take 4 kB
MOST_STEPS = 10_000  # of a pickle: a model takes about a hundred
LARGEST_WORD = 1000  # bytes of a number or name
MOST_COMPONENTS = 2**20  # of a model
NUMBERS = "fiu"  # kinds of types that arrays may have
NAMES = {  # of the fields in a dict
    "mean": ("mean", "means"),
    "precision": ("precision_cholesky", "prec", "prec_full", "precs", "precisions"),
    "log_weight": ("log_weight", "weights_log", "log_weights", "weight_log"),
}


class Refused(Exception):
    """What a pickle asks for and does not get."""


class Allowed:
    """A function that a pickle may call. It may not set attributes of it, which for a plain function it may."""

    __slots__ = ("function",)

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("a change of a function")


class Type:
    """Stands for numpy.dtype."""

    def __init__(self, name: Any, *_: Any):
        self.dtype = np.dtype(name) if isinstance(name, str) and len(name) < 16 else np.dtype(object)
        if self.dtype.kind not in NUMBERS:
            raise Refused("an array of something else than numbers")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Refused("a type of numbers that is none")
        self.dtype = self.dtype.newbyteorder(state[1])


class Numbers:
    """Stands for numpy.ndarray; `array` once its state is known."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array of unknown form")
        _, shape, kind, by_columns, data = state
        self.array = array_of(data, kind, shape, "F" if by_columns else "C")


def array_of(data: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    """The array of those bytes, where type, shape and length agree."""
    sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(kind, Type) or not isinstance(data, (bytes, bytearray)):
        raise Refused("an array of unknown form")
    if int(np.prod(shape, dtype=object)) * kind.dtype.itemsize != len(data):
        raise Refused(f"an array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def empty_array(*_: Any) -> Numbers:
    """In place of NumPy's _reconstruct, whose result is filled afterwards."""
    return Numbers()


def from_buffer(data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> Numbers:
    """In place of NumPy's _frombuffer (protocol 5)."""
    numbers = Numbers()
    numbers.array = array_of(data, kind, shape, "F" if order == "F" else "C")
    return numbers


def from_jax(make: Any, arguments: Any, state: Any, *_: Any) -> Numbers:
    """In place of JAX's _reconstruct_array, which holds the parts of a NumPy array."""
    known = isinstance(make, Allowed) and make.function in (empty_array, from_buffer)
    if not known or not isinstance(arguments, tuple):
        raise Refused("an array of unknown form")
    numbers = make(*arguments)
    if numbers.array is None:
        numbers.__setstate__(state)
    return numbers


class Encoder:
    """In place of _codecs.encode, which protocol 2 uses for bytes; texts of MOST_BYTES in all."""

    def __init__(self):
        self.left = MOST_BYTES

    def __call__(self, text: Any, encoding: Any = "latin1") -> bytes:
        """The bytes."""
        if not isinstance(text, str) or encoding != "latin1":
            raise Refused("a text in another encoding than latin1")
        self.left -= len(text)
        if self.left < 0:
            raise Refused(f"more than {MOST_BYTES // MEBIBYTE} MiB of text as bytes")
        return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Allowed(empty_array) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Allowed(from_buffer) for core in ("core", "_core")},
    ("numpy", "ndarray"): Numbers,
    ("numpy", "dtype"): Type,
    ("jax._src.array", "_reconstruct_array"): Allowed(from_jax),
}


class ArraysOnly(pickle.Unpickler):
    """Finds nothing but ALLOWED and an encoder of its own."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.allowed = {**ALLOWED, ("_codecs", "encode"): Allowed(Encoder())}

    def find_class(self, module: str, name: str) -> Callable:
        """Our function in place of what is named.

        Raises Refused for everything else.
        """
        if (module, name) not in self.allowed:
            raise Refused(f"{f'{module}.{name}'[:80]!r}")
        return self.allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Raises Refused: there is nothing beside the file."""
        raise Refused("an object outside the file")


def read_released(path: str | Path) -> Mixture:
    """The mixture of a released model, a pickle of (means [K, 3], precision factors [K, 3, 3], log weights [K]).

    A list or tuple in this order, or a dict with the names in NAMES. A factor F, with inverse covariance F F', is upper
    triangular as scikit-learn has it, or lower; of one that is neither the upper triangle counts, as the released
    renderer does it. The result is in float64, in the frame of the file.
    Raises ValueError that names the file and what in it is refused: everything that is not an array of numbers.
    """
    path = Path(path)
    values = arrays_of(path)
    if isinstance(values, dict):
        found = {field: [values[name] for name in names if name in values] for field, names in NAMES.items()}
        missing = [field for field, entries in found.items() if not entries]
        if missing:
            names = ", ".join(repr(name[:40]) for name in values if isinstance(name, str))
            raise ValueError(f"{path}: {', '.join(missing)} missing in a dict of {names[:80] or 'no names'}")
        values = [entries[0] for entries in found.values()]
    if not isinstance(values, (list, tuple)) or len(values) < 3:
        raise ValueError(f"{path}: no model; must be means, precision factors and log weights")
    arrays = [numbers.array if isinstance(numbers, Numbers) else None for numbers in values[:3]]
    if any(array is None for array in arrays):
        raise ValueError(f"{path}: no model; means, precision factors and log weights must be arrays")
    return checked(path, *arrays)


def arrays_of(path: Path) -> Any:
    """What the pickle holds, its arrays as Numbers.

    Raises ValueError that names the file.
    """
    data = read_bytes(path, MOST_BYTES)
    with refusing(path, NO_PICKLE):
        try:
            scan(data)
            return ArraysOnly(io.BytesIO(data)).load()
        except Refused as error:
            raise Refusal(f"{path}: refused, the pickle asks for {error}; only arrays of numbers are read") from None


NO_PICKLE = "not a pickle of arrays, or a damaged one"
MEMO = ("PUT", "BINPUT", "LONG_BINPUT")  # an entry of a table that grows to the number given


def scan(data: bytes) -> None:
    """Reads through the pickle without doing what it says.

    Raises Refused for more steps than MOST_STEPS, a table larger than that, or a number or name beyond LARGEST_WORD;
    ValueError where it ends too early.
    """
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if step > MOST_STEPS:
            raise Refused(f"more than {MOST_STEPS} steps")
        if opcode.name in MEMO and argument > MOST_STEPS:
            raise Refused(f"a table of {argument} places")
        word = isinstance(argument, int) and argument.bit_length() > 8 * LARGEST_WORD
        if word or (opcode.name == "GLOBAL" and len(argument) > LARGEST_WORD):
            raise Refused(f"a number or name of more than {LARGEST_WORD} bytes")


def checked(
    path: Path,
    mean: Float[np.ndarray, "..."],
    factor: Float[np.ndarray, "..."],
    log_weight: Float[np.ndarray, "..."],
) -> Mixture:
    """The mixture of such arrays.

    Raises ValueError that names the file where shapes or numbers make none.
    """
    count = len(mean) if mean.ndim else 0
    shapes = {
        "means": (mean, (count, 3)),
        "precision factors": (factor, (count, 3, 3)),
        "log weights": (log_weight, (count,)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape or not count:
            raise ValueError(
                f"{path}: {name} of shape {array.shape}; must be {shape} for {count} components, at least 1"
            )
        if count > MOST_COMPONENTS:
            raise ValueError(f"{path}: {count} components; at most {MOST_COMPONENTS} are read")
        check_single(array, f"{path}: {name} have")
    mean, factor, log_weight = (array.astype(float) for array in (mean, factor, log_weight))
    if np.triu(factor, 1).any():
        factor = np.triu(factor)
    if not np.all(np.diagonal(factor, axis1=1, axis2=2)):
        raise ValueError(f"{path}: precision factors with a zero on the diagonal")
    return Mixture(mean, lower_factor(factor), log_weight)
