"""Published figures, and ours beside them.

`tables.json` holds each table as it was published, with its source and a tag: "S" was read in that source, "R" is known
of the paper but not verified. Shares are 0..1 here, whatever the table's unit; the Hausdorff distance is in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from covfast.errors import ValueRangeError, describe
from covfast.metrics.report import json_ready, table
from covfast.protocols.splits import read_table

MEAN = "mean"
"""In the place of a fold's number: the published mean over folds."""

UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Figure:
    """One published number.

    Attributes:
        value, sd: 0..1, or pixels; SD is None where none is published.
        title: the column's title in the published table.
        scale: 100 where the published unit is percent, else 1.
    """

    value: float
    sd: float | None
    title: str
    scale: float


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        table, model, setting: names; a setting is what a protocol measures.
        fold: a fold's number, "mean" for the mean over folds, None for a row over all cases.
        figures: key of `Convention.summary` -> figure.
        source: where it stands.
        is_verified: tag "S".
    """

    table: str
    model: str
    setting: str
    fold: int | str | None
    figures: Mapping[str, Figure]
    source: str
    is_verified: bool


@cache
def published_rows() -> tuple[tuple[str, PublishedRow], ...]:
    """Every row of every table with the name of the set that it was measured on: a row of two sets comes twice."""
    found = []
    for entry in read_table("tables.json")["tables"]:
        sets = dict.fromkeys(test for test, _ in entry["columns"].values())
        found += [(test, _row(entry, row, test)) for row in entry["rows"] for test in sets]
    return tuple((test, row) for test, row in found if row.figures)


def _row(entry: Mapping[str, Any], row: Mapping[str, Any], test: str) -> PublishedRow:
    figures = {}
    spreads = row.get("sd", [None] * len(row["values"]))
    for (title, (where, key)), value, sd in zip(entry["columns"].items(), row["values"], spreads, strict=False):
        scale = 100.0 if entry["unit"] == "percent" and title not in entry.get("px", ()) else 1.0
        if where == test and value is not None:
            figures[key] = Figure(value / scale, None if sd is None else sd / scale, title, scale)
    return PublishedRow(
        table=entry["name"],
        model=row.get("model", entry["model"]),
        setting=row["setting"],
        fold=row.get("fold"),
        figures=figures,
        source=entry["source"],
        is_verified=entry["tag"] == "S",
    )


def published(setting: str, test: str, fold: int | None = None) -> list[PublishedRow]:
    """Rows of a setting on a set: of one fold, or those over all folds. Empty where nothing is published."""
    rows = [row for where, row in published_rows() if where == test and row.setting == setting]
    return [row for row in rows if (row.fold == fold if fold is not None else row.fold in (None, MEAN))]


def differences(ours: Mapping[str, float], row: PublishedRow) -> dict[str, float]:
    """Ours minus the published figure, for each figure that both have."""
    return {key: ours[key] - figure.value for key, figure in row.figures.items() if key in ours}


def to_dict(row: PublishedRow, ours: Mapping[str, float], is_comparable: bool) -> dict[str, Any]:
    """The row, and the differences of ours from it (null where it is not comparable), ready for JSON."""
    shared = {key: figure for key, figure in row.figures.items() if key in ours}
    ready: dict[str, Any] = json_ready(
        {
            "table": row.table,
            "model": row.model,
            "fold": row.fold,
            "source": row.source,
            "status": "published" if row.is_verified else UNVERIFIED,
            "figures": {key: figure.value for key, figure in shared.items()},
            "sd": {key: figure.sd for key, figure in shared.items() if figure.sd is not None},
            "differences": differences(ours, row) if is_comparable else None,
        }
    )
    return ready


def comparison_text(
    ours: Mapping[str, float], rows: Sequence[PublishedRow], name: str, is_comparable: bool = True
) -> str:
    """Our row and each published one, where it is comparable with the differences below it, in the published unit.

    The columns are the published ones, of nothing published all of ours.

    Args:
        ours: figures by key, and SD by "KEY SD", as `Convention.summary` gives them.
        rows: published rows.
        name: what our row is called.
        is_comparable: whether data, split and measure are the published ones.
    Raises: ValueRangeError: no figures of ours.
    """
    known = {key: figure for row in rows for key, figure in row.figures.items()}
    keys = [key for key in ours if key in known or not (known or key.endswith(" SD"))]
    if not keys:
        raise ValueRangeError(describe("ours", "no figures", "those of a protocol's summary"))
    scales = {key: known[key].scale if key in known else _default_scale(rows) for key in keys}
    heads = ["", *(f"{key}{' %' if scales[key] == 100 else ''}" for key in keys)]
    lines = [[name, *(_cell(ours[key], ours.get(f"{key} SD"), scales[key]) for key in keys)]]
    for row in rows:
        held = [row.figures.get(key) for key in keys]
        title = f"{row.model}{'' if row.fold is None else f', {_fold(row.fold)}'}{'' if row.is_verified else ' (*)'}"
        lines.append([title, *(_cell(f.value, f.sd, f.scale) if f else "-" for f in held)])
        if is_comparable:
            apart = differences(ours, row)
            lines.append(["  difference", *(_signed(apart.get(key), scales[key]) for key in keys)])
    text = table(heads, lines)
    return text if all(row.is_verified for row in rows) else f"{text}\n(*) {UNVERIFIED}: not read in its source"


def _fold(fold: int | str) -> str:
    return "mean of folds" if fold == MEAN else f"fold {fold}"


def _default_scale(rows: Sequence[PublishedRow]) -> float:
    """Unit of what nobody published: that of the rest."""
    return max((figure.scale for row in rows for figure in row.figures.values()), default=1.0)


def _cell(value: float, sd: float | None, scale: float) -> str:
    if math.isnan(value):
        return "-"
    digits = 1 if scale == 100 else 3
    spread = "" if sd is None or math.isnan(sd) else f" ± {sd * scale:.{digits}f}"
    return f"{value * scale:.{digits}f}{spread}"


def _signed(value: float | None, scale: float) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value * scale:+.{1 if scale == 100 else 3}f}"
