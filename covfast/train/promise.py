"""What the package of a recipe will label, as far as the recipe tells before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covfast.errors import ValueRangeError, describe
from covfast.train.publish import KINDS, VOLUMES, require_labels
from covfast.train.recipe import value_classes
from covfast.volume import LABELS

_LUNGS, _TYPES, _CLASSES = "miniseg-lung", "miniseg-lesions", "infnet-multiclass"


@dataclass(frozen=True)
class Promise:
    """Labels of a package that is not there yet.

    Attributes:
        names: value -> label.
        finds_infection: whether it looks for lungs and infection, as `Segmenter.finds_infection`.
    """

    names: Mapping[int, str]
    finds_infection: bool


def promised(table: Mapping[str, Any], *, is_picture: bool) -> Promise | None:
    """The labels of a resolved recipe's package; None where they follow from the masks alone.

    Args:
        table: Recipe.
        is_picture: Whether pictures are to be labelled, not volumes.

    Raises:
        ValueRangeError: The package gives no labels of these.
    """
    require_labels(table, is_picture=is_picture)
    system = table["system"]
    if system == _TYPES:
        got = f"{table['name']!r}, which tells the types of lesions that another model finds"
        raise ValueRangeError(describe("--recipe", got, "one that finds something"))
    if KINDS[system] != VOLUMES:
        return Promise({1: "lung"}, False) if system == _LUNGS else Promise(LABELS, True)
    from covfast.train.publish_volumes import label_names, label_values

    classes = value_classes(table["data"])
    if not classes:
        return None
    return Promise(label_names(table["data"], label_values(classes, 1 + max(classes.values()))), False)


def require_classes(table: Mapping[str, Any]) -> None:
    """Refuse a recipe whose network tells no ground glass from consolidation. Raises: ValueRangeError."""
    if table["system"] != _CLASSES:
        raise ValueRangeError(describe("--recipe", repr(table["name"]), f"one of system {_CLASSES}"))


def further_data(table: Mapping[str, Any]) -> list[str]:
    """Data sets beside the target's that a recipe trains on."""
    is_scratch = table.get("strategy", {}).get("name") == "scratch"
    return [] if is_scratch else list(table.get("sources", {}).get("images", {}))
