"""Difficult DICOM series: one synthetic chest CT, written in the ways that real archives surprise readers with.

python tests/dicom_series.py OUT      writes every series to OUT/<name>/ and prints what reading each ends in
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_files import (
    LESION_CENTRE_MM,
    ORIGIN_MM,
    SHAPE,
    SPACING_MM,
    Array,
    Plane,
    hounsfield,
    lesion_ml,
    lesion_truth_ml,
    points_of,
    transcode,
    truth_hu,
    write_enhanced,
    write_slices,
)


def planes_along(
    step: tuple[float, float, float], column: tuple[float, float, float], z_mm: Sequence[float] | None = None
) -> list[Plane]:
    """Slices that sample the patient at ORIGIN_MM + k * step, or at the given heights `z_mm` (k may be fractional)."""
    heights = np.arange(SHAPE[0], dtype=np.float64) if z_mm is None else (np.asarray(z_mm) - ORIGIN_MM[2]) / step[2]
    planes = []
    for number, k in enumerate(heights):
        affine = np.eye(4)
        affine[:3, 1] = np.array(column) * SPACING_MM[1]
        affine[:3, 2] = np.array((1.0, 0.0, 0.0)) * SPACING_MM[2]
        affine[:3, 3] = np.array(ORIGIN_MM) + k * np.array(step)
        hu = hounsfield(points_of((1, *SHAPE[1:]), affine))[0]
        x, y, z = (round(float(v), 6) for v in affine[:3, 3])
        planes.append(Plane(hu, (x, y, z), number + 1, column=column))
    return planes


def plain() -> list[Plane]:
    """The 24 slices in order, InstanceNumber consistent with position."""
    return planes_along((0.0, 0.0, SPACING_MM[0]), (0.0, 1.0, 0.0))


def shuffled() -> list[Plane]:
    planes = plain()
    for plane, number in zip(planes, np.random.default_rng(1).permutation(len(planes)) + 1, strict=True):
        plane.number = int(number)
    return planes


def slope_per_slice() -> list[Plane]:
    planes = plain()
    for index, plane in enumerate(planes):
        plane.slope, plane.intercept = ((1.0, -1024.0), (0.5, -1024.0), (0.25, -2048.0))[index % 3]
    return planes


def outside_field() -> Array:
    """(H, W) bool, True outside the circular field of view."""
    h, w = np.mgrid[: SHAPE[1], : SHAPE[2]] - 63.5
    return np.hypot(h, w) > 64


def padded_truth() -> Array:
    """HU of the padded series once its padding is air."""
    return np.where(outside_field(), -1024, truth_hu()).astype(np.int16)


def padded() -> list[Plane]:
    """-2000 outside the circular field of view, as the scanner's padding value."""
    planes = plain()
    for plane in planes:
        plane.hu = np.where(outside_field(), -2000, plane.hu).astype(np.int16)
        plane.padding, plane.intercept = -2000, 0.0
    return planes


def missing_slice() -> list[Plane]:
    planes = plain()
    del planes[12]
    return planes


def wide_gap() -> list[Plane]:
    planes = plain()
    del planes[10:15]
    return planes


def duplicate_position(identical: bool = True) -> list[Plane]:
    planes = plain()
    copy = Plane(planes[10].hu.copy(), planes[10].position, 25)
    if not identical:
        copy.hu = (copy.hu + 3).astype(np.int16)
        copy.acquisition = 2
    return [*planes, copy]


def localizer_inside() -> list[Plane]:
    """One coronal scout among the slices, whose position projects between two of them."""
    scout = Plane(np.full(SHAPE[1:], -500, np.int16), (-127.0, 0.0, 128.7), 0, column=(0.0, 0.0, -1.0))
    scout.image_type = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    return [scout, *plain()]


def tilted(degrees: float = 12.0) -> list[Plane]:
    """Gantry tilt: the slices lean, the table still moves along z."""
    angle = np.deg2rad(degrees)
    column = (0.0, round(float(np.cos(angle)), 9), round(float(np.sin(angle)), 9))
    # Lowered so that the leaning slices cover the lesion as the plain ones do.
    step = SPACING_MM[0] / float(np.cos(angle))
    lower = float(np.sin(angle)) * (LESION_CENTRE_MM[1] - ORIGIN_MM[1]) / float(np.cos(angle))
    planes = planes_along((0.0, 0.0, step), column, [ORIGIN_MM[2] - lower + k * step for k in range(SHAPE[0])])
    for plane in planes:
        plane.tilt_degrees = degrees
    return planes


def jittered(amount_mm: float = 0.06) -> list[Plane]:
    planes = plain()
    for plane, shift in zip(planes, np.random.default_rng(2).uniform(-amount_mm, amount_mm, len(planes)), strict=True):
        x, y, z = plane.position
        plane.position = (x, y, round(z + float(shift), 4))
    return planes


def irregular() -> list[Plane]:
    """Slices 2 mm apart below, 3 mm above: no uniform grid holds them."""
    heights = np.concatenate([np.arange(15) * 2.0, 28.0 + np.arange(1, 11) * 3.0]) + ORIGIN_MM[2]
    return planes_along((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), list(heights))


def mixed_orientation() -> list[Plane]:
    """Three oblique slices at the end of the series."""
    planes = plain()
    for plane in planes[:3]:
        plane.column = (0.0, 0.8, 0.6)
    return planes


def mixed_pixel_spacing() -> list[Plane]:
    planes = plain()
    for plane in planes[-2:]:
        plane.spacing = (1.0, 1.0)
    return planes


def mixed_size() -> list[Plane]:
    planes = plain()
    for plane in planes[:2]:
        plane.hu = plane.hu[:64, :64].copy()
    return planes


def lone_slice() -> list[Plane]:
    return plain()[11:12]


def magnetic_resonance() -> list[Plane]:
    planes = plain()
    for plane in planes:
        plane.modality = "MR"
    return planes


def several_series() -> list[Plane]:
    """A scout, a thick derived reformat, a head-sized stack and the right series, in one folder."""
    scout = localizer_inside()[0]
    scout.series = 2
    thick = plain()[::4]
    for plane in thick:
        plane.series, plane.image_type = 3, ("DERIVED", "SECONDARY", "REFORMATTED")
    short = plain()[:4]
    for plane in short:
        plane.series = 4
    return [scout, *thick, *short, *shuffled()]


@dataclass(frozen=True)
class Case:
    """One difficult series and how reading it must end.

    Attributes:
        write: writes the series into a folder.
        fault: code of the fault that refuses it, "" where it must be read right.
        is_repairable: whether on_geometry="repair" reads it.
        expected: the HU that must be read, after the repair if there is one; None where it interpolates or leaves out.
    """

    title: str
    write: Callable[[Path], None]
    fault: str = ""
    is_repairable: bool = True
    expected: Callable[[], Array] | None = truth_hu


def _plain_case(planes: Callable[[], Sequence[Plane]], syntax: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_slices(folder, planes())
        if syntax:
            transcode(folder, syntax)

    return write


# The series of the comparison with other readers: one CT, and fifteen mutations of it.
CASES = {
    "shuffled": Case("normal, InstanceNumber shuffled", _plain_case(shuffled)),
    "consistent": Case("normal, InstanceNumber consistent", _plain_case(plain)),
    "rle": Case("RLE", _plain_case(shuffled, "1.2.840.10008.1.2.5")),
    "j2k": Case("JPEG 2000 lossless", _plain_case(shuffled, "1.2.840.10008.1.2.4.90")),
    "jpeg_ls": Case("JPEG-LS lossless", _plain_case(shuffled, "1.2.840.10008.1.2.4.80")),
    "jpeg_sv1": Case("JPEG Lossless SV1", _plain_case(shuffled, "1.2.840.10008.1.2.4.70")),
    "big_endian": Case("big endian", _plain_case(shuffled, "1.2.840.10008.1.2.2")),
    "deflated": Case("deflated little endian", _plain_case(shuffled, "1.2.840.10008.1.2.1.99")),
    "slope": Case("rescale differs per slice", _plain_case(slope_per_slice)),
    "padding": Case("padding -2000", _plain_case(padded), expected=padded_truth),
    "missing": Case("one slice missing", _plain_case(missing_slice), "MISSING_SLICE", expected=None),
    "duplicate": Case("duplicate position", _plain_case(duplicate_position), "DUPLICATE_POSITION"),
    "localizer": Case("localizer in the same series", _plain_case(localizer_inside), "LOCALIZER_IN_SERIES"),
    "tilt": Case("gantry tilt 12 degrees", _plain_case(tilted), "GANTRY_TILT", expected=None),
    "jitter": Case("z jitter 0.06 mm", _plain_case(jittered)),
    "enhanced": Case("Enhanced multi-frame, shared rescale", lambda folder: write_enhanced(folder, plain())),
}

# What else must end well.
MORE_CASES = {
    "implicit": Case("implicit little endian", _plain_case(shuffled, "1.2.840.10008.1.2")),
    "jpeg_57": Case("JPEG Lossless, process 14", _plain_case(shuffled, "1.2.840.10008.1.2.4.57")),
    "per_frame": Case(
        "Enhanced multi-frame, rescale per frame", lambda folder: write_enhanced(folder, slope_per_slice(), "per-frame")
    ),
    "legacy": Case(
        "Legacy Converted Enhanced, rescale per frame",
        lambda folder: write_enhanced(folder, slope_per_slice(), "per-frame", legacy=True),
    ),
    "several": Case("four series in one folder", _plain_case(several_series)),
    "different": Case(
        "duplicate position, other pixels", _plain_case(lambda: duplicate_position(False)), "DUPLICATE_POSITION"
    ),
    "orientation": Case(
        "three slices of another orientation", _plain_case(mixed_orientation), "MIXED_ORIENTATION", expected=None
    ),
    "irregular": Case("2 mm below, 3 mm above", _plain_case(irregular), "IRREGULAR_SPACING", expected=None),
    "pixel_spacing": Case(
        "two slices of another pixel spacing", _plain_case(mixed_pixel_spacing), "MIXED_PIXEL_SPACING", expected=None
    ),
    "size": Case("two slices of another size", _plain_case(mixed_size), "MIXED_SIZE", expected=None),
    "lone": Case("one lone slice", _plain_case(lone_slice), "LONE_SLICE", is_repairable=False),
    "wide_gap": Case("five slices missing", _plain_case(wide_gap), "MISSING_SLICE", is_repairable=False),
}


@dataclass(frozen=True)
class Outcome:
    """What reading one series ended in."""

    title: str
    ending: str
    lesion_ml: float | None
    error_percent: float | None
    is_exact: bool
    declared: str


def outcome(case: Case, folder: Path) -> Outcome:
    """Reads a written series as it is, and with repairs where that is refused."""
    import covfast.io
    from covfast.errors import CovfastError

    ending = "right"
    try:
        volume = covfast.io.read(folder)
    except CovfastError as refused:
        ending = f"{type(refused).__name__} {case.fault}".strip()
        try:
            volume = covfast.io.read(folder, on_geometry="repair")
        except CovfastError:
            return Outcome(case.title, f"{ending}, also with repair", None, None, False, "")
        ending += "; with repair, declared"
    ml = lesion_ml(volume.hu, volume.geometry.affine)
    truth = case.expected() if case.expected else None
    return Outcome(
        case.title,
        ending,
        ml,
        100.0 * (ml / lesion_truth_ml() - 1.0),
        truth is not None and volume.hu.shape == truth.shape and bool((volume.hu == truth).all()),
        ", ".join(str(note["code"]) for note in volume.notes),
    )


def outcomes(root: Path, cases: dict[str, Case]) -> list[Outcome]:
    """Writes every series to root/<name> and reads it."""
    results = []
    for name, case in cases.items():
        case.write(root / name)
        results.append(outcome(case, root / name))
    return results


def markdown(results: Sequence[Outcome]) -> str:
    """The outcomes as a table."""
    lines = [
        f"| series | ends in | lesion mL (truth {lesion_truth_ml():.2f}) | error | HU exact | notes |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        ml = "-" if one.lesion_ml is None else f"{one.lesion_ml:.2f}"
        error = "-" if one.error_percent is None else f"{one.error_percent:+.2f} %"
        exact = "-" if one.lesion_ml is None else "yes" if one.is_exact else "interpolated or cut"
        lines.append(f"| {one.title} | {one.ending} | {ml} | {error} | {exact} | {one.declared} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/dicom_series.py OUT")
    print(markdown(outcomes(Path(sys.argv[1]), {**CASES, **MORE_CASES})))
