"""Which series of a folder is the chest CT to read: every candidate gets points, a verdict and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covfast.io.dicom.geometry import MAX_GAP_MM, Stack, analyse, is_localizer
from covfast.io.dicom.headers import Slice

_CHEST = ("CHEST", "THORAX", "LUNG")
_PROJECTIONS = ("MIP", "MINIP", "PROJECTION", "MPR", "REFORMATTED", "VOLUME_RENDERING", "SCREEN SAVE", "DOSE")
FULL_EXTENT_MM = 300.0  # a chest from apex to base; more earns nothing


@dataclass(frozen=True)
class Candidate:
    """One series and what speaks for and against it.

    Attributes:
        uid: SeriesInstanceUID, never shown as it is.
        slices: all its slices, in file order.
        stack: their geometry.
        score: 0 to 100; meaningful only if `obstacle` is empty.
        obstacle: why it can never be read as a CT volume, or "".
        reasons: the points, in words.
    """

    uid: str
    slices: tuple[Slice, ...]
    stack: Stack
    score: float
    obstacle: str
    reasons: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.stack.faults

    @property
    def is_repairable(self) -> bool:
        return all(fault.is_repairable for fault in self.stack.faults)


def _obstacle(slices: Sequence[Slice], stack: Stack) -> str:
    modality = slices[0].header.modality
    if modality != "CT":
        return f"modality {modality or 'not stated'}, not CT"
    photometric = slices[0].header.photometric
    if photometric == "MONOCHROME1":
        # GDCM inverts these when it decodes them, by the range of their bits: the HU would be wrong.
        return "MONOCHROME1 (inverted) pixels"
    if photometric != "MONOCHROME2":
        return "a colour picture"
    if slices[0].header.unit not in ("", "HU", "HU_MOD", "US"):
        return f"values in {slices[0].header.unit}, not HU"
    if all(is_localizer(one) for one in slices):
        return "a localizer"
    if len(stack.groups) == 1:
        return "one lone slice"
    return ""


def _points(slices: Sequence[Slice], stack: Stack) -> list[tuple[float, str]]:
    """What counts, and how much: coverage 35, original 20, axial 15, thin slices 10, sound geometry 10, chest 10."""
    header, words = stack.slices[0].header, set(stack.slices[0].image_type)
    points = [(35 * min(stack.extent_mm / FULL_EXTENT_MM, 1.0), f"covers {stack.extent_mm:.0f} mm")]
    if "ORIGINAL" in words and "SECONDARY" not in words:
        points.append((20, "original"))
    else:
        points.append((0, "derived"))
    if words & set(_PROJECTIONS):
        points.append((-20, "a projection or reformat"))
    points.append((15, "axial") if stack.is_axial else (0, "not axial"))
    thin = min(max((MAX_GAP_MM - stack.spacing_mm) / (MAX_GAP_MM - 1), 0.0), 1.0)
    points.append((10 * thin, f"a slice every {stack.spacing_mm:.2f} mm"))
    faults = ", ".join(fault.code for fault in stack.faults)
    points.append((0, faults) if faults else (10, "even geometry"))
    if any(word in header.body_part for word in _CHEST):
        points.append((10, "chest"))
    elif header.body_part:
        points.append((-10, "another body part"))
    return points


def _candidate(uid: str, slices: Sequence[Slice]) -> Candidate:
    stack = analyse(slices)
    points = _points(slices, stack)
    reasons = tuple(f"{text} ({value:+.0f})" for value, text in points)
    score = max(sum(value for value, _ in points), 0.0)
    return Candidate(uid, tuple(slices), stack, score, _obstacle(slices, stack), reasons)


def candidates(slices: Sequence[Slice]) -> list[Candidate]:
    """The series among `slices`, best first.

    Readable before unreadable, then by points; equal points go to more slices, then the lower series number, then the
    lower UID, so that the choice never depends on names or order of files. Sound geometry is worth points, no more: a
    whole chest with a fault comes before a few even slices, and its fault is then reported, not stepped around.
    """
    by_series: dict[str, list[Slice]] = {}
    for one in slices:
        by_series.setdefault(one.header.series_uid, []).append(one)
    found = [_candidate(uid, members) for uid, members in by_series.items()]
    return sorted(
        found,
        key=lambda c: (bool(c.obstacle), -round(c.score, 1), -len(c.slices), c.slices[0].header.series_number, c.uid),
    )
