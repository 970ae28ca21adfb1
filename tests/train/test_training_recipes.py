"""Recipes: every one that ships is valid and short; unknown keys and values out of range say what exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from covfast.errors import FormatError, ValueRangeError
from covfast.train.recipe import RECIPES, fold_count, read_recipe, recipe_names, value_classes, with_fold
from covfast.train.schema import SCHEMAS
from covfast.train.systems import HOMES


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_valid_short_and_named_as_its_file(name: str) -> None:
    table = read_recipe(name)
    assert table["name"] == name
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 50
    assert text.startswith("#")
    assert set(table["run"]) == {key[4:] for key in SCHEMAS[table["system"]] if key.startswith("run.")}


def test_every_system_has_a_schema_a_module_and_a_recipe() -> None:
    assert set(HOMES) == set(SCHEMAS)
    assert {read_recipe(name)["system"] for name in recipe_names()} == set(SCHEMAS)
    home = Path(read_recipe.__code__.co_filename).parent / "systems"
    assert all((home / f"{module}.py").is_file() for module in HOMES.values())


def test_reading_a_recipe_imports_no_torch() -> None:
    code = "import sys; from covfast.train import read_recipe; read_recipe('infnet'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_key_names_the_keys_beside_it_and_the_nearest() -> None:
    told = r"'optimisation\.stepz'.*'optimisation\.steps'.*nearest is optimisation\.steps"
    with pytest.raises(ValueRangeError, match=told):
        read_recipe("miniseg-infection", {"optimisation.stepz": 3})
    with pytest.raises(ValueRangeError, match=r"got 'speed'.*run\.device"):
        read_recipe("infnet", {"speed": 1})


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_unknown_key_in_a_file_and_missing_keys_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match=r"recipe: got 'optimisation\.colour'"):
        read_recipe(write(tmp_path, 'name = "a"\nsystem = "infnet"\n[optimisation]\ncolour = 1\n'))
    with pytest.raises(ValueRangeError, match="no name"):
        read_recipe(write(tmp_path, 'system = "infnet"\n'))
    for text in ('name = "a"\nsystem = "infnot"\n', 'name = "a"\n'):
        with pytest.raises(ValueRangeError, match=r"system: got .*infnet-multiclass"):
            read_recipe(write(tmp_path, text))
    with pytest.raises(FormatError, match=r"mine\.toml"):
        read_recipe(tmp_path / "other" / "mine.toml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimisation.batch", 0, "whole number from 1"),
        ("optimisation.batch", 2.5, "whole number"),
        ("optimisation.batch", True, "whole number"),
        ("optimisation.batch", "many", "whole number"),
        ("optimisation.rate", 0.0, "above 0"),
        ("optimisation.rate", "nan", "above 0"),
        ("fidelity", "poem", r"\['code', 'paper'\]"),
        ("input.mean", [0.5, 0.5], "list of 3"),
        ("input.mean", 0.5, "list of 3"),
        ("run.tensorboard", 1, "true or false"),
        ("seed", -1, "from 0"),
        ("input.scales", [], "at least 1"),
        ("input.size", 33, "multiple of 32"),
        ("name", "../up", "letters"),
        ("name", "a/b", "letters"),
        ("name", "", "letters"),
        ("name", "checkpoint", "none of checkpoint"),
        ("data.folder", "/home/me/data", "inside the data folder"),
        ("data.folder", "scans/../../me", "inside the data folder"),
        ("data.folder", "C:\\\\me", "inside the data folder"),
        ("model.backbone", "../weights.pt", "inside the data folder"),
    ],
)
def test_value_out_of_range_names_key_got_and_expected(key: str, value: object, expected: str) -> None:
    with pytest.raises(ValueRangeError, match=rf"{key}: got .*{expected}"):
        read_recipe("infnet", {key: value})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("optimisation.batch", "7", 7),
        ("optimisation.rate", "1", 1.0),
        ("optimisation.rate", "2e-3", 2e-3),
        ("run.tensorboard", "true", True),
        ("input.scales", "[1, 1.5]", [1.0, 1.5]),
        ("name", "7", "7"),
    ],
)
def test_text_of_the_command_line_is_read_as_the_type_of_the_key(key: str, text: str, value: object) -> None:
    place = read_recipe("infnet", {key: text})
    for part in key.split("."):
        place = place[part]
    assert place == value
    assert type(place) is type(value)


@pytest.mark.parametrize(
    ("recipe", "key", "value", "expected"),
    [
        ("miniseg-paper", "optimisation.scales", [], "at least 1"),
        ("miniseg-infection", "input.window_hu", [250.0, -1250.0], "first below the second"),
        ("infnet-multiclass", "input.size", 40, "multiple of 16"),
        ("unet", "data.window_hu", [250.0, -1250.0], "first below the second"),
        ("unet", "data.normalisation_hu", [250.0, -1250.0, 0.0, 1.0], "first below the second"),
        ("transfer", "sources.images", {"../up": "a"}, "letters, digits"),
        ("transfer", "sources.images", {"up": "../a"}, "inside the data folder"),
    ],
)
def test_value_that_no_training_can_use_is_refused(recipe: str, key: str, value: object, expected: str) -> None:
    with pytest.raises(ValueRangeError, match=rf"{key}: got .*{expected}"):
        read_recipe(recipe, {key: value})


def test_table_of_names_is_one_value() -> None:
    table = read_recipe("miniseg-infection", {"optimisation.shares": "{doctor = 1}"})
    assert table["optimisation"]["shares"] == {"doctor": 1.0}
    with pytest.raises(ValueRangeError, match="table of names"):
        read_recipe("miniseg-infection", {"optimisation.shares": "0.5"})


def test_folds_are_checked() -> None:
    table = read_recipe("infnet", {"split.folds": 5})
    assert fold_count(table) == 5
    assert with_fold(table, 4)["split"]["fold"] == 4
    assert table["split"]["fold"] == 0
    with pytest.raises(ValueRangeError, match="fold: got 5, expected 0 to 4"):
        with_fold(table, 5)
    with pytest.raises(ValueRangeError, match=r"split\.folds"):
        fold_count(read_recipe("miniseg-lung"))


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        ({}, {}, {}),
        ({}, {"1": "infection"}, {0: 0, 1: 1}),
        ({}, {"75": "b", "0": "none", "38": "a"}, {0: 0, 38: 1, 75: 2}),
        ({"0": 0, "1": 0, "3": 1}, {"3": "infection"}, {0: 0, 1: 0, 3: 1}),
    ],
)
def test_values_of_masks_are_those_that_a_recipe_lists(
    classes: dict[str, int], names: dict[str, str], expected: dict[int, int]
) -> None:
    assert value_classes({"classes": classes, "names": names}) == expected
