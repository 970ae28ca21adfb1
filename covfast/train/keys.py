"""The rule of one key of a recipe: its type, range and default. Without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from covfast.errors import ValueRangeError, describe

REQUIRED: Any = object()
"""Default of a key that every recipe must give."""

RESERVED = ("checkpoint", "best", "propagation")
"""Names that files of a run have beside the weights."""

_WORD = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Key:
    """The rule of one key.

    Attributes:
        kind: bool, int, float or str, of the value or of each of its elements.
        default: where the recipe does not give one; REQUIRED if it must.
        low, high: of numbers, both inclusive.
        open_low: whether `low` itself is refused.
        choices: of texts; empty: any.
        many: a list of such values, `least` of them or more; `length` of them where given.
        ascending: of a list: its first number is below its second, where it has any.
        named: a table of names (letters, digits, _ and -) and such values.
        rule: what else a value must fulfil; `words` says it.
    """

    kind: type
    default: Any = REQUIRED
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()
    many: bool = False
    length: int | None = None
    least: int = 0
    ascending: bool = False
    named: bool = False
    rule: Callable[[Any], bool] | None = None
    words: str = ""

    @property
    def is_text(self) -> bool:
        """Whether the value is one text."""
        return self.kind is str and not (self.many or self.named)

    @property
    def expected(self) -> str:
        """The rule in words."""
        words = self.words or {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[self.kind]
        if self.choices:
            words = f"one of {list(self.choices)}"
        elif self.kind in (int, float) and (self.low, self.high) != (-math.inf, math.inf):
            bounds = [] if self.low == -math.inf else [f"{'above' if self.open_low else 'from'} {self.low:g}"]
            bounds += [] if self.high == math.inf else [f"to {self.high:g}"]
            words = f"{words} {' '.join(bounds)}"
        if self.many:
            count = f"{self.length}: " if self.length is not None else f"at least {self.least}: " if self.least else ""
            return f"a list of {count}{words}{', the first below the second' if self.ascending else ''}"
        return f"a table of names, each of letters, digits, _ or -, with {words}" if self.named else words

    def check(self, key: str, value: Any) -> Any:
        """The value, whole numbers made floating where the key is. Raises: ValueRangeError."""
        if self.many:
            if isinstance(value, (list, tuple)) and self.length in (None, len(value)) and len(value) >= self.least:
                values = [self._one(key, item) for item in value]
                if not self.ascending or not values or (len(values) > 1 and values[0] < values[1]):
                    return values
        elif self.named:
            if isinstance(value, dict) and all(_WORD.fullmatch(str(name)) for name in value):
                return {str(name): self._one(key, item) for name, item in value.items()}
        else:
            return self._one(key, value)
        raise ValueRangeError(describe(key, repr(value), self.expected))

    def _one(self, key: str, value: Any) -> Any:
        is_kind = isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool))
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value, is_kind = float(value), True
        fits = is_kind
        if is_kind and self.kind in (int, float):
            above = value > self.low if self.open_low else value >= self.low
            fits = above and value <= self.high and math.isfinite(value)
        elif is_kind and self.choices:
            fits = value in self.choices
        if not fits or not (self.rule is None or self.rule(value)):
            raise ValueRangeError(describe(key, repr(value), self.expected))
        return value


Schema = Mapping[str, Key]


def whole(default: Any = REQUIRED, low: float = 0, high: float = math.inf) -> Key:
    """A whole number."""
    return Key(int, default, low, high)


def multiple_of(step: int, default: int, low: int, high: int) -> Key:
    """A whole number that `step` divides."""
    return Key(int, default, low, high, rule=lambda value: value % step == 0, words=f"a multiple of {step}")


def real(default: Any = REQUIRED, low: float = 0.0, high: float = math.inf, *, open_low: bool = False) -> Key:
    """A number, not negative by default."""
    return Key(float, default, low, high, open_low)


def positive(default: Any = REQUIRED) -> Key:
    """A number above 0."""
    return real(default, 0.0, open_low=True)


def part(default: Any = REQUIRED) -> Key:
    """A number from 0 to 1."""
    return real(default, 0.0, 1.0)


def choice(*choices: str, default: Any = REQUIRED) -> Key:
    """One of some texts."""
    return Key(str, default, choices=choices)


def numbers(
    default: Any = REQUIRED,
    length: int | None = None,
    low: float = -math.inf,
    *,
    least: int = 0,
    ascending: bool = False,
) -> Key:
    """A list of numbers."""
    return Key(float, default, low, many=True, length=length, least=least, ascending=ascending)


def wholes(default: Any = REQUIRED, length: int | None = None, low: float = 1) -> Key:
    """A list of whole numbers."""
    return Key(int, default, low, many=True, length=length)


def texts(default: Any = REQUIRED) -> Key:
    """A list of texts."""
    return Key(str, default, many=True)


def place(default: Any = REQUIRED, *, named: bool = False) -> Key:
    """A path of the data folder. It stands in the record, which holds no path of the machine. Links are followed."""
    return Key(str, default, named=named, rule=_is_inside, words="a path inside the data folder, relative, without ..")


def run_name() -> Key:
    """Name of a recipe, its record and its weights."""
    words = f"letters, digits, _ or -, none of {', '.join(RESERVED)}"
    return Key(str, rule=lambda name: bool(_WORD.fullmatch(name)) and name not in RESERVED, words=words)


def _is_inside(path: str) -> bool:
    parts = {*PurePosixPath(path).parts, *PureWindowsPath(path).parts}
    is_absolute = path.startswith(("/", "\\", "~")) or bool(PureWindowsPath(path).drive)
    return not is_absolute and ".." not in parts
