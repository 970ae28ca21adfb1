"""What `covfast.SlidingWindow` accepts: arguments as the numbers they mean, or typed errors that name them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np

from covfast.errors import DTypeError, ShapeError, ValueRangeError, describe

LONGEST = 1 << 20  # voxels along an axis
MOST = (1 << 31) - 1
TEXT = (str, bytes, bytearray)


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """Raises: ValueRangeError."""
    if value not in choices:
        raise ValueRangeError(describe(name, shortened(value), f"one of {tuple(choices)}"))
    return value


def whole(name: str, value: Any) -> int:
    """A number from 1 to 2^31 - 1. Raises: DTypeError: no whole number; ValueRangeError."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise DTypeError(describe(name, shortened(value), "a whole number")) from error
    if not 1 <= number <= MOST:
        raise ValueRangeError(describe(name, shortened(value), f"at least 1 and at most {MOST}"))
    return number


def whole_numbers(name: str, values: Any, expected: str) -> tuple[int, ...]:
    """Raises: DTypeError: no sequence of whole numbers."""
    try:
        numbers = tuple(map(operator.index, values))
    except TypeError as error:
        raise DTypeError(describe(name, shortened(values), expected)) from error
    if isinstance(values, TEXT):  # bytes are numbers too
        raise DTypeError(describe(name, shortened(values), expected))
    return numbers


def sizes(name: str, values: Any, ranks: Sequence[int]) -> tuple[int, ...]:
    """One size of 1 to 2^20 for each axis. Raises: DTypeError: no whole numbers; ShapeError."""
    expected = f"{' or '.join(map(str, ranks))} sizes from 1 to {LONGEST}, whole numbers"
    numbers = whole_numbers(name, values, expected)
    if len(numbers) not in ranks or not all(1 <= n <= LONGEST for n in numbers):
        raise ShapeError(describe(name, shortened(values), expected))
    return numbers


def number(name: str, value: Any) -> float:
    """Raises: DTypeError: no number; ValueRangeError: NaN, or beyond float32."""
    if isinstance(value, TEXT):
        raise DTypeError(describe(name, shortened(value), "a number"))
    try:
        real = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DTypeError(describe(name, shortened(value), "a number")) from error
    if not abs(real) <= float(np.finfo(np.float32).max):
        raise ValueRangeError(describe(name, shortened(value), "a finite number of float32"))
    return real


def steps(rank: int, step: Any, overlap: Any) -> tuple[float, ...]:
    """One step for each axis, of `step`, `overlap` or neither. Raises: DTypeError, ShapeError, ValueRangeError."""
    if step is not None and overlap is not None:
        raise ValueRangeError(describe("overlap", f"{shortened(overlap)} beside a step", "one of the two"))
    name = "step" if overlap is None else "overlap"
    given: Any = (0.5 if step is None else step) if overlap is None else overlap
    is_one = not isinstance(given, Iterable) or isinstance(given, TEXT) or getattr(given, "ndim", 1) == 0
    numbers = [number(name, given)] * rank if is_one else [number(name, n) for n in given]
    if len(numbers) != rank:
        raise ShapeError(describe(name, shortened(given), f"one number or {rank}, one for each axis of the window"))
    found = numbers if overlap is None else [1 - n for n in numbers]
    if not all(0 < n <= 1 for n in found):
        expected = "more than 0 and at most 1" if overlap is None else "at least 0 and less than 1"
        raise ValueRangeError(describe(name, shortened(given), expected))
    return tuple(found)


def mirrored_axes(rank: int, axes: Any) -> tuple[int, ...]:
    """Ascending. Raises: DTypeError: no whole numbers; ValueRangeError."""
    expected = f"different axes from 0 to {rank - 1}, such as (0, 1)"
    numbers = whole_numbers("mirror_axes", axes, expected)
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(rank)):
        raise ValueRangeError(describe("mirror_axes", shortened(axes), expected))
    return tuple(sorted(numbers))


def labels_of(values: Any) -> list[int] | None:
    """None for None. Raises: DTypeError: no whole numbers; ValueRangeError: one outside 0 to 255."""
    if values is None:
        return None
    numbers = whole_numbers("values", values, "a whole number from 0 to 255 for each channel")
    if any(not 0 <= v <= 255 for v in numbers):
        raise ValueRangeError(describe("values", shortened(values), "labels from 0 to 255"))
    return list(numbers)


def check_callables(network: Any, progress: Any, cancel: Any) -> None:
    """Raises: DTypeError: an argument that cannot be called as it has to be."""
    if not callable(network):
        raise DTypeError(describe("network", shortened(network), "a function of windows (N, C, *window)"))
    if progress is not None and not callable(progress):
        raise DTypeError(describe("progress", shortened(progress), "a function of (stage, done, total)"))
    if cancel is not None and not callable(getattr(cancel, "is_set", None)):
        raise DTypeError(describe("cancel", shortened(cancel), "an object with is_set(), such as threading.Event"))
