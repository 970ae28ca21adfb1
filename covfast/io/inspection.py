"""What a path holds, what would be read from it, and why. Nothing in it names a patient, a date or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.io.dicom import candidate_geometry, count_studies, find_candidates
from covfast.io.dicom.series import Candidate
from covfast.io.hounsfield import check_hounsfield
from covfast.io.images import image_suffix, load
from covfast.volume import Geometry

SCHEMA_VERSION = 1

CHOSEN, USABLE, REPAIRABLE, REFUSED = "chosen", "usable", "needs repair", "refused"


@dataclass(frozen=True)
class SeriesReport:
    """One series or image file, and what would become of it.

    Attributes:
        id: hash of the series UID by default; "image" for a single file.
        kind: "dicom", "nii.gz", "mha" and the like.
        verdict: "chosen", "usable" (another is better, or the series are of several studies and none is chosen),
            "needs repair" (chosen, with --on-geometry repair), "refused".
        reasons: why, in words; for DICOM the points of the choice.
        shape, spacing_mm: (D, H, W), None where there is no volume.
        hu_range: smallest and largest value, None for DICOM: only headers are read.
        score: 0 to 100, for DICOM.
    """

    id: str
    kind: str
    verdict: str
    reasons: tuple[str, ...]
    modality: str = ""
    image_type: str = ""
    slices: int = 0
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str = ""
    kernel: str = ""
    dtype: str = ""
    hu_range: tuple[float, float] | None = None
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, keys ending in their unit."""
        return {
            "id": self.id,
            "kind": self.kind,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "modality": self.modality or None,
            "image_type": self.image_type or None,
            "slices": self.slices,
            "shape": list(self.shape) if self.shape else None,
            "spacing_mm": [round(x, 6) for x in self.spacing_mm] if self.spacing_mm else None,
            "orientation": self.orientation or None,
            "kernel": self.kernel or None,
            "dtype": self.dtype or None,
            "range_hu": list(self.hu_range) if self.hu_range else None,
            "score": self.score,
        }


@dataclass(frozen=True)
class Inspection:
    """All series under a path, best first.

    Attributes:
        series: one report each.
        chosen: index of the series that would be read, None if none would.
        other_files: number of files that are not DICOM.
    """

    series: tuple[SeriesReport, ...]
    chosen: int | None
    other_files: int = 0

    def to_json(self) -> dict[str, Any]:
        """The inspection as JSON values, with `schema_version`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "chosen": self.chosen,
            "series": [report.to_json() for report in self.series],
            "other_files": self.other_files,
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("", "id", "kind", "slices", "shape", "spacing mm", "orient", "values", "score", "verdict")
        ]
        for index, report in enumerate(self.series):
            rows.append(("*" if index == self.chosen else "", *_cells(report)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for report in self.series:
            about = " ".join(part for part in (report.modality, report.image_type, report.kernel) if part)
            lines += ["", f"{report.id}: {report.verdict}" + (f" ({about})" if about else "")]
            lines += [f"  {reason}" for reason in report.reasons]
        if self.other_files:
            lines += ["", f"{self.other_files} other files are not DICOM"]
        return "\n".join(lines)


def _cells(report: SeriesReport) -> tuple[str, ...]:
    values = f"{report.hu_range[0]:g} to {report.hu_range[1]:g} {report.dtype}" if report.hu_range else ""
    return (
        report.id,
        report.kind,
        str(report.slices or ""),
        "x".join(str(n) for n in report.shape) if report.shape else "",
        " ".join(f"{x:.3f}" for x in report.spacing_mm) if report.spacing_mm else "",
        report.orientation,
        values,
        "" if report.score is None else f"{report.score:.0f}",
        report.verdict,
    )


def shown_id(uid: str, ids: str = "hash") -> str:
    """A series UID as outputs show it: "uid" as it is, "hash" the first 12 digits of its SHA-256, "none" nothing.

    Raises: ValueRangeError: another `ids`.
    """
    if ids not in ("uid", "hash", "none"):
        raise ValueRangeError(describe("ids", repr(ids), '"uid", "hash" or "none"'))
    return {"uid": uid, "none": ""}.get(ids, hashlib.sha256(uid.encode()).hexdigest()[:12])


def inspect_paths(paths: Sequence[Path], ids: str = "hash") -> Inspection:
    """The inspection of one image file, or of a DICOM folder, file or list of files (headers only).

    Raises: FormatError: unreadable, or nothing there; GeometryError: an image file with a grid that no volume can have.
    """
    if len(paths) == 1 and paths[0].is_file() and image_suffix(paths[0]):
        report = _image_report(paths[0])
        return Inspection((report,), 0 if report.verdict == CHOSEN else None)
    found, others = find_candidates(paths)
    is_one_case = count_studies(found) <= 1
    reports = tuple(
        _dicom_report(one, is_one_case and rank == 0, shown_id(one.uid, ids) or f"series {rank + 1}")
        for rank, one in enumerate(found)
    )
    return Inspection(reports, 0 if is_one_case and found and not found[0].obstacle else None, others)


def _image_report(path: Path) -> SeriesReport:
    header, voxels = load(path, "image")
    geometry = Geometry(header.shape, header.affine)
    reasons = [str(note["message"]) for note in header.notes]
    verdict = CHOSEN
    try:
        check_hounsfield(voxels, "image")
        reasons.append("values are plausible HU")
    except FormatError as error:
        verdict = REFUSED
        reasons.append(str(error))
    if voxels.padding:
        reasons.append(f"{voxels.padding} voxels of padding would become air")
    return SeriesReport(
        id="image",
        kind=image_suffix(path).lstrip("."),
        verdict=verdict,
        reasons=tuple(reasons),
        slices=header.shape[0],
        shape=header.shape,
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.orientation,
        dtype=str(np.dtype(header.dtype).newbyteorder("=")),
        hu_range=(voxels.low, voxels.high),
    )


def _verdict(candidate: Candidate, is_best: bool) -> str:
    if candidate.obstacle or not candidate.is_repairable:
        return REFUSED
    if not is_best:
        return USABLE
    return CHOSEN if candidate.is_sound else REPAIRABLE


def _dicom_report(candidate: Candidate, is_best: bool, shown: str) -> SeriesReport:
    header = candidate.slices[0].header
    geometry = None if candidate.obstacle else candidate_geometry(candidate.stack)
    faults = [
        f"{fault.code}: {fault.message}" + ("" if fault.is_repairable else ", not repairable")
        for fault in candidate.stack.faults
    ]
    reasons = [candidate.obstacle] if candidate.obstacle else [*candidate.reasons, *faults]
    return SeriesReport(
        id=shown,
        kind="dicom",
        verdict=_verdict(candidate, is_best),
        reasons=tuple(reasons),
        modality=header.modality,
        image_type="\\".join(candidate.stack.slices[0].image_type),
        slices=len(candidate.slices),
        shape=geometry.shape if geometry else None,
        spacing_mm=geometry.spacing_mm if geometry else None,
        orientation=geometry.orientation if geometry else "",
        kernel=header.kernel,
        score=None if candidate.obstacle else round(candidate.score, 1),
    )
