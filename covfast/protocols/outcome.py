"""What a run of a protocol found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covfast.info import versions
from covfast.io.pairs import printable
from covfast.metrics.report import Report, json_ready
from covfast.protocols.comparison import PublishedRow, comparison_text, published, to_dict
from covfast.protocols.protocol import EvaluationSet, Protocol
from covfast.report import DISCLAIMER

SCHEMA_VERSION = 1
FILE = "benchmark.json"


@dataclass(frozen=True)
class FoldResult:
    """One fold.

    Attributes:
        number: of the fold.
        reports: of its cases.
        figures: the convention's, of this fold.
        failed: case -> why it was not measured.
        missing: cases that the data folder lacks.
        unpredicted: cases without a prediction.
        model: name and checksum, None for existing predictions.
    """

    number: int
    reports: tuple[Report, ...]
    figures: Mapping[str, float]
    failed: Mapping[str, Exception]
    missing: tuple[str, ...]
    unpredicted: tuple[str, ...]
    model: Mapping[str, Any] | None


@dataclass(frozen=True)
class BenchmarkResult:
    """The folds, their figures together, and why these cannot be compared with the published ones, if so.

    Attributes:
        protocol, tested: what was run.
        folds: in order.
        figures: over all of them.
        reasons: why the figures are not comparable; empty if they are.
    """

    protocol: Protocol
    tested: EvaluationSet
    folds: tuple[FoldResult, ...]
    figures: Mapping[str, float]
    reasons: tuple[str, ...]

    @property
    def is_comparable(self) -> bool:
        """Whether data, split and measure are the published ones and figures were published."""
        return not self.reasons and bool(self.rows)

    @property
    def is_complete(self) -> bool:
        """Every case of the folds was there and measured."""
        return not any(fold.failed or fold.missing or fold.unpredicted for fold in self.folds)

    @property
    def rows(self) -> list[PublishedRow]:
        """The published rows: of the one fold that was run, or over all. Of training cases: the tested ones'."""
        name = self.tested.name if self.tested.is_published else self.protocol.sets[0].name
        is_one = len(self.folds) == 1 and len(self.tested.folds) > 1
        own = published(self.protocol.setting, name, self.folds[0].number) if is_one else []
        rows = own or published(self.protocol.setting, name)
        return [row for row in rows if row.figures.keys() & self.figures.keys()]

    def to_dict(self, command: str | None = None) -> dict[str, Any]:
        """The content of `benchmark.json`; `schemas/benchmark.schema.json` describes it."""
        is_open = self.is_comparable
        return {
            "schema_version": SCHEMA_VERSION,
            "disclaimer": DISCLAIMER,
            "versions": versions(),
            "command": command,
            "protocol": self.protocol.name,
            "title": self.protocol.title,
            "test": self.tested.name,
            "convention": self.protocol.convention,
            "readings": list(self.protocol.readings),
            "is_complete": self.is_complete,
            "is_comparable": is_open,
            "not_comparable_because": list(self._reasons()),
            "figures": json_ready(dict(self.figures)),
            "published": [to_dict(row, self.figures, is_open) for row in self.rows],
            "folds": [self._fold(fold) for fold in self.folds],
        }

    def _reasons(self) -> tuple[str, ...]:
        if self.reasons or self.rows:
            return self.reasons
        return ("nothing was published of this set",)

    def _rows_of(self, fold: FoldResult) -> list[PublishedRow]:
        """What was published of one fold."""
        rows = published(self.protocol.setting, self.tested.name, fold.number)
        return [row for row in rows if row.figures.keys() & fold.figures.keys()]

    def _fold(self, fold: FoldResult) -> dict[str, Any]:
        rows = self._rows_of(fold)
        is_open = self.is_comparable and not (fold.failed or fold.missing or fold.unpredicted)
        return {
            "fold": fold.number,
            "cases": [printable(report.case) for report in fold.reports],
            "figures": json_ready(dict(fold.figures)),
            "published": [to_dict(row, fold.figures, is_open) for row in rows],
            "model": None if fold.model is None else dict(fold.model),
            "failed": [
                {"case": printable(case), "error": type(error).__name__, "message": printable(str(error))}
                for case, error in fold.failed.items()
            ],
            "missing": [printable(case) for case in fold.missing],
            "without_prediction": [printable(case) for case in fold.unpredicted],
        }

    def __str__(self) -> str:
        count = sum(len(fold.reports) for fold in self.folds)
        several = f", {len(self.folds)} of {len(self.tested.folds)} folds" if len(self.tested.folds) > 1 else ""
        lines = [self.protocol.title, f"set {self.tested.name}: {count} cases measured{several}", ""]
        if not self.figures:
            return "\n".join([*lines, "no case was measured"])
        if len(self.folds) > 1:
            lines += [self._fold_text(fold) for fold in self.folds] + [""]
        name = "covfast" if self.is_comparable else "covfast, not comparable"
        lines.append(comparison_text(self.figures, self.rows, name, self.is_comparable))
        lines += [f"source: {source}" for source in dict.fromkeys(row.source for row in self.rows)]
        if not self.is_comparable:
            lines.append(f"not comparable: {'; '.join(self._reasons())}")
        return "\n".join(lines)

    def _fold_text(self, fold: FoldResult) -> str:
        """Our figures of a fold beside those that were published of it."""
        if not fold.figures:
            return f"fold {fold.number}: no case was measured"
        rows = self._rows_of(fold)
        return comparison_text(fold.figures, rows, f"fold {fold.number}, {len(fold.reports)} cases", self.is_comparable)
