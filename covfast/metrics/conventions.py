"""The figures of three published evaluation scripts, with their columns, empty rules and averaging.

`CONVENTIONS["ctseg" | "infnet" | "miniseg"]`: `measure` finds what a case needs beyond a `LabelReport`, `row` gives the
script's columns for the case, and `summary` its figures for a set of cases.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from covfast.errors import ValueRangeError, describe
from covfast.metrics import miniseg
from covfast.metrics.miniseg import MiniSegFigures
from covfast.metrics.report import LabelReport, Report
from covfast.metrics.saliency import Saliency, pooled, saliency

Mask = npt.NDArray[np.bool_]
Published = Saliency | MiniSegFigures | None
Row = dict[str, Any]

NAME = "Name"
"""The column that holds the case's name, in every convention."""


class Convention(ABC):
    """What a published script computes; this base knows no script.

    Attributes:
        name: as `evaluate(convention=...)` takes it.
        source: repository, files and paper.
        labels: the values of each label where `evaluate` is given none.
        tolerance_mm: the NSD tolerance of each label; empty where the script has no NSD.
        is_one_label: the script measures one label (any name, any value) and no other.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    labels: ClassVar[Mapping[str, int]] = MappingProxyType({"infection": 3})
    tolerance_mm: ClassVar[Mapping[str, float]] = MappingProxyType({})
    is_one_label: ClassVar[bool] = True

    @abstractmethod
    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Columns of the script's table for these labels. Raises: ValueRangeError: labels that it does not know."""

    @abstractmethod
    def truth_mask(self, image: npt.ArrayLike) -> Mask:
        """The foreground of a truth image (bool or 8-bit) as the script reads it."""

    @abstractmethod
    def measure(self, truth: Mask, prediction: Mask, probability: npt.ArrayLike | None) -> Published:
        """What the script needs of one label's masks and map beyond a `LabelReport`; None if nothing."""

    @abstractmethod
    def row(self, case: str, labels: Mapping[str, LabelReport], published: Published) -> Row:
        """The columns of one case: name -> value. `published` is what `measure` found."""

    @abstractmethod
    def summary(self, reports: Sequence[Report]) -> dict[str, float]:
        """The figures of a set of cases: those of one data set, or of one fold. Empty without cases."""


class CtSeg(Convention):
    """Ma et al.: DSC, and NSD at 1 mm for each lung and 3 mm for the infection.

    A label that neither map holds is NaN in both; one that a single map holds is 0. The script writes one row per case,
    with the columns of the labels in question. The published tables give mean and SD over cases; our reading is that
    cases with NaN are left out and that SD divides by N - 1, as pandas does both.
    """

    name = "ctseg"
    source = (
        "github.com/JunMa11/COVID-19-CT-Seg-Benchmark, utils/COVID-19-Seg-Evaluation.py; Ma et al. 2021, "
        "Medical Physics 48(3):1197-1210"
    )
    labels = MappingProxyType({"left lung": 1, "right lung": 2, "infection": 3})
    tolerance_mm = MappingProxyType({"left lung": 1.0, "right lung": 1.0, "infection": 3.0})
    is_one_label = False

    COLUMNS = MappingProxyType(
        {
            "left lung": ("L-lungDSC", "L-lung-1mm"),
            "right lung": ("R-lungDSC", "R-lung-1mm"),
            "infection": ("LesionDSC", "LesionNSD-3mm"),
        }
    )
    """Label -> its two columns, in the script's order and spelling."""

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        unknown = sorted(set(labels) - set(self.COLUMNS))
        if unknown or not labels:
            expected = " or ".join(map(repr, self.COLUMNS))
            raise ValueRangeError(describe("labels", ", ".join(map(repr, unknown)) or "none", f"{expected} for ctseg"))
        return (NAME, *(column for label, pair in self.COLUMNS.items() if label in labels for column in pair))

    def truth_mask(self, image: npt.ArrayLike) -> Mask:
        """Labels are compared with their values: an image is foreground where it is not 0."""
        return np.asarray(np.asarray(image) != 0)

    def measure(self, truth: Mask, prediction: Mask, probability: npt.ArrayLike | None) -> Published:
        return None

    def row(self, case: str, labels: Mapping[str, LabelReport], published: Published) -> Row:
        row: Row = dict.fromkeys(self.columns(list(labels)))
        row[NAME] = case
        for label, found in labels.items():
            wanted = self.tolerance_mm[label]
            if found.tolerance_mm != wanted:
                raise ValueRangeError(describe(f"tolerance_mm of {label!r}", found.tolerance_mm, f"{wanted} for ctseg"))
            dice, nsd = self.COLUMNS[label]
            row[dice], row[nsd] = found.dice, found.nsd
        return row

    def summary(self, reports: Sequence[Report]) -> dict[str, float]:
        """Every column's mean, and its SD under "<column> SD"."""
        result: dict[str, float] = {}
        for column in dict.fromkeys(key for report in reports for key in report.row if key != NAME):
            values = np.array([report.row.get(column, np.nan) for report in reports], np.float64)
            values = values[~np.isnan(values)]
            result[column] = float(values.mean()) if values.size else float("nan")
            result[f"{column} SD"] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        return result


class InfNet(Convention):
    """Fan et al.: figures of probability maps over 256 thresholds, S-measure and MAE; see `covfast.metrics.saliency`.

    The script writes one line per data set; `row` gives the same figures of one case alone. "mean" is the mean over
    thresholds of the mean over images, "max" the largest value of the mean over images: the max of a set is not the
    mean of the cases' max. Without a probability map the predicted mask is the map, as a black and white PNG would be.
    """

    name = "infnet"
    source = (
        "github.com/DengPingFan/Inf-Net, EvaluationTool/main.m, revision e723632, which cuts the map of the E-measure "
        "by >= (earlier ones: >); Fan et al. 2020, IEEE TMI 39(8):2626-2637"
    )

    COLUMNS = ("meanDic", "meanSen", "meanSpe", "Sm", "meanEm", "MAE")
    """The fields of the script's line, in its order and spelling."""

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        _check_one(self.name, labels)
        return (NAME, *self.COLUMNS)

    def truth_mask(self, image: npt.ArrayLike) -> Mask:
        """Above 128 in an 8-bit image; a bool mask is itself."""
        array = np.asarray(image)
        return array if array.dtype == np.bool_ else array > 128

    def measure(self, truth: Mask, prediction: Mask, probability: npt.ArrayLike | None) -> Saliency:
        return saliency(truth, prediction if probability is None else probability)

    def row(self, case: str, labels: Mapping[str, LabelReport], published: Published) -> Row:
        _check_one(self.name, list(labels))
        assert isinstance(published, Saliency)  # what measure returned
        return {NAME: case, **self._line(published)}

    def summary(self, reports: Sequence[Report]) -> dict[str, float]:
        """The script's line, what else it saves (maxDic, maxSen, maxSpe, maxEm), and adpDic of its first revisions."""
        found = [report.published for report in reports if isinstance(report.published, Saliency)]
        if not found:
            return {}
        whole = pooled(found)
        best = whole.curves.max()
        return {
            **self._line(whole),
            "maxDic": best["dice"],
            "maxSen": best["sensitivity"],
            "maxSpe": best["specificity"],
            "maxEm": best["e_measure"],
            "adpDic": whole.adaptive["dice"],
        }

    def _line(self, found: Saliency) -> dict[str, float]:
        mean = found.curves.mean()
        dice, sensitivity, specificity = mean["dice"], mean["sensitivity"], mean["specificity"]
        figures = (dice, sensitivity, specificity, found.s_measure, mean["e_measure"], found.mae)
        return dict(zip(self.COLUMNS, figures, strict=True))


class MiniSeg(Convention):
    """Qiu et al.: mIoU of the data set; SEN, SPC, DSC and HD averaged over images; see `covfast.metrics.miniseg`.

    An image with an empty prediction scores 0 everywhere, in SPC and HD too, which flatters HD. The published figures
    are the mean of five folds: `summary` is one fold's.
    """

    name = "miniseg"
    source = "github.com/yun-liu/MiniSeg, evaluate.py, IOUEval.py; Qiu et al. 2021, AAAI 35(6):4846-4854"

    COLUMNS = ("SEN", "SPC", "DSC", "HD")
    """What the script prints per fold, in its order; names as in the paper's tables."""

    def columns(self, labels: Sequence[str]) -> tuple[str, ...]:
        _check_one(self.name, labels)
        return (NAME, *self.COLUMNS)

    def truth_mask(self, image: npt.ArrayLike) -> Mask:
        """255 in an 8-bit image; a bool mask is itself."""
        array = np.asarray(image)
        return array if array.dtype == np.bool_ else array == 255

    def measure(self, truth: Mask, prediction: Mask, probability: npt.ArrayLike | None) -> MiniSegFigures:
        return miniseg.figures(truth, prediction)

    def row(self, case: str, labels: Mapping[str, LabelReport], published: Published) -> Row:
        _check_one(self.name, list(labels))
        assert isinstance(published, MiniSegFigures)  # what measure returned
        return {NAME: case, **self._line(published)}

    def summary(self, reports: Sequence[Report]) -> dict[str, float]:
        """mIoU from the summed confusion, then the means over images."""
        found = [report.published for report in reports if isinstance(report.published, MiniSegFigures)]
        if not found:
            return {}
        whole = miniseg.pooled(found)
        return {"mIoU": whole.mean_iou(), **self._line(whole)}

    def _line(self, found: MiniSegFigures) -> dict[str, float]:
        figures = (found.sensitivity, found.specificity, found.dice, found.hausdorff_px)
        return dict(zip(self.COLUMNS, figures, strict=True))


def _check_one(name: str, labels: Sequence[str]) -> None:
    if len(labels) != 1:
        hint = "evaluate each label in a call of its own, as the script does"
        raise ValueRangeError(describe("labels", f"{len(labels)} labels", f"one label for convention {name}", hint))


CONVENTIONS: Mapping[str, Convention] = MappingProxyType({c.name: c for c in (CtSeg(), InfNet(), MiniSeg())})
"""Name -> published convention."""
