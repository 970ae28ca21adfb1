"""Pickles of published model files, read without running anything that they name.

A pickle is a program: it imports names and calls them. Here every name is looked up in one table, whose entries are
functions of this module, never classes or functions of torch, numpy or Python; another name ends the reading. What
comes out is plain: dict, list, tuple, set, text, numbers, numpy arrays, and `StoredTensor` for tensors.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np

from covfast.errors import FormatError, describe

_NUMBERS = {
    f"{kind}{size}" for kind, sizes in (("i", "1248"), ("u", "1248"), ("f", "248"), ("c", "8")) for size in sizes
}
_NUMBERS |= {"b1", "c16"}
_OBJECT = "O8"
_MOST_DEEP = 200  # containers within containers; a plan has some ten


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: in a storage of its file, not yet read.

    Attributes:
        storage: key of the storage.
        kind: of its elements, such as "FloatStorage".
        numel: elements of the storage.
        first: place of the tensor's first element in it.
        shape, strides: in elements.
    """

    storage: str
    kind: str
    numel: int
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a state for a tensor")


class _Allowed:
    """What a name of the pickle stands for. It can be called, and nothing can be set on it."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError("a state for a function")

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("a state for a function")


class _Dict(dict[Any, Any]):
    """An ordered or default dictionary; attributes that come with it, such as a state dict's, are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


class _DType:
    """A numpy dtype of numbers, or of objects; its byte order comes later, as its state."""

    def __init__(self, code: object = None, *_: object) -> None:
        if not isinstance(code, str) or code.lstrip("|<>=") not in _NUMBERS | {_OBJECT, "O"}:
            raise pickle.UnpicklingError(f"the numpy dtype {code!r}")
        self.code, self.order = code.lstrip("|<>="), "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a numpy dtype with fields")
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a numpy dtype of unknown byte order")
        self.order = state[1] if state[1] in "<>" else "<"

    def numbers(self, data: object, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """The array of these bytes."""
        if self.code not in _NUMBERS or not isinstance(data, (bytes, bytearray)):
            raise pickle.UnpicklingError("a numpy array that holds no numbers")
        return np.frombuffer(data, self.order + self.code).reshape(shape).astype(self.code)


class _Array:
    """A numpy array that waits for its state."""

    def __init__(self, *_: object) -> None:
        self.value: Any = np.zeros(0)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _DType):
            raise pickle.UnpicklingError("a numpy array of unknown state")
        _, shape, dtype, is_fortran, data = state
        if dtype.code in (_OBJECT, "O"):  # a list of whatever; its shape is of no interest here
            if not isinstance(data, list):
                raise pickle.UnpicklingError("a numpy array of unknown state")
            self.value = data
        else:
            sizes = _sizes(shape)
            self.value = dtype.numbers(data, sizes[::-1]).T if is_fortran else dtype.numbers(data, sizes)


def _keyed(*args: Any) -> _Dict:
    """An ordered dictionary, empty or of pairs."""
    pairs = list(args[0]) if args else []
    for key, _ in pairs:
        _require_plain_key(key)
    return _Dict(pairs)


def _members(kind: type[set[Any]] | type[frozenset[Any]]) -> Callable[..., Any]:
    """A set of the entries of a list."""

    def call(entries: Any = ()) -> Any:
        listed = list(entries)
        for entry in listed:
            _require_plain_key(entry)
        return kind(listed)

    return call


def _sizes(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise pickle.UnpicklingError("a shape that is no tuple of sizes")
    return shape


def _scalar(dtype: object, data: object = None) -> Any:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("a numpy scalar of unknown type")
    return data if dtype.code in (_OBJECT, "O") else dtype.numbers(data, ()).item()


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> Any:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("a numpy array of unknown type")
    sizes = _sizes(shape)
    return dtype.numbers(data, sizes[::-1]).T if order == "F" else dtype.numbers(data, sizes)


def _encode(text: object, encoding: object = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("an encoding other than latin1")
    return text.encode("latin1")


def _no_bytes(*args: object) -> bytes:
    if args:
        raise pickle.UnpicklingError("bytes made by a call")
    return b""


def _tensor(storage: object, first: object, shape: object, strides: object, *_: object) -> StoredTensor:
    if not isinstance(storage, StoredTensor) or not isinstance(first, int) or first < 0:
        raise pickle.UnpicklingError("a tensor without a storage")
    sizes, steps = _sizes(shape), _sizes(strides)
    last = first + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
    count = math.prod(sizes)
    if count > storage.numel or (count and last >= storage.numel):
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return StoredTensor(storage.storage, storage.kind, storage.numel, storage.first + first, sizes, steps)


def _first(value: object, *_: object) -> object:
    return value


def _text(*args: object) -> str:
    if not all(isinstance(part, (str, int)) for part in args):
        raise pickle.UnpicklingError("a device of unknown kind")
    return ":".join(map(str, args))


STORAGES = {
    f"{name}Storage": dtype
    for name, dtype in {
        "Float": "float32",
        "Double": "float64",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
    }.items()
}
"""torch's storages -> the name of their dtype."""

_NUMPY: dict[str, Any] = {
    "numpy.dtype": _DType,
    "numpy.ndarray": "ndarray",
    **{
        f"numpy.{home}.multiarray.{name}": call
        for home in ("core", "_core")
        for name, call in (("scalar", _scalar), ("_reconstruct", _Array))
    },
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
}
_PLAIN: dict[str, Any] = {
    "collections.OrderedDict": _keyed,
    "collections.defaultdict": lambda *_: _Dict(),
    **{
        f"{home}.{name}": call
        for home in ("builtins", "__builtin__")
        for name, call in (
            ("set", _members(set)),
            ("frozenset", _members(frozenset)),
            ("list", list),
            ("tuple", tuple),
            ("bytes", _no_bytes),
        )
    },
}
_TORCH: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch.device": _text,
    "torch.Size": tuple,
    **{f"torch.{name}": name for name in STORAGES},
    **{f"torch.{name}": name for name in STORAGES.values()},
}

NUMPY_GLOBALS: Mapping[str, Any] = {**_PLAIN, **_NUMPY}
"""Names that a pickle of plans may hold: numpy, collections and built-in containers."""

TORCH_GLOBALS: Mapping[str, Any] = {**NUMPY_GLOBALS, **_TORCH}
"""Names that a checkpoint of torch may hold."""


def _require_plain_key(key: object, depth: int = 0) -> None:
    """Refuse a key or member that is not made of a few numbers and texts: to hash nested tuples takes the C stack."""
    if isinstance(key, tuple) and depth < 3:
        for part in key:
            _require_plain_key(part, depth + 1)
    elif not isinstance(key, (str, bytes, int, float, complex, type(None))):
        raise pickle.UnpicklingError(f"a key of type {type(key).__name__}")


_Python: Any = pickle._Unpickler  # its parts are not in the type stubs


class _Unpickler(_Python):
    """The standard library's unpickler in Python, which lets the keys be looked at before they are hashed."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Python.dispatch)

    def __init__(self, file: BinaryIO, name: str, table: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._name, self._table = name, table

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._table:
            expected = "tensors, numbers and plain containers only"
            raise FormatError(describe(self._name, f"the name {full!r} in its pickle", expected, "nothing was run"))
        held = self._table[full]
        return _Allowed(held) if callable(held) else held

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", kind, key, place, elements, and in old files a part of another one)."""
        if self._table is not TORCH_GLOBALS or not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise pickle.UnpicklingError("a reference to something outside")
        tag, kind, key, _, numel = pid[:5]
        first = 0
        if len(pid) == 6 and pid[5] is not None:  # (key of the part, first element, elements)
            first, numel = int(pid[5][1]), int(pid[5][1]) + int(pid[5][2])
        are_texts = all(isinstance(part, str) for part in (tag, kind, key))
        if not are_texts or tag != "storage" or kind not in STORAGES:
            raise pickle.UnpicklingError("a storage of unknown kind")
        if not isinstance(numel, int) or not 0 <= first <= numel <= 1 << 48:
            raise pickle.UnpicklingError("a storage of unknown size")
        return StoredTensor(key, kind, numel, first, (), ())

    def _look_at_one_key(self) -> None:
        _require_plain_key(self.stack[-2])
        super().load_setitem()

    def _look_at_keys(self) -> None:
        for key in self.stack[::2]:  # since the mark: key, value, key, value
            _require_plain_key(key)

    def _look_at_items(self) -> None:
        self._look_at_keys()
        super().load_setitems()

    def _look_at_dict(self) -> None:
        self._look_at_keys()
        super().load_dict()

    def _look_at_members(self) -> None:
        for member in self.stack:
            _require_plain_key(member)

    def _look_at_added(self) -> None:
        self._look_at_members()
        super().load_additems()

    def _look_at_frozen(self) -> None:
        self._look_at_members()
        super().load_frozenset()

    dispatch[pickle.SETITEM[0]] = _look_at_one_key
    dispatch[pickle.SETITEMS[0]] = _look_at_items
    dispatch[pickle.DICT[0]] = _look_at_dict
    dispatch[pickle.ADDITEMS[0]] = _look_at_added
    dispatch[pickle.FROZENSET[0]] = _look_at_frozen


def load(file: BinaryIO, name: str, table: Mapping[str, Any] = NUMPY_GLOBALS) -> Any:
    """The next pickle of an open file.

    Args:
        file: stands at the pickle, and after the call behind it.
        name: of the file, for messages.
        table: the names that it may hold, `NUMPY_GLOBALS` or `TORCH_GLOBALS`.
    Returns: plain values; dictionaries are dict, numpy's scalars Python's numbers.
    Raises: FormatError: another name, which the message tells, or no sound pickle.
    """
    try:
        return _plain(_Unpickler(file, name, table).load(), {}, 0)
    except FormatError:
        raise
    except Exception as error:  # pickles of others end in errors of any kind
        reason = str(error) or type(error).__name__
        raise FormatError(describe(name, f"a pickle that holds {reason}", "a pickle of plain values")) from error


def _plain(value: Any, memo: dict[int, Any], depth: int) -> Any:
    """The value with arrays in the place of what stood for them; what is shared stays shared."""
    if depth > _MOST_DEEP:
        raise pickle.UnpicklingError("containers nested without end")
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, (_Allowed, _DType)):
        return None
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) in memo:
        return memo[id(value)][0]
    made: Any
    if isinstance(value, dict):
        made = {}
        memo[id(value)] = (made, value)
        made.update((key, _plain(held, memo, depth + 1)) for key, held in value.items())
    elif isinstance(value, list):
        made = []
        memo[id(value)] = (made, value)
        made.extend(_plain(held, memo, depth + 1) for held in value)
    else:
        made = tuple(_plain(held, memo, depth + 1) for held in value)
        memo[id(value)] = (made, value)
    return made
