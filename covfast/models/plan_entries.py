"""Typed reading of a plan: an object of somebody else's JSON or pickle, in which any entry may be missing or odd."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from covfast.errors import FormatError, describe


class Entries:
    """The entries of one object.

    Args:
        held: the object.
        where: it stands, for messages.

    Raises:
        FormatError: from every method: an entry is missing or of another kind; the message names it.
    """

    def __init__(self, held: Any, where: str) -> None:
        self.where = where
        if not isinstance(held, Mapping):
            self._refuse("", type(held).__name__, "an object")
        self.held: Mapping[Any, Any] = held

    def _refuse(self, key: object, got: object, expected: str) -> NoReturn:
        place = f"{self.where}: {key}" if key != "" else self.where
        raise FormatError(describe(place, got, expected))

    def has(self, key: object) -> bool:
        """Whether the entry is there and not null."""
        return self.held.get(key) is not None

    def get(self, key: object) -> Any:
        """The entry as it is; None if it is missing."""
        return self.held.get(key)

    def below(self, key: object) -> Entries:
        """An entry that is an object itself."""
        if key not in self.held:
            self._refuse(key, "nothing", "an object")
        return Entries(self.held[key], f"{self.where}: {key}")

    def text(self, key: object, default: str | None = None) -> str:
        """A text."""
        value = self.held.get(key, default)
        if not isinstance(value, str):
            self._refuse(key, _kind(value), "text")
        return value

    def flag(self, key: object, default: bool | None = None) -> bool:
        """True or false."""
        value = self.held.get(key, default)
        if not isinstance(value, (bool, np.bool_)):
            self._refuse(key, _kind(value), "true or false")
        return bool(value)

    def number(self, key: object, default: float | None = None) -> float:
        """A finite number."""
        value = self.held.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
            self._refuse(key, _kind(value), "a finite number")
        return float(value)

    def whole(self, key: object, default: int | None = None) -> int:
        """A whole number."""
        value = self.number(key, default)
        if value != int(value):
            self._refuse(key, value, "a whole number")
        return int(value)

    def numbers(self, key: object) -> list[float]:
        """A list of finite numbers."""
        return self._numbers(key, self.held.get(key))

    def wholes(self, key: object) -> list[int]:
        """A list of whole numbers."""
        return self._wholes(key, self.held.get(key))

    def rows(self, key: object) -> list[list[int]]:
        """A list of lists of whole numbers, such as one stride per axis and stage."""
        return [self._wholes(key, row) for row in self._list(key, self.held.get(key))]

    def one_per_stage(self, key: object, stages: int) -> list[int]:
        """Whole numbers, one per stage; one number stands for all."""
        value = self.held.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return [value] * stages
        return self._of_length(key, self.wholes(key), stages)

    def axes_per_stage(self, key: object, stages: int, rank: int) -> list[list[int]]:
        """One number per axis and stage; one number stands for all axes, or for all."""
        value = self.held.get(key)
        given = [value] * stages if isinstance(value, int) else self._list(key, value)
        rows = [[row] * rank if isinstance(row, int) else self._wholes(key, row) for row in given]
        for row in self._of_length(key, rows, stages):
            self._of_length(key, row, rank)
        return rows

    def _of_length(self, key: object, values: list[Any], length: int) -> list[Any]:
        if len(values) != length:
            self._refuse(key, f"{len(values)} entries", f"{length}")
        return values

    def _list(self, key: object, value: Any) -> Sequence[Any]:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, (list, tuple)):
            self._refuse(key, _kind(value), "a list")
        return value

    def _numbers(self, key: object, value: Any) -> list[float]:
        return [Entries({key: held}, self.where).number(key) for held in self._list(key, value)]

    def _wholes(self, key: object, value: Any) -> list[int]:
        return [Entries({key: held}, self.where).whole(key) for held in self._list(key, value)]


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__ if not isinstance(value, str) else repr(value)[:60]
