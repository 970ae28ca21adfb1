"""What an evaluation leaves behind: report.csv, report.json, nnU-Net's summary.json and pictures of the worst cases."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from covfast.errors import CovfastError, FormatError, GeometryError, describe, file_name
from covfast.evaluation import Evaluation
from covfast.info import versions
from covfast.io import image_suffix, read_drawable, read_drawing
from covfast.io.pairs import CasePair, printable, shown_name
from covfast.io.pictures import DRAWING_SUFFIXES
from covfast.metrics.nnunet import save_nnunet_summary
from covfast.metrics.report import json_ready, save_csv, save_json
from covfast.metrics.summary import RankedCase
from covfast.overlay import overlay
from covfast.report import DISCLAIMER, place
from covfast.volume import Geometry

log = logging.getLogger("covfast")

MOST_WORST = 100
"""Pictures of more cases than this nobody looks at one by one."""

PUBLISHED_CSV = "published.csv"
FILES = (
    *(f"worst_{number}.png" for number in range(1, MOST_WORST + 1)),
    "report.csv", PUBLISHED_CSV, "summary.json", "report.json",
)  # fmt: skip
"""The results; `report.json` is last, because it says that the others are complete."""

_CHANNEL = "_0000"
"""What nnU-Net puts behind the case's name in an image file."""


def facts(evaluation: Evaluation, worst: Sequence[RankedCase] = (), command: str | None = None) -> dict[str, Any]:
    """The content of `report.json`; `schemas/evaluation.schema.json` describes it. File names stand without folders."""
    pairs = {pair.case: pair for pair in evaluation.pairs.found}
    found = evaluation.reports.to_dict()
    for case in found["cases"]:
        pair = pairs[case["case"]]
        case["reference_file"], case["prediction_file"] = _file_names(pair)
    return {
        **found,
        "disclaimer": DISCLAIMER,
        "versions": versions(),
        "command": command,
        "is_complete": evaluation.is_complete,
        "failed": [
            {"case": item.case, "error": type(item.error).__name__, "message": printable(str(item.error))}
            for item in evaluation.failed
        ],
        "without_prediction": list(evaluation.pairs.without_prediction),
        "without_reference": list(evaluation.pairs.without_reference),
        "resampled": list(evaluation.resampled),
        "like_labels": list(evaluation.like_labels),
        "worst": [
            {"case": item.case, "label": item.label, "metric": item.metric, "value": json_ready(item.value)}
            for item in worst
        ],
    }


def save_evaluation(
    evaluation: Evaluation,
    out: str | os.PathLike[str],
    *,
    worst: Sequence[RankedCase] = (),
    images: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    command: str | None = None,
) -> Path:
    """Writes `report.csv`, `report.json`, `summary.json` (nnU-Net v2's) and `worst_1.png` and so on.

    Where no case could be measured it is `report.json` alone, with what failed.

    Args:
        evaluation: what `evaluate_folders` returned.
        out: folder that does not hold results yet.
        worst: the cases to draw, at most `MOST_WORST`.
        images: CT (or picture) of the case, or a folder of them by name, to draw on; nnU-Net's `_0000` may follow the
            name. Where there is none, masks are drawn alone and a warning says why.
        overwrite: replace results that are there.
        command: the command that would repeat the run, for `report.json`.
    Returns: the folder. With a convention, its own table is `published.csv`.
    Raises: OutputError; nothing is left half-written.
    """
    source = None if images is None else Path(images)

    def fill(folder: Path) -> None:
        for number, item in enumerate(worst[:MOST_WORST], 1):
            draw_case(evaluation, item, folder / f"worst_{number}.png", source)
        if len(evaluation.reports):
            _save_figures(evaluation, folder)
        save_json(folder / "report.json", facts(evaluation, worst, command))

    return place(Path(out), overwrite, fill, FILES)


def _save_figures(evaluation: Evaluation, folder: Path) -> None:
    reports = evaluation.reports
    save_csv(folder / "report.csv", reports.label_rows())
    if reports.convention is not None:
        save_csv(folder / PUBLISHED_CSV, reports.rows())
    files = {pair.case: _file_names(pair) for pair in evaluation.pairs.found}
    save_nnunet_summary(folder / "summary.json", reports.reports, files)


def _file_names(pair: CasePair) -> tuple[str, str]:
    return shown_name(pair.reference, pair.case), shown_name(pair.prediction, pair.case)


def draw_case(evaluation: Evaluation, item: RankedCase, path: Path, images: Path | None = None) -> None:
    """Overlay of a case's label, on its image if that can be read and fits.

    Raises: FormatError, GeometryError: a label map that has changed since; OutputError.
    """
    truth, prediction, geometry = evaluation.masks(item.case, item.label)
    image = None
    try:
        image = None if images is None else _image(images, item.case, geometry, truth.shape)
    except CovfastError as error:
        log.warning("%s: drawn without its image: %s", item.case, error)
    name = {"dice": "Dice"}.get(item.metric, item.metric.removesuffix("_mm"))
    unit = f" {evaluation.reports.unit}" if item.metric.endswith("_mm") else ""
    title = f"{item.case}: {item.label}, {name} {item.value:.4f}{unit}"
    overlay(truth, prediction, title, path, geometry=geometry, image=image)


def _image(images: Path, case: str, geometry: Geometry | None, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """HU in canonical orientation, or grey values of a picture or of what is no HU."""
    path = _find(images, case)
    if geometry is None:
        picture = read_drawing(path)
        if picture.shape != shape:
            raise GeometryError(describe(file_name(path), f"{picture.shape} pixels", f"{shape}, as the masks"))
        return picture
    values, grid = read_drawable(path)
    if not grid.canonical().is_close(geometry):
        raise GeometryError(describe(file_name(path), f"a grid of {grid.shape}", "the grid of the masks"))
    return grid.to_canonical(values)


def _find(images: Path, case: str) -> Path:
    """The image of a case: the file itself, or by name in a folder."""
    if images.is_file():
        return images
    names = {case, f"{case}{_CHANNEL}"}
    try:
        entries = sorted(images.iterdir())
    except OSError as error:
        raise FormatError(describe("images", error.strerror, "a folder that can be read")) from error
    for entry in entries:
        suffix = image_suffix(entry) or (entry.suffix if entry.suffix.lower() in DRAWING_SUFFIXES else "")
        if (entry.is_dir() or suffix) and printable(entry.name[: len(entry.name) - len(suffix)]) in names:
            return entry
    raise FormatError(describe("images", f"no image called {case}", "one for each case"))
