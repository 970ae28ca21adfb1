"""What `evaluate` found in one case: `LabelReport` per label, `Report` for all; as a table, JSON or CSV.

In JSON what is not defined (NaN) is null, and an infinite distance is the string "inf", which `float` reads; in CSV
they are "nan" and "inf".
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covfast.errors import ValueRangeError, describe
from covfast.outputs import replace_file

SCHEMA_VERSION = 1

METRICS = (
    "dice", "iou", "sensitivity", "specificity", "precision", "f1", "accuracy", "mcc", "truth_ml", "prediction_ml",
    "difference_ml", "difference_percent", "nsd", "tolerance_mm", "assd_mm", "hausdorff_mm", "hausdorff95_mm",
)  # fmt: skip
"""The figures of a `LabelReport`, in the order of tables and files. Keys end in their unit; without one they are 0..1,
mcc is -1..1."""

_TABLE = (
    ("dice", "Dice", 4), ("iou", "IoU", 4), ("sensitivity", "sensitivity", 4), ("specificity", "specificity", 4),
    ("precision", "precision", 4), ("accuracy", "accuracy", 4), ("mcc", "MCC", 4), ("truth_ml", "truth mL", 1),
    ("prediction_ml", "prediction mL", 1), ("difference_ml", "difference mL", 1), ("nsd", "NSD", 4),
    ("tolerance_mm", "  at mm", 1), ("assd_mm", "ASSD mm", 3), ("hausdorff_mm", "HD mm", 2),
    ("hausdorff95_mm", "HD95 mm", 2),
)  # fmt: skip
"""Lines of the printed table: key, title, digits. F1 is Dice."""


@dataclass(frozen=True)
class LabelReport:
    """Figures of one label. What is not defined is NaN: ratios 0/0, an NSD without tolerance, mL of a 2-D image.

    Attributes:
        name: the label's name.
        truth_values, prediction_values: the values that make up the label in either map.
        true_positives, false_positives, false_negatives, true_negatives: voxels.
        dice: 2 TP / (2 TP + FP + FN); f1 is the same number.
        iou: TP / (TP + FP + FN).
        sensitivity, specificity, precision: TP / (TP + FN), TN / (TN + FP), TP / (TP + FP).
        accuracy: (TP + TN) / all.
        mcc: Matthews' correlation coefficient.
        truth_ml, prediction_ml, difference_ml: volumes; difference = prediction - truth.
        difference_percent: 100 difference / truth.
        nsd: normalised surface distance (surface Dice) at `tolerance_mm`.
        assd_mm: mean distance over both surfaces, pooled by area.
        hausdorff_mm, hausdorff95_mm: largest distance, and 95th percentile; the greater of the two directions.
        probability: figures of the probability map, if there was one: MAE, S-measure, E-measure and threshold curves.
    """

    name: str
    truth_values: tuple[int, ...]
    prediction_values: tuple[int, ...]
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    dice: float
    iou: float
    sensitivity: float
    specificity: float
    precision: float
    f1: float
    accuracy: float
    mcc: float
    truth_ml: float
    prediction_ml: float
    difference_ml: float
    difference_percent: float
    nsd: float
    tolerance_mm: float
    assd_mm: float
    hausdorff_mm: float
    hausdorff95_mm: float
    probability: Mapping[str, Any] | None = None

    def figures(self) -> dict[str, float]:
        """`METRICS` -> number."""
        return {key: getattr(self, key) for key in METRICS}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        result: dict[str, Any] = {
            "truth_values": list(self.truth_values),
            "prediction_values": list(self.prediction_values),
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "true_negatives": self.true_negatives,
            **self.figures(),
        }
        if self.probability is not None:
            result["probability"] = self.probability
        ready: dict[str, Any] = json_ready(result)
        return ready


class UnknownLabelError(ValueRangeError, KeyError):
    """A report has no label of this name."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


@dataclass(frozen=True)
class Report:
    """What `evaluate` found in one case.

    Attributes:
        labels: name -> LabelReport, in the order asked for; `report["infection"]` is short for it.
        spacing_mm: voxel size in the order of the truth's axes.
        case: the case's name.
        convention: name of the published convention that `row` follows, or None.
        row: the convention's own columns -> values, as its script prints them; empty without a convention.
        published: what `Convention.measure` found in the masks and maps (Saliency, MiniSegFigures or None): the set's
            figures need it, because they are not means of the cases' figures.
    """

    labels: Mapping[str, LabelReport]
    spacing_mm: tuple[float, ...]
    case: str = ""
    convention: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    published: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", dict(self.labels))
        object.__setattr__(self, "row", dict(self.row))

    def __getitem__(self, name: str) -> LabelReport:
        """The report of a label. Raises: UnknownLabelError, a ValueRangeError and KeyError that lists the names."""
        if name not in self.labels:
            raise UnknownLabelError(describe("label", repr(name), " or ".join(map(repr, self.labels)) or "no label"))
        return self.labels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        """A line per figure and a column per label, which three labels keep within 80 characters."""
        is_known = not any(math.isnan(value) for value in self.spacing_mm)
        size = " x ".join(f"{value:g}" for value in self.spacing_mm) + " mm" if is_known else "unknown size"
        labels = list(self.labels.values())
        lines = [[title, *(_cell(getattr(one, key), digits) for one in labels)] for key, title, digits in _TABLE]
        text = [table([f"voxels of {size}", *self.labels], lines)]
        if self.case:
            text.insert(0, self.case)
        if self.row:
            text += ["", table([f"as {self.convention}", ""], [[key, _cell(value)] for key, value in self.row.items()])]
        return "\n".join(text)

    def rows(self) -> list[dict[str, Any]]:
        """One flat dict per label: case, label, `METRICS`; with a convention, its one row alone."""
        if self.convention is not None:
            return [dict(self.row)]
        return [{"case": self.case, "label": name, **label.figures()} for name, label in self.labels.items()]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `schemas/metrics.schema.json` describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "case": self.case,
            "convention": self.convention,
            "spacing_mm": list(self.spacing_mm),
            "labels": {name: label.to_dict() for name, label in self.labels.items()},
            "row": json_ready(self.row),
        }

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` to a file. Raises: OutputError."""
        save_json(path, self.to_dict())

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes `rows()` to a file, with a line of titles. Raises: OutputError."""
        save_csv(path, self.rows())


def json_ready(value: Any) -> Any:
    """The same value with null for NaN and "inf" or "-inf" for what is infinite, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def save_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Writes a dict that is ready for JSON, whole or not at all. Raises: OutputError."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    replace_file(Path(path), lambda file: _put(file, text))


def save_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of equal columns as CSV with all digits, whole or not at all. Raises: OutputError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(Path(path), lambda file: _put(file, text.getvalue()))


def _put(file: Any, text: str) -> None:
    file.write(text.encode("utf-8"))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text: the first column to the left, the others, numbers, to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in (heads, *rows))


def _cell(value: Any, digits: int = 4) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
