"""The labels that `evaluate` is asked for, as values in either map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covfast.errors import ValueRangeError, describe
from covfast.metrics.inputs import LabelValues, Pair, dtype_of


def as_labels(labels: Any, pair: Pair) -> list[LabelValues]:
    """Labels as `evaluate` takes them.

    Args:
        labels: name -> value, tuple of values, or {"truth": ..., "prediction": ...}; or names that the images (or
            covfast's own label map) know.
        pair: the maps.
    Raises: ValueRangeError: a name that is not known, a value that a map's type cannot hold, no label at all.
    """
    if isinstance(labels, str) or not isinstance(labels, (Mapping, Sequence)) or not labels:
        raise ValueRangeError(describe("labels", repr(labels), 'names and values, such as {"infection": 3}'))
    if not isinstance(labels, Mapping):
        labels = {name: _by_name(name, pair) for name in labels}
    found = []
    for name, values in labels.items():
        if not isinstance(name, str) or not name:
            raise ValueRangeError(describe("labels", repr(name), 'names as keys, such as {"infection": 3}'))
        sides = values if isinstance(values, Mapping) else {"truth": values, "prediction": values}
        if set(sides) != {"truth", "prediction"}:
            expected = 'the keys "truth" and "prediction"'
            raise ValueRangeError(describe(f"labels[{name!r}]", sorted(map(str, sides)), expected))
        truth = _as_values(name, sides["truth"], "truth", dtype_of(pair.truth))
        found.append(LabelValues(name, truth, _as_values(name, sides["prediction"], "pred", dtype_of(pair.prediction))))
    return found


def _by_name(name: Any, pair: Pair) -> dict[str, int]:
    values = {}
    for side, argument, names in zip(("truth", "prediction"), ("truth", "pred"), pair.names, strict=True):
        known = {label: value for value, label in names.items()}
        if name not in known:
            expected = f"one of {', '.join(map(repr, known))}"
            hint = "pass labels= with names that both maps have, or with values"
            raise ValueRangeError(describe("labels", f"{name!r}, which {argument} does not have", expected, hint))
        values[side] = known[name]
    return values


def _as_values(label: str, values: Any, side: str, dtype: np.dtype[Any]) -> tuple[int, ...]:
    several = tuple(values) if isinstance(values, (tuple, list, set, frozenset, range, np.ndarray)) else (values,)
    argument = f"labels[{label!r}]"
    is_whole = all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in several)
    if not several or not is_whole:
        raise ValueRangeError(describe(argument, repr(values), "a whole number, or several"))
    low, high = _value_range(dtype)
    for value in several:
        if not low <= value <= high:
            raise ValueRangeError(describe(argument, value, f"a value from {low} to {high}", f"{side} is {dtype}"))
    return tuple(sorted({int(value) for value in several}))


def _value_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":  # the whole numbers that are exact
        most = 2 ** (np.finfo(dtype).nmant + 1)
        return -most, most
    return int(np.iinfo(dtype).min), min(int(np.iinfo(dtype).max), 2**63 - 1)
