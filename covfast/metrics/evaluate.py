"""Every figure of every label of one case, from one native pass over both label maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from covfast.errors import ValueRangeError, describe
from covfast.metrics.conventions import CONVENTIONS, Convention, Published
from covfast.metrics.inputs import LabelValues, Pair, as_pair, check_tolerance, measure
from covfast.metrics.labels import as_labels
from covfast.metrics.overlap import Confusion, check_number, ratio
from covfast.metrics.report import METRICS, LabelReport, Report
from covfast.metrics.saliency import Saliency, saliency
from covfast.metrics.surface import SurfaceDistances, from_measure

TOLERANCE_MM: Mapping[str, float] = CONVENTIONS["ctseg"].tolerance_mm
"""NSD tolerances of covfast's own labels where none are given: those of the COVID-19-CT-Seg benchmark."""

SHARES = ("dice", "iou", "f1", "nsd")
"""What a single number for `both_empty` or `one_empty` stands for: it cannot also be a distance."""

REPLACEABLE = (*METRICS[:8], "nsd", "assd_mm", "hausdorff_mm", "hausdorff95_mm")
"""Figures that `both_empty` and `one_empty` may set: all but volumes and the tolerance."""

Empty = float | Mapping[str, float] | None


def evaluate(
    truth: Any,
    pred: Any,
    spacing_mm: Sequence[float] | None = None,
    labels: Mapping[str, Any] | Sequence[str] | None = None,
    tolerance_mm: float | Mapping[str, float] | None = None,
    *,
    convention: str | None = None,
    probability: Any = None,
    case: str = "",
    both_empty: Empty = None,
    one_empty: Empty = None,
    device: str = "auto",
    threads: int | None = None,
) -> Report:
    """Overlap, volumes and surface distances of each label of a case; see `LabelReport` and docs/metrics.md.

    Args:
        truth, pred: label maps (D, H, W) or (H, W) of one shape: arrays with any strides, whatever speaks DLPack,
            device arrays, `Segmentation`, a `Segmenter`'s result, SimpleITK or nibabel images. An array beside an
            image has its axes in the image's order.
        spacing_mm: voxel size along each axis, in the order of the axes; not needed where an image brings it.
        labels: name -> value, tuple of values, or {"truth": ..., "prediction": ...} where the maps' values differ; or
            names that the images know. None: the convention's labels, the names of a `Segmentation`, else covfast's
            own; for two bool masks the one label "mask". The names are the truth's, and the prediction must have all.
        tolerance_mm: of the NSD, one for all or name -> mm. None: 1 mm for each lung and 3 mm for the infection, as in
            the COVID-19-CT-Seg benchmark; other labels have no NSD then.
        convention: "ctseg", "infnet" or "miniseg": `report.row` follows that published script too.
        probability: the prediction's probability map of the one label, or of "infection" among several: uint8 or float
            0..1; or name -> map. An array has its axes in the prediction's order.
        case: the case's name.
        both_empty, one_empty: what figures are where both masks, or one of them, are empty. A number: Dice, IoU, F1 and
            NSD; figure -> number for others as well. None, and figures left out: shares are NaN where both are empty,
            Dice, IoU, F1 and NSD 0 where one is; the distances inf, the ASSD of two empty masks NaN.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: Report.
    Raises: ShapeError, DTypeError, ValueRangeError; GeometryError: images on different grids; DeviceError.
    """
    rule = _convention(convention)
    # The published scripts without surface distances work in pixels: there is nothing to measure without spacing.
    pair = as_pair(truth, pred, spacing_mm, needs_spacing=rule is None or bool(rule.tolerance_mm))
    asked = as_labels(_default_labels(pair, rule) if labels is None else labels, pair)
    if rule is not None:
        rule.columns([values.name for values in asked])  # refuses what its script does not measure
    tolerances = _tolerances(tolerance_mm, asked, rule)
    maps = _probabilities(probability, asked, pair)
    empties = _empties("both_empty", both_empty), _empties("one_empty", one_empty)
    measures = measure(pair, asked, "surfels" if pair.has_spacing else "none", device, threads)
    found: dict[str, LabelReport] = {}
    published: Published = None
    for values, measured in zip(asked, measures, strict=True):
        distances = from_measure(measured, pair.spacing_mm, "surfels")
        figures = _figures(distances, tolerances[values.name], pair)
        figures.update(_if_empty(distances.confusion, empties))
        of_map, published = _beyond(values, pair, maps.get(values.name), rule)
        sides = {"truth_values": values.truth, "prediction_values": values.prediction}
        figures |= {"name": values.name, **sides, **vars(distances.confusion), "probability": of_map}
        found[values.name] = LabelReport(**figures)
    row = {} if rule is None else rule.row(case, found, published)
    return Report(found, pair.known_spacing_mm, case, convention, row, published)


def _convention(name: str | None) -> Convention | None:
    if name is None:
        return None
    if not isinstance(name, str) or name not in CONVENTIONS:
        raise ValueRangeError(describe("convention", repr(name), f"one of {', '.join(map(repr, CONVENTIONS))}"))
    return CONVENTIONS[name]


def _default_labels(pair: Pair, rule: Convention | None) -> Mapping[str, int] | Sequence[str]:
    if pair.is_bool:
        return {"mask" if rule is None or not rule.is_one_label else next(iter(rule.labels)): 1}
    if rule is not None:
        return rule.labels
    return [name for value, name in pair.names[0].items() if value]


def _tolerances(
    given: float | Mapping[str, float] | None, asked: Sequence[LabelValues], rule: Convention | None
) -> dict[str, float]:
    """Tolerance of each label; NaN for a label without one."""
    names = [values.name for values in asked]
    if given is None:
        published = TOLERANCE_MM if rule is None else rule.tolerance_mm
        return {name: published.get(name, math.nan) for name in names}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, check_tolerance(given))
    unknown = [name for name in given if name not in names]
    if unknown:
        expected = f"names that are evaluated: {', '.join(map(repr, names))}"
        raise ValueRangeError(describe("tolerance_mm", f"{unknown[0]!r}", expected))
    checked = {name: check_tolerance(value, f"tolerance_mm[{name!r}]") for name, value in given.items()}
    return {name: checked.get(name, math.nan) for name in names}


def _probabilities(given: Any, asked: Sequence[LabelValues], pair: Pair) -> dict[str, npt.NDArray[Any]]:
    """Probability map of each label that has one."""
    if given is None:
        return {}
    names = [values.name for values in asked]
    if not isinstance(given, Mapping):
        name = names[0] if len(names) == 1 else "infection"
        if name not in names:
            raise ValueRangeError(describe("probability", f"one map for {len(names)} labels", "name -> map"))
        given = {name: given}
    unknown = [name for name in given if name not in names]
    if unknown:
        expected = f"names that are evaluated: {', '.join(map(repr, names))}"
        raise ValueRangeError(describe("probability", f"{unknown[0]!r}", expected))
    return {name: pair.probability_map(image) for name, image in given.items()}


def _empties(argument: str, given: Empty) -> dict[str, float]:
    """Figure -> what it is where masks are empty."""
    if given is None:
        return {}
    numbers = dict(given) if isinstance(given, Mapping) else dict.fromkeys(SHARES, given)
    for key in numbers:
        if key not in REPLACEABLE:
            raise ValueRangeError(describe(argument, repr(key), f"one of {', '.join(REPLACEABLE)}"))
    return {key: check_number(f"{argument}[{key!r}]", value) for key, value in numbers.items()}


def _if_empty(counts: Confusion, empties: tuple[dict[str, float], dict[str, float]]) -> dict[str, float]:
    if counts.truth and counts.prediction:
        return {}
    return empties[1] if counts.truth or counts.prediction else empties[0]


def _figures(distances: SurfaceDistances, tolerance_mm: float, pair: Pair) -> dict[str, Any]:
    """`METRICS` of one label."""
    counts = distances.confusion
    truth_ml, prediction_ml = counts.truth * pair.voxel_ml, counts.prediction * pair.voxel_ml
    difference = counts.prediction - counts.truth
    is_measured = pair.has_spacing
    return {
        "dice": counts.dice,
        "iou": counts.iou,
        "sensitivity": counts.sensitivity,
        "specificity": counts.specificity,
        "precision": counts.precision,
        "f1": counts.dice,
        "accuracy": counts.accuracy,
        "mcc": counts.mcc,
        "truth_ml": truth_ml,
        "prediction_ml": prediction_ml,
        "difference_ml": difference * pair.voxel_ml,
        "difference_percent": 100.0 * ratio(difference, counts.truth),
        "nsd": distances.nsd(tolerance_mm) if is_measured and not math.isnan(tolerance_mm) else math.nan,
        "tolerance_mm": tolerance_mm,
        "assd_mm": distances.assd() if is_measured else math.nan,
        "hausdorff_mm": distances.hausdorff() if is_measured else math.nan,
        "hausdorff95_mm": distances.hausdorff(95) if is_measured else math.nan,
    }


def _beyond(
    values: LabelValues, pair: Pair, chance: npt.NDArray[Any] | None, rule: Convention | None
) -> tuple[dict[str, Any] | None, Published]:
    """Figures of the label's probability map, and what the convention measures beyond counts and surfaces."""
    if chance is None and (rule is None or not rule.is_one_label):
        return None, None
    truth, prediction = pair.masks(values)
    grid = pair.grids[0] or pair.grids[1]
    if grid is not None and truth.ndim == 3:
        # Images are axial slices, and the S-measure depends on how they are turned.
        truth, prediction = grid.to_canonical(truth), grid.to_canonical(prediction)
        chance = None if chance is None else grid.to_canonical(chance)
    published = None if rule is None else rule.measure(truth, prediction, chance)
    if chance is None:
        return None, published
    found = published if isinstance(published, Saliency) else saliency(truth, chance)
    return found.to_dict(), published
