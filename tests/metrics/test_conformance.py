"""Every figure of every pair of masks equals google-deepmind/surface-distance's, on every backend."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from metrics import deepmind, masks
from reference.surface import IS_FUSED

from covfast import metrics

SUM_TOLERANCE = 1e-9  # of figures that are sums over the surface, whose order of summation is free
DISTANCE_TOLERANCE = 1e-12  # of those that are one of the distances
FAMILIES = [
    pytest.param(
        family,
        marks=pytest.mark.skipif(family == "last bits" and not IS_FUSED, reason="BLAS rounds norms otherwise here"),
    )
    for family in masks.FAMILIES
]


@cache
def expected(family: str) -> list[dict[str, float]]:
    return [deepmind.figures(pair) for pair in masks.pairs(family)]


def measured(pair: masks.Pair) -> dict[str, float]:
    found = metrics.surface_distances(pair.truth, pair.prediction, pair.spacing_mm)
    average = found.average()
    values = {
        "dice": metrics.dice(pair.truth, pair.prediction),
        "assd": found.assd(),
        "average, truth to pred": average[0],
        "average, pred to truth": average[1],
    }
    for tolerance in pair.tolerances_mm:
        overlap = found.overlap(tolerance)
        values[f"nsd at {tolerance!r}"] = found.nsd(tolerance)
        values[f"overlap at {tolerance!r}, truth"] = overlap[0]
        values[f"overlap at {tolerance!r}, pred"] = overlap[1]
    for percent in deepmind.PERCENTILES:
        values[f"hausdorff {percent}"] = found.hausdorff(percent)
    return values


def differences(pair: masks.Pair, want: dict[str, float]) -> list[str]:
    got = measured(pair)
    assert got.keys() == want.keys()
    found = []
    for name, value in want.items():
        tolerance = DISTANCE_TOLERANCE if name.startswith("hausdorff") else SUM_TOLERANCE
        if not np.isclose(got[name], value, rtol=tolerance, atol=tolerance, equal_nan=True):
            found.append(f"{pair.name}, spacing {pair.spacing_mm}: {name}: got {got[name]!r}, expected {value!r}")
    return found


@pytest.mark.op("surface_search")
@pytest.mark.parametrize("family", FAMILIES)
def test_figures_equal_deepmind(family: str, backend: str) -> None:
    wrong = [
        line
        for pair, want in zip(masks.pairs(family), expected(family), strict=True)
        for line in differences(pair, want)
    ]
    assert not wrong, f"{len(wrong)} figures of {len(masks.pairs(family))} pairs differ:\n" + "\n".join(wrong[:20])


def test_families_are_many_and_of_every_kind() -> None:
    every = [pair for family in masks.FAMILIES for pair in masks.pairs(family)]
    assert len(every) >= 300
    for axis in (0, 1, 2):
        extents = {pair.truth.shape[axis] for pair in every if pair.truth.ndim == 3}
        assert extents.issuperset(masks.EXTENTS)
    assert sum(pair.truth.ndim == 2 for pair in every) >= 80
