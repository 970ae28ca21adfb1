"""A set of reports: mean, spread and bootstrap intervals per label and metric, the worst cases, and files.

Values that are not defined (NaN, such as the Dice of two empty masks) and infinite ones (such as the Hausdorff distance
to an empty mask) are left out of the figures and counted beside them, never dropped unseen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import DTypeError, ValueRangeError, describe
from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.report import METRICS, SCHEMA_VERSION, LabelReport, Report, json_ready, save_csv, save_json, table

RESAMPLES = 10_000
"""Bootstrap resamples: the ends of the interval then vary by about 1 % of its width from seed to seed."""
CONFIDENCE = 0.95
UNITS = ("mm", "px")
SEED = 0
CHUNK_VALUES = 1 << 21
"""Drawn values held at once: 16 MiB of indices."""

DEFINITION = (
    "mean, SD (divided by n - 1) and median over the n cases whose value is finite; n_undefined cases have no value "
    "(NaN) and n_infinite an infinite one, and both are left out; 95 % confidence interval of the mean by the "
    f"percentile bootstrap, {RESAMPLES} resamples of the n cases, seed {SEED}"
)

SUMMARISED = tuple(metric for metric in METRICS if metric != "tolerance_mm")
"""What is summarised: all figures of a label but the tolerance, which is an argument."""

PROBABILITY: Mapping[str, tuple[str, ...]] = {
    "mae": ("mae",), "s_measure": ("s_measure",), "mean_dice": ("mean", "dice"), "max_dice": ("max", "dice"),
    "mean_e_measure": ("mean", "e_measure"), "max_e_measure": ("max", "e_measure"),
}  # fmt: skip
"""Figure of a probability map -> where it stands in `LabelReport.probability`; summarised where there were maps."""

_TABLE = (
    ("dice", "Dice", 4), ("sensitivity", "sensitivity", 4), ("precision", "precision", 4), ("nsd", "NSD", 4),
    ("assd_mm", "ASSD mm", 3), ("hausdorff95_mm", "HD95 mm", 2), ("hausdorff_mm", "HD mm", 2),
    ("difference_ml", "difference mL", 2), ("mae", "MAE", 4), ("s_measure", "S-measure", 4),
    ("mean_dice", "mean Dice", 4), ("max_dice", "max Dice", 4), ("mean_e_measure", "mean E-measure", 4),
    ("max_e_measure", "max E-measure", 4),
)  # fmt: skip
"""Rows of the printed table for each label: key, title, digits."""

_HEADS = ("", "n", "mean", "SD", "median", "95 % CI of mean", "left out")

_SMALLER_IS_BETTER = ("_mm", "_ml", "_percent", "mae")


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one label over a set of cases; see `DEFINITION`. Without a value each figure is NaN.

    Attributes:
        n, n_undefined, n_infinite: cases with a finite value, with none (NaN), with an infinite one.
        mean, sd, median: over the n finite values; sd is NaN for n < 2.
        ci_low, ci_high: 95 % confidence interval of the mean; NaN for n < 2.
    """

    n: int
    n_undefined: int
    n_infinite: int
    mean: float
    sd: float
    median: float
    ci_low: float
    ci_high: float

    @property
    def n_missing(self) -> int:
        """Cases that the figures leave out."""
        return self.n_undefined + self.n_infinite


@dataclass(frozen=True)
class RankedCase:
    """One place in `ReportSet.worst`: the case, the label that puts it there, the metric and its value."""

    case: str
    label: str
    metric: str
    value: float


class ReportSet:
    """Reports of several cases, in the order given.

    Args:
        reports: what `evaluate` returned for each case. A label that a report lacks counts as undefined there.
        unit: "mm", or "px" of pictures without a spacing, which were measured with a spacing of 1: every figure whose
            name ends in `_mm` is in pixels then.
    Raises: DTypeError if an item is no Report; ValueRangeError if two follow different conventions or have different
        tolerances for one label, or a case comes twice.
    """

    def __init__(self, reports: Iterable[Report], unit: str = "mm") -> None:
        self.reports = tuple(reports)
        self.unit = unit
        if unit not in UNITS:
            raise ValueRangeError(describe("unit", repr(unit), " or ".join(map(repr, UNITS))))
        for report in self.reports:
            if not isinstance(report, Report):
                raise DTypeError(describe("reports", type(report).__name__, "Report, what evaluate returns"))
        conventions = {report.convention for report in self.reports}
        if len(conventions) > 1:
            got = " and ".join(sorted(str(name) for name in conventions))
            raise ValueRangeError(describe("reports", f"conventions {got}", "one convention"))
        self.convention = conventions.pop() if conventions else None
        self._check_cases()
        self._tolerances = {label: self._tolerance(label) for label in self.labels}

    def __len__(self) -> int:
        return len(self.reports)

    def __iter__(self) -> Iterator[Report]:
        return iter(self.reports)

    def __getitem__(self, case: int | str) -> Report:
        """The report at a place, or of the case of this name. Raises: IndexError; ValueRangeError: no such case."""
        if not isinstance(case, str):
            return self.reports[case]
        if case not in self.cases:
            raise ValueRangeError(describe("case", repr(case), "one of the cases"))
        return self.reports[self.cases.index(case)]

    def __repr__(self) -> str:
        return f"ReportSet({len(self)} case{'s' * (len(self) != 1)} of {', '.join(self.labels) or 'no label'})"

    @property
    def cases(self) -> list[str]:
        """Name of each case; its number, from 1, where a report has none."""
        return [report.case or str(number) for number, report in enumerate(self.reports, 1)]

    @property
    def labels(self) -> list[str]:
        """Names of the labels of all reports, in order of appearance."""
        return list(dict.fromkeys(name for report in self.reports for name in report.labels))

    def values(self, label: str, metric: str) -> npt.NDArray[np.float64]:
        """(cases,) float64 values of one metric (also of `PROBABILITY`) of one label; NaN where it is not defined.

        Raises: ValueRangeError: no such label or metric.
        """
        self._check(label, metric)
        figures = (report.labels.get(label) for report in self.reports)
        return np.array([math.nan if of is None else _figure(of, metric) for of in figures], np.float64)

    def summary(self) -> Mapping[str, Mapping[str, MetricSummary]]:
        """label -> metric -> `MetricSummary`, for every metric of `SUMMARISED`; of labels with maps, `PROBABILITY`."""
        return self._summary

    @cached_property
    def _summary(self) -> dict[str, dict[str, MetricSummary]]:
        result = {}
        for label in self.labels:
            metrics = (*SUMMARISED, *PROBABILITY) if self._has_map(label) else SUMMARISED
            columns = np.stack([self.values(label, metric) for metric in metrics], axis=1)
            result[label] = dict(zip(metrics, summarise(columns), strict=True))
        return result

    def published(self) -> dict[str, float]:
        """The figures of the whole set as the convention's script has them; empty without a convention."""
        return {} if self.convention is None else CONVENTIONS[self.convention].summary(self.reports)

    def worst(self, k: int = 5, label: str | None = None, metric: str = "dice") -> list[RankedCase]:
        """The `k` worst cases, the worst first; cases without a value are not ranked.

        Worst is the lowest value; of distances, errors and volume differences the largest, whatever its sign.

        Args:
            k: how many, at least 0; fewer come back where there are fewer.
            label: the label to rank by; None ranks each case by its worst label.
            metric: one of `SUMMARISED` or `PROBABILITY`.
        Raises: ValueRangeError: k is negative, or there is no such label or metric.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise ValueRangeError(describe("k", repr(k), "a whole number of at least 0"))
        labels = self.labels if label is None else [label]
        places: dict[int, tuple[float, RankedCase]] = {}
        for name in labels:
            for number, value in enumerate(self.values(name, metric).tolist()):
                badness = abs(value) if metric.endswith(_SMALLER_IS_BETTER) else -value
                if not math.isnan(value) and (number not in places or badness > places[number][0]):
                    places[number] = badness, RankedCase(self.cases[number], name, metric, value)
        order = sorted(places, key=lambda number: (-places[number][0], number))
        return [places[number][1] for number in order[:k]]

    def __str__(self) -> str:
        lines = []
        for label, metrics in self.summary().items():
            for key, title, digits in _TABLE:
                if key in metrics and metrics[key].n + metrics[key].n_infinite:
                    lines.append([f"{label}, {self._title(label, title)}", *_cells(metrics[key], digits)])
        count = len(self.reports)
        text = [f"{count} case{'s' * (count != 1)}", table(_HEADS, lines)]
        published = self.published()
        if published:
            cells = [f"{value:.4f}" for value in published.values()]
            text += [f"convention {self.convention}, all cases:", table(list(published), [cells])]
        return "\n".join(text)

    def _title(self, label: str, title: str) -> str:
        """A row's title with its unit, of the NSD with its tolerance."""
        if title == "NSD" and not math.isnan(self._tolerances[label]):
            return f"NSD at {self._tolerances[label]:g} {self.unit}"
        return f"{title.removesuffix('mm')}{self.unit}" if title.endswith(" mm") else title

    def rows(self) -> list[dict[str, Any]]:
        """`label_rows`, or, with a convention, one flat dict per case as its script has it."""
        if self.convention is None:
            return self.label_rows()
        return [row for report in self.reports for row in report.rows()]

    def label_rows(self) -> list[dict[str, Any]]:
        """One flat dict per case and label: `METRICS`, and `PROBABILITY` if any case has a map."""
        more = tuple(PROBABILITY) if any(map(self._has_map, self.labels)) else ()
        return [
            {"case": case, "label": name, **of.figures(), **{key: _figure(of, key) for key in more}}
            for case, report in zip(self.cases, self.reports, strict=True)
            for name, of in report.labels.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: every report, and the summary with its definition."""
        summary = {name: {key: asdict(item) for key, item in of.items()} for name, of in self.summary().items()}
        return {
            "schema_version": SCHEMA_VERSION,
            "convention": self.convention,
            "unit": self.unit,
            "summary_definition": DEFINITION,
            "summary": json_ready(summary),
            "published": json_ready(self.published()),
            "cases": [report.to_dict() for report in self.reports],
        }

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict()` to a file, whole or not at all. Raises: OutputError."""
        save_json(path, self.to_dict())

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes `rows()` to a file, whole or not at all. Raises: OutputError."""
        save_csv(path, self.rows())

    def save_nnunet_summary(
        self, path: str | os.PathLike[str], files: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        """Writes nnU-Net v2's `summary.json`; see `covfast.metrics.nnunet.nnunet_summary`. Raises: OutputError."""
        from covfast.metrics.nnunet import save_nnunet_summary

        save_nnunet_summary(path, self.reports, files)

    def _check(self, label: str, metric: str) -> None:
        if label not in self.labels:
            raise ValueRangeError(describe("label", repr(label), " or ".join(map(repr, self.labels)) or "no label"))
        if metric not in (*METRICS, *PROBABILITY):
            raise ValueRangeError(describe("metric", repr(metric), f"one of {', '.join((*SUMMARISED, *PROBABILITY))}"))

    def _has_map(self, label: str) -> bool:
        return any(label in report.labels and report[label].probability is not None for report in self.reports)

    def _check_cases(self) -> None:
        names = [report.case for report in self.reports if report.case]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueRangeError(describe("reports", f"the case {twice!r} twice", "each case once"))

    def _tolerance(self, label: str) -> float:
        """The NSD's, NaN without one. Raises: ValueRangeError: not the same in all reports."""
        found = {repr(report[label].tolerance_mm) for report in self.reports if label in report.labels}
        if len(found) > 1:
            got = f"tolerances of {' and '.join(sorted(found))} {self.unit} for {label!r}"
            raise ValueRangeError(describe("reports", got, "one tolerance"))
        return float(found.pop())


def _figure(of: LabelReport, metric: str) -> float:
    if metric not in PROBABILITY:
        return float(getattr(of, metric))
    if of.probability is None:
        return math.nan
    value: Any = of.probability
    for key in PROBABILITY[metric]:
        value = value[key]
    return float(value)


def summarise(columns: npt.NDArray[np.float64]) -> list[MetricSummary]:
    """Summary of each column.

    Args:
        columns: (cases, metrics) float64; NaN is undefined, infinite values are counted.
    """
    finite = np.isfinite(columns)
    intervals = np.full((2, columns.shape[1]), math.nan)
    # Columns with the same finite cases share their resamples.
    patterns, group = np.unique(finite.T, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        inside = np.flatnonzero(group.ravel() == number)
        if pattern.sum() >= 2:
            intervals[:, inside] = bootstrap(columns[pattern][:, inside])
    result = []
    for index, column in enumerate(columns.T):
        values = column[finite[:, index]]
        undefined = int(np.isnan(column).sum())
        result.append(
            MetricSummary(
                n=len(values),
                n_undefined=undefined,
                n_infinite=len(column) - len(values) - undefined,
                mean=float(values.mean()) if len(values) else math.nan,
                sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                median=float(np.median(values)) if len(values) else math.nan,
                ci_low=float(intervals[0, index]),
                ci_high=float(intervals[1, index]),
            )
        )
    return result


def bootstrap(values: npt.NDArray[np.float64], resamples: int = RESAMPLES, seed: int = SEED) -> npt.NDArray[np.float64]:
    """Confidence interval of the mean of each column by the percentile bootstrap.

    Cases are drawn with replacement, ``n`` of ``n``, `resamples` times; the interval lies between the 2.5th and the
    97.5th percentile of the means.

    Args:
        values: (n, metrics) float64, finite, n at least 1; a row is a case.
        resamples: how often.
        seed: the same seed gives the same interval.
    Returns: (2, metrics) float64: low and high.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    generator = np.random.default_rng(seed)
    n, metrics = values.shape
    # About the mean, so that equal values have exactly their own mean, and large ones lose no digits.
    center = values.mean(axis=0)
    centered = values - center
    means = np.empty((resamples, metrics))
    step = max(1, CHUNK_VALUES // n)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(0, n, (count, n)) + n * np.arange(count)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        means[start : start + count] = times.astype(np.float64) @ centered / n
    tail = (1 - CONFIDENCE) / 2
    interval: npt.NDArray[np.float64] = center + np.quantile(means, (tail, 1 - tail), axis=0)
    return interval


def _cells(of: MetricSummary, digits: int) -> list[str]:
    def number(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.{digits}f}"

    left_out = [
        f"{count} {why}" for count, why in ((of.n_undefined, "undefined"), (of.n_infinite, "infinite")) if count
    ]
    interval = "-" if math.isnan(of.ci_low) else f"{number(of.ci_low)} to {number(of.ci_high)}"
    return [str(of.n), number(of.mean), number(of.sd), number(of.median), interval, ", ".join(left_out)]
