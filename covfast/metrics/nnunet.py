"""nnU-Net v2's `summary.json` of a set of reports, so that its tools and people's scripts read our figures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covfast.metrics.report import LabelReport, Report
from covfast.outputs import replace_file

_METRICS = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")


def nnunet_summary(reports: Sequence[Report], files: Mapping[str, tuple[str, str]] | None = None) -> dict[str, Any]:
    """The content of nnU-Net v2's `summary.json`.

    Means leave out undefined values (NaN: both masks empty), and the foreground mean is the mean of the labels' means,
    as `compute_metrics_on_folder` has them. A label is named by its value in the reference, a region by its tuple of
    values, such as "(1, 2)". A label whose values an earlier one has is named by a tuple that holds the last value once
    more: "(1,)" after "1". nnU-Net's reader takes all of them as regions.

    Args:
        reports: of each case.
        files: case -> names of its reference and prediction file, without folders: outputs carry no input path. The
            case's name stands for both where it is missing.
    Source: nnunetv2/evaluation/evaluate_predictions.py of MIC-DKFZ/nnUNet.
    """
    names, keys = files or {}, _keys(reports)
    per_case: list[dict[str, Any]] = []
    for report in reports:
        reference, prediction = names.get(report.case, (report.case, report.case))
        metrics = {keys[name]: _figures(label) for name, label in report.labels.items()}
        per_case.append({"reference_file": reference, "prediction_file": prediction, "metrics": metrics})
    figures = {key: [case["metrics"][key] for case in per_case if key in case["metrics"]] for key in keys.values()}
    means = {key: _means(of) for key, of in figures.items()}
    foreground = [mean for key, mean in means.items() if key != "0"]
    overall = {name: float(np.mean([mean[name] for mean in foreground])) for name in _METRICS} if foreground else {}
    return {"foreground_mean": overall, "mean": means, "metric_per_case": per_case}


def save_nnunet_summary(
    path: str | os.PathLike[str], reports: Sequence[Report], files: Mapping[str, tuple[str, str]] | None = None
) -> None:
    """Writes `nnunet_summary`, whole or not at all, with `NaN` for what is undefined, as nnU-Net's own reader expects.

    Raises: OutputError.
    """
    text = json.dumps(nnunet_summary(reports, files), indent=4, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(Path(path), lambda file: _put(file, text))


def _put(file: Any, text: str) -> None:
    file.write(text.encode("utf-8"))


def _keys(reports: Sequence[Report]) -> dict[str, str]:
    """Name of each label -> its key in the file."""
    keys: dict[str, str] = {}
    for name, label in ((name, label) for report in reports for name, label in report.labels.items()):
        values = label.truth_values
        key = str(values[0]) if len(values) == 1 else str(tuple(values))
        while name not in keys and key in keys.values():
            key, values = str(tuple(values)), (*values, values[-1])
        keys.setdefault(name, key)
    return keys


def _figures(label: LabelReport) -> dict[str, float]:
    tp, fp, fn = label.true_positives, label.false_positives, label.false_negatives
    return {
        "Dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan,
        "IoU": tp / (tp + fp + fn) if tp + fp + fn else math.nan,
        "FP": fp,
        "TP": tp,
        "FN": fn,
        "TN": label.true_negatives,
        "n_pred": fp + tp,
        "n_ref": fn + tp,
    }


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means = {}
    for name in _METRICS:
        values = [of[name] for of in figures if not math.isnan(of[name])]
        means[name] = float(np.mean(values)) if values else math.nan
    return means
