"""Surface distances, overlap, and the figures of published evaluations, of masks and label maps.

Light to import: the optional libraries whose images are understood are known by their methods.
"""

from __future__ import annotations

from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.evaluate import evaluate
from covfast.metrics.nnunet import nnunet_summary
from covfast.metrics.overlap import Confusion, confusion, dice, iou
from covfast.metrics.report import LabelReport, Report
from covfast.metrics.summary import MetricSummary, ReportSet
from covfast.metrics.surface import DirectedDistances, SurfaceDistances, surface_distances

__all__ = [
    "CONVENTIONS",
    "Confusion",
    "DirectedDistances",
    "LabelReport",
    "MetricSummary",
    "Report",
    "ReportSet",
    "SurfaceDistances",
    "confusion",
    "dice",
    "evaluate",
    "iou",
    "nnunet_summary",
    "surface_distances",
]
