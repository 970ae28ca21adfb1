"""Training recipes: TOML files that state data split, network input, optimisation and augmentation."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covfast.errors import BackendUnavailable, FormatError, ValueRangeError, describe

RECIPES = Path(__file__).parent / "recipes"


def parse_toml(text: str) -> dict[str, Any]:
    """TOML text as a dict; Python 3.10 has no reader of its own.

    Raises:
        BackendUnavailable: Python 3.10 without tomli.
        FormatError: Not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib as reader
    else:
        try:
            import tomli as reader
        except ImportError as error:
            raise BackendUnavailable(
                describe("recipe", "no TOML reader", "Python 3.11 or tomli", 'pip install "covfast[train]"')
            ) from error
    try:
        return reader.loads(text)
    except reader.TOMLDecodeError as error:
        raise FormatError(describe("recipe", str(error), "TOML")) from error


def read_recipe(recipe: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A recipe by name (`miniseg-infection`) or path, with changes laid over it.

    Args:
        recipe: Name of a recipe that ships with covfast, or path of a TOML file.
        changes: Dotted key -> value, for example {"optimisation.steps": 100}. Keys that the recipe lacks are errors.

    Raises:
        FormatError: No such recipe, or not TOML.
        ValueRangeError: A key of `changes` is not in the recipe.
    """
    path = Path(recipe)
    if not path.is_file():
        path = RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.toml"))
        raise FormatError(describe("recipe", repr(Path(recipe).name), f"a TOML file or one of {known}"))
    table = parse_toml(path.read_text(encoding="utf-8"))
    for key, value in (changes or {}).items():
        *folders, leaf = key.split(".")
        place: Any = table
        for folder in folders:
            place = place.get(folder, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or leaf not in place:
            raise ValueRangeError(describe("set", repr(key), "a key of the recipe"))
        place[leaf] = value
    return table
