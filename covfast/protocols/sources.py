"""Where the predictions of a fold come from: a model of ours, or a folder of existing ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from covfast.errors import CovfastError, FormatError, describe, file_name
from covfast.io import image_suffix, is_picture, read_labels
from covfast.outputs import make_folder
from covfast.protocols.datasets import CaseFiles
from covfast.protocols.predict import CODES, Model, Predictor, Watch, coding
from covfast.protocols.protocol import LUNGS, EvaluationSet
from covfast.protocols.splits import Fold

StrPath = str | os.PathLike[str]

FOLD = "{fold}"
"""In a model's path, what the number of the fold takes the place of."""


@dataclass(frozen=True)
class Predictions:
    """Predicted files of a fold.

    Attributes:
        files: case -> label map or picture.
        codes: label -> value in label maps.
        failed: cases that could not be predicted.
        model: name and checksum, None for files of unknown origin.
    """

    files: Mapping[str, Path]
    codes: Mapping[str, int]
    failed: Mapping[str, CovfastError] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None


class Source(Protocol):
    """Gives the predictions of one fold after the other; `objection` says what in it is no published split."""

    def predictions(self, fold: Fold, cases: Sequence[CaseFiles]) -> Predictions: ...

    def objection(self, folds: Sequence[Fold]) -> str | None: ...


class ModelSource:
    """Predicts by a model: one for each fold, or the same for all.

    Args:
        predictor: what is predicted for, and how.
        model: name or path of a package, with "{fold}" for the fold's number; or a function of the fold, which may
            train it.
        out: folder for the predictions.
        segmenter: arguments of `Segmenter` but the model.
        progress: as of `Predictor`.
    """

    def __init__(
        self,
        predictor: Predictor,
        model: str | Callable[[Fold], StrPath],
        out: Path,
        *,
        segmenter: Mapping[str, Any] | None = None,
        progress: Watch | None = None,
    ) -> None:
        self._predict, self._progress = predictor, progress
        self._model, self._out = model, out
        self._arguments = dict(segmenter or {})
        self._shared: tuple[Model, dict[str, CovfastError], set[str]] | None = None

    @property
    def is_one_model(self) -> bool:
        """Whether all folds have the same model."""
        return isinstance(self._model, str) and FOLD not in self._model

    def predictions(self, fold: Fold, cases: Sequence[CaseFiles]) -> Predictions:
        """Predicts what is not predicted yet. Raises: WeightsError, DeviceError, ValueRangeError: the model."""
        if self.is_one_model:
            if self._shared is None:
                self._shared = self._open(str(self._model)), {}, set()
            segmenter, failed, done = self._shared
            folder = self._out / "predictions"
        else:
            name = self._model.replace(FOLD, str(fold.number)) if isinstance(self._model, str) else self._model(fold)
            segmenter, failed, done = self._open(name), {}, set()
            folder = self._out / f"fold_{fold.number}" / "predictions"
        make_folder(folder)
        todo = [case for case in cases if case.name not in done]
        failed.update(self._predict(todo, segmenter, folder, self._progress))
        done.update(case.name for case in todo)
        suffix = ".png" if self._predict.part.is_picture else ".nii.gz"
        names = [case.name for case in cases]
        files = {name: folder / f"{name}{suffix}" for name in names if name not in failed}
        model = segmenter.facts()["model"]
        facts = {"name": model["name"], "sha256": model["sha256"]}
        return Predictions(files, CODES, {name: failed[name] for name in names if name in failed}, facts)

    def _open(self, model: StrPath) -> Model:
        return self._predict.open(model, **self._arguments)

    def objection(self, folds: Sequence[Fold]) -> str | None:
        """One model for several folds has been trained on what some of them test."""
        return "one model for all folds" if self.is_one_model and len(folds) > 1 else None


class FolderSource:
    """Predictions that are there: FOLDER/fold_N of each fold, or FOLDER for all.

    A case is CASE.nii.gz (or another image), CASE.png, or a folder CASE as `covfast segment` leaves it. The labels'
    values follow the highest one over the files of all folds, as `coding` says.

    Args:
        folder: of the predictions.
        tested: the set that they are of.
    Raises: FormatError: no such folder.
    """

    def __init__(self, folder: StrPath, tested: EvaluationSet) -> None:
        self._folder, self._tested = Path(folder), tested
        if not self._folder.is_dir():
            raise FormatError(describe("predictions", f"{file_name(folder)}, no folder", "a folder of predictions"))

    def predictions(self, fold: Fold, cases: Sequence[CaseFiles]) -> Predictions:
        """What is there of the cases. Raises: ValueRangeError: labels that cannot be the set's."""
        held = self._held(fold)
        files = {case.name: held[case.name] for case in cases if case.name in held}
        are_maps = any(not is_picture(path) for path in files.values())
        return Predictions(files, self._codes if are_maps else {})

    def _held(self, fold: Fold) -> dict[str, Path]:
        return _label_maps(self._of(fold), self._tested.targets == tuple(LUNGS))

    @cached_property
    def _codes(self) -> dict[str, int]:
        """Values of the labels, found over the cases of every fold: one fold's may lack a label."""
        held = [(fold, self._held(fold)) for fold in self._tested.folds]
        paths = dict.fromkeys(files[name] for fold, files in held for name in fold.test if name in files)
        highest, file = highest_label([path for path in paths if not is_picture(path)])
        return coding(highest, self._tested.targets, file)

    def _of(self, fold: Fold) -> Path:
        own = self._folder / f"fold_{fold.number}"
        return own if own.is_dir() else self._folder

    def objection(self, folds: Sequence[Fold]) -> str | None:
        """One folder for folds that test the same case holds one prediction of it, of which model nobody knows."""
        tested = [case for fold in folds if self._of(fold) == self._folder for case in fold.test]
        return "one folder for folds that test the same cases" if len(set(tested)) < len(tested) else None


def _label_maps(folder: Path, are_lungs: bool) -> dict[str, Path]:
    """Case -> file."""
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            names = ("lungs.nii.gz", "labels.nii.gz") if are_lungs else ("labels.nii.gz",)
            path = next((entry / name for name in names if (entry / name).is_file()), None)
            if path is not None:
                found[entry.name] = path
        elif suffix := ".png" if is_picture(entry) else image_suffix(entry):
            found[entry.name[: -len(suffix)]] = entry
    return found


def highest_label(paths: Sequence[Path]) -> tuple[int, str]:
    """The highest label of several maps, and the file that holds it.

    One that cannot be read does not count: whoever measures it will say why.
    """
    found = (0, "labels")
    for path in paths:
        try:
            found = max(found, (int(read_labels(path).labels.max()), file_name(path)), key=lambda one: one[0])
        except CovfastError:
            continue
    return found
