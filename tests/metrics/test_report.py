"""Reports: table, JSON by its schema, CSV, and files that appear whole or not at all."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
import pickle
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from covfast.errors import OutputError, ValueRangeError
from covfast.metrics import Report, evaluate
from covfast.metrics.report import METRICS, json_ready

LABELS = {"left lung": 1, "right lung": 2, "infection": 3}


@pytest.fixture(scope="module")
def report() -> Report:
    """A left lung in both maps, a right lung in neither, an infection that was not found."""
    truth, pred = np.zeros((10, 20, 30), np.uint8), np.zeros((10, 20, 30), np.uint8)
    truth[2:7, 3:9, 4:20], pred[2:8, 3:9, 4:20] = 1, 1
    truth[3, 4:6, 5:8] = 3
    return evaluate(truth, pred, (2.5, 0.8, 0.7), LABELS, case="case_1")


def schema() -> Any:
    text = resources.files("covfast").joinpath("schemas/metrics.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def test_a_report_is_a_mapping_of_labels(report: Report) -> None:
    assert list(report) == list(LABELS)
    assert len(report) == 3
    assert report["infection"].name == "infection"
    assert report["infection"].false_negatives == 6
    assert "trachea" not in report
    with pytest.raises(ValueRangeError) as caught:
        report["trachea"]
    assert isinstance(caught.value, KeyError)
    assert str(caught.value) == "label: got 'trachea', expected 'left lung' or 'right lung' or 'infection'"
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.case = "other"  # type: ignore[misc]


def test_a_report_travels_between_processes(report: Report) -> None:
    travelled = pickle.loads(pickle.dumps(report))
    assert json.dumps(travelled.to_dict()) == json.dumps(report.to_dict())
    assert copy.deepcopy(report).case == "case_1"


def test_the_table_is_aligned_and_narrow(report: Report) -> None:
    lines = str(report).splitlines()
    assert lines[0] == "case_1"
    assert lines[1].split("  ")[0] == "voxels of 2.5 x 0.8 x 0.7 mm"
    assert max(map(len, lines)) <= 80
    table = {line[:28].strip(): line[28:].split() for line in lines[1:]}
    assert table["Dice"] == [f"{report['left lung'].dice:.4f}", "-", "0.0000"]
    assert table["HD mm"] == ["2.50", "inf", "inf"]
    assert table["at mm"] == ["1.0", "1.0", "3.0"]
    assert len({len(line) for line in lines[1:]}) == 1


def test_json_follows_its_schema_and_is_strict(report: Report, tmp_path: Path) -> None:
    report.save_json(tmp_path / "report.json")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    loaded = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    jsonschema.validate(loaded, schema())
    assert loaded["schema_version"] == 1
    assert loaded["case"] == "case_1"
    assert list(loaded["labels"]) == list(LABELS)
    right, infection = loaded["labels"]["right lung"], loaded["labels"]["infection"]
    assert (right["dice"], right["nsd"], right["assd_mm"], right["hausdorff_mm"]) == (None, None, None, "inf")
    assert (infection["dice"], infection["hausdorff95_mm"], infection["difference_percent"]) == (0.0, "inf", -100.0)
    assert loaded["labels"]["left lung"]["dice"] == report["left lung"].dice
    assert set(METRICS) <= set(right)


@pytest.mark.parametrize("convention", ["ctseg", "infnet", "miniseg"])
def test_json_of_conventions_follows_the_schema(convention: str) -> None:
    truth, pred = np.zeros((4, 12, 12), np.uint8), np.zeros((4, 12, 12), np.uint8)
    truth[1:3, 2:7, 2:7], pred[1:3, 3:7, 2:7] = 3, 3
    found = evaluate(
        truth, pred, (1, 1, 1), {"infection": 3}, convention=convention, probability=(pred == 3).astype(np.float32)
    )
    loaded = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    jsonschema.validate(loaded, schema())
    assert loaded["labels"]["infection"]["probability"]["mae"] == pytest.approx(10 / truth.size)
    assert f"as {convention}" in str(found)


def test_csv_has_a_row_per_label_and_all_digits(report: Report, tmp_path: Path) -> None:
    report.save_csv(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(LABELS)
    assert {row["case"] for row in rows} == {"case_1"}
    assert list(rows[0]) == ["case", "label", *METRICS]
    for row, label in zip(rows, report.labels.values(), strict=True):
        for key in METRICS:
            np.testing.assert_equal(float(row[key]), getattr(label, key))


def test_csv_of_a_convention_has_its_columns(tmp_path: Path) -> None:
    mask = np.ones((4, 5, 6), np.uint8) * 3
    found = evaluate(mask, mask, (1, 1, 1), {"infection": 3}, convention="ctseg", case='a, "quoted" name')
    found.save_csv(tmp_path / "row.csv")
    lines = (tmp_path / "row.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["Name,LesionDSC,LesionNSD-3mm", '"a, ""quoted"" name",1.0,1.0']


def test_what_cannot_be_written_is_an_output_error_and_leaves_nothing(report: Report, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"report\.json: got"):
        report.save_json(tmp_path / "missing" / "report.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: got"):
        report.save_csv(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_example_of_the_documentation_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(examples[0].replace("print(report)", ""), names)
    assert f"```\n{names['report']}\n```" in text
    assert {path.name for path in tmp_path.iterdir()} == {"phantom.json", "phantom.csv"}
    chest, labels = names["chest"], names["labels"]
    names |= {"truth": chest.truth.labels == 3, "mask": labels == 3, "spacing_mm": chest.truth.geometry.spacing_mm}
    exec(examples[1], names)
    assert names["d"].nsd(3.0) == names["report"]["infection"].nsd


def test_what_json_cannot_hold_becomes_null_or_a_word() -> None:
    value = {"a": (math.nan, -math.inf), "b": np.array([1.5, np.inf]), "c": np.int64(3), "d": {"e": np.float32("nan")}}
    assert json_ready(value) == {"a": [None, "-inf"], "b": [1.5, "inf"], "c": 3, "d": {"e": None}}
