"""Training recipes: short TOML files, checked against the keys of their system (see `covfast.train.schema`)."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covfast.errors import BackendUnavailable, FormatError, ValueRangeError, describe
from covfast.train.keys import REQUIRED, Schema
from covfast.train.schema import SCHEMAS

RECIPES = Path(__file__).parent / "recipes"

Recipe = dict[str, Any]
"""A resolved recipe: nested tables, every key of the system's schema present, every value of its type and in range."""


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


def recipe_names() -> list[str]:
    """Names of the recipes that ship with covfast."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(recipe: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name (`miniseg-infection`) or path, checked, with changes laid over it and defaults filled in.

    Args:
        recipe: Name of a recipe that ships with covfast, or path of a TOML file.
        changes: Dotted key -> value, for example {"optimisation.steps": 100}. A text is read as the key's type.

    Raises:
        FormatError: No such recipe, or not TOML.
        ValueRangeError: A key that the system does not have, a value of another type or out of range, a key that is
            missing; the message names the key and what exists.
    """
    path = Path(recipe)
    if not path.is_file():
        path = RECIPES / f"{recipe}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        expected = f"a TOML file or one of {recipe_names()}"
        raise FormatError(describe("recipe", repr(Path(recipe).name), expected)) from None
    given = flatten(parse_toml(text))
    system = given.get("system")
    if system not in SCHEMAS:
        raise ValueRangeError(describe("system", repr(system), f"one of {sorted(SCHEMAS)}"))
    schema = SCHEMAS[system]
    values = {key: _checked(key, value, schema, "recipe") for key, value in collect(given, schema).items()}
    for key, value in (changes or {}).items():
        values[key] = _checked(key, value, schema, "set")
    return nest(_filled(values, schema))


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; empty tables vanish."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> Recipe:
    """{"a.b": 1} as {"a": {"b": 1}}."""
    table: Recipe = {}
    for key, value in flat.items():
        *folders, leaf = key.split(".")
        place = table
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return table


def collect(flat: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Flat keys, where those under a key that holds a table of its own (`named`) are one value again."""
    found: dict[str, Any] = {}
    for key, value in flat.items():
        above, _, leaf = key.rpartition(".")
        if above in schema and schema[above].named:
            found.setdefault(above, {})[leaf] = value
        else:
            found[key] = value
    return found


def _checked(key: str, value: Any, schema: Schema, argument: str) -> Any:
    """The value as the key's type. Raises: ValueRangeError."""
    if key not in schema:
        raise ValueRangeError(describe(argument, repr(key), *_existing(key, schema)))
    if isinstance(value, str) and not schema[key].is_text:
        value = _read(value)
    return schema[key].check(key, value)


def _existing(key: str, schema: Schema) -> tuple[str, str]:
    """What to say of an unknown key: the keys that exist beside it, and the nearest of all."""
    folder = key.rpartition(".")[0]
    beside = sorted(k for k in schema if folder and k.startswith(f"{folder}."))
    near = difflib.get_close_matches(key, schema, 1)
    return f"a key of the recipe, one of {beside or sorted(schema)}", f"nearest is {near[0]}" if near else ""


def _read(text: str) -> Any:
    """A value of the command line, written as in TOML; what is no TOML stays text, for the key's check to refuse."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except FormatError:
        return text


def _filled(values: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Every key in the schema's order, the default where none is given. Raises: ValueRangeError: a key is missing."""
    missing = [key for key, rule in schema.items() if rule.default is REQUIRED and key not in values]
    if missing:
        raise ValueRangeError(describe("recipe", f"no {missing[0]}", f"all of {missing}"))
    return {key: values.get(key, rule.default) for key, rule in schema.items()}


def with_fold(table: Recipe, fold: int) -> Recipe:
    """The recipe for one fold.

    Raises:
        ValueRangeError: The recipe has no folds, or not this one.
    """
    folds = fold_count(table)
    if not 0 <= fold < folds:
        raise ValueRangeError(describe("fold", str(fold), f"0 to {folds - 1}", "split.folds is their number"))
    return {**table, "split": {**table["split"], "fold": fold}}


def fold_count(table: Recipe) -> int:
    """Number of folds of a recipe. Raises: ValueRangeError: it has none."""
    if "folds" not in table.get("split", {}):
        raise ValueRangeError(describe("fold", f"system {table['system']}", "a system with split.folds"))
    return int(table["split"]["folds"])


def value_classes(data: Mapping[str, Any]) -> dict[int, int]:
    """Value in the masks -> class, of a recipe's `data` table: `classes`, or else `names` in the order of their values.

    Empty where it has neither: then values are classes.

    Raises:
        ValueRangeError: A value that is no whole number.
    """
    for key in ("classes", "names"):
        if not all(value.isdigit() for value in data[key]):
            raise ValueRangeError(describe(f"data.{key}", list(data[key]), "values in the masks, whole numbers"))
    if data["classes"]:
        return {int(value): kind for value, kind in data["classes"].items()}
    named = sorted(int(value) for value in data["names"])
    return {value: kind for kind, value in enumerate([0, *(value for value in named if value)])} if named else {}
