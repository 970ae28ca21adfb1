"""DICOM series: headers by pydicom, geometry by our own rules, pixels by SimpleITK's GDCM.

Light to import: both packages are imported by the functions that need them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, GeometryError, describe, file_name
from covfast.io.dicom import repair
from covfast.io.dicom.geometry import Fault, Stack, analyse
from covfast.io.dicom.headers import Slice, find_files, read_headers
from covfast.io.dicom.pixels import check_size, slices_in_hu
from covfast.io.dicom.series import Candidate, candidates
from covfast.io.hounsfield import check_hounsfield, gather, padding_notes, unwindow
from covfast.io.images import image_suffix
from covfast.volume import Geometry, Volume

SHOWN_FILES = 3


def find_candidates(paths: Sequence[Path]) -> tuple[list[Candidate], int]:
    """The series under `paths`, best first and at least one, and the number of files that are not DICOM.

    Raises: FormatError: no image there, or a broken header.
    """
    files, others = find_files(paths)
    found = candidates(read_headers(files))
    if not found:
        images = sum(bool(image_suffix(path)) for path in others)
        got = f"no DICOM images among {len(files) + len(others)} files"
        hint = f"its {images} NIfTI, NRRD or MetaImage files are read one by one" if images else ""
        raise FormatError(describe(file_name(paths[0]), got, "a CT series", hint))
    return found, len(others)


def names_of(slices: Sequence[Slice]) -> str:
    """Base names of the first few files and how many more there are."""
    names = ", ".join(one.name for one in slices[:SHOWN_FILES])
    return f"{names} and {len(slices) - SHOWN_FILES} more" if len(slices) > SHOWN_FILES else names


def _refuse(fault: Fault, is_repair: bool) -> GeometryError:
    got = f"{fault.message} ({names_of(fault.slices)})"
    hint = "--on-geometry repair reads it with a declared repair"
    if fault.code == "LONE_SLICE":
        hint = "one slice is read by covfast.segment_slice"
    elif not fault.is_repairable:
        hint = "this cannot be repaired" if is_repair else "--on-geometry repair cannot help here"
    return GeometryError(
        describe("series", f"{fault.code}: {got}", "slices of one evenly spaced, upright volume", hint)
    )


def _choose(found: Sequence[Candidate]) -> Candidate:
    best = found[0]
    if best.obstacle == "one lone slice" and best.slices[0].header.modality == "CT":
        raise _refuse(Fault("LONE_SLICE", "one slice, which is no volume", best.slices, False), False)
    if best.obstacle:
        got = f"{len(found)} series, the best of them {best.obstacle} ({names_of(best.slices)})"
        raise FormatError(describe("path", got, "a CT series", "covfast inspect shows why each is refused"))
    studies = count_studies(found)
    if studies > 1:
        hint = "name the folder of one study; covfast inspect lists the series"
        raise FormatError(describe("path", f"CT series of {studies} studies", "one case", hint))
    return best


def count_studies(found: Sequence[Candidate]) -> int:
    """Studies that the readable series belong to. With more than one, perhaps of several patients, none is chosen."""
    return len({one.slices[0].header.study_uid for one in found if not one.obstacle})


def read_series(
    paths: Sequence[Path], on_geometry: str = "error", input_window: tuple[float, float] | None = None
) -> Volume:
    """CT volume of the best axial series under `paths`; D grows along the slices' normal.

    Args:
        paths: folders, searched to the bottom, or files.
        on_geometry: "error" refuses slices that are not one upright volume, "repair" repairs them and says so in the
            notes.
        input_window: as in `covfast.read`.
    Raises: FormatError: no CT, or unreadable; GeometryError: see `covfast.io.dicom.geometry`, naming the files.
    """
    found, _ = find_candidates(paths)
    best = _choose(found)
    notes: list[Mapping[str, Any]] = []
    stack = best.stack
    if stack.faults:
        hopeless = next((fault for fault in stack.faults if not fault.is_repairable), None)
        if on_geometry != "repair" or hopeless:
            raise _refuse(hopeless or stack.faults[0], on_geometry == "repair")
        stack, notes = _repaired(stack)
    return _assemble(stack, _other_notes(found, stack) + notes, input_window)


def _repaired(stack: Stack) -> tuple[Stack, list[Mapping[str, Any]]]:
    """The stack without what does not belong and without duplicates; the rest is moved or interpolated later."""
    notes = []
    for fault in stack.faults:
        if fault.code == "DUPLICATE_POSITION":
            continue
        done = {
            "GANTRY_TILT": "slices moved within their planes onto an upright grid",
            "SIDEWAYS_SHIFT": "slices moved within their planes onto an upright grid",
            "MISSING_SLICE": "interpolated linearly",
            "IRREGULAR_SPACING": "interpolated linearly onto even spacing",
        }.get(fault.code, "left out")
        notes.append(repair.fault_note(fault, done))
    double = next((fault for fault in stack.faults if fault.code == "DUPLICATE_POSITION"), None)
    if double is not None:
        kept, different = repair.keep_one_each(stack)
        stack = analyse(kept)
        how = f"{different} with different pixels" if different else "all with equal pixels"
        notes.append(repair.fault_note(double, f"one slice kept each, {how}"))
    return stack, notes


def _other_notes(found: Sequence[Candidate], stack: Stack) -> list[Mapping[str, Any]]:
    notes: list[Mapping[str, Any]] = []
    if len(found) > 1:
        message = f"the best of {len(found)} series was read; covfast inspect explains the choice"
        notes.append({"code": "SERIES_CHOSEN", "message": message, "value": len(found)})
    if stack.index is not None and stack.jitter_mm > 0.01:
        message = f"slice positions stray by up to {stack.jitter_mm:.3f} mm from even spacing, within the tolerance"
        notes.append({"code": "POSITION_JITTER", "message": message, "value": round(stack.jitter_mm, 4)})
    return notes


def _planes(stack: Stack, frame: repair.Frame, padding: list[int]) -> Iterator[npt.NDArray[Any]]:
    for index, (plane, count) in enumerate(slices_in_hu([group[0] for group in stack.groups])):
        padding.append(count)
        yield repair.place(plane, frame, index)


def _assemble(stack: Stack, notes: list[Mapping[str, Any]], input_window: tuple[float, float] | None) -> Volume:
    for one in stack.slices:
        check_size(one.header)
    frame = _frame(stack)
    places, start_mm, spacing_mm = repair.grid_places(stack)
    shape = (len(places), *frame.shape)
    padding: list[int] = []
    planes = repair.interpolate(_planes(stack, frame, padding), places)
    voxels = gather(planes, shape, "series")
    voxels = replace(voxels, padding=sum(padding))
    notes = [*notes, *padding_notes(voxels.padding)]
    if input_window is None:
        check_hounsfield(voxels, "series")
    else:
        voxels, note = unwindow(voxels, input_window, "series")
        notes.append(note)
    return Volume(voxels.values, _geometry(stack, frame, shape, start_mm, spacing_mm), tuple(notes), _scan(stack))


def candidate_geometry(stack: Stack) -> Geometry | None:
    """The grid that a stack would be read on, repaired where it has to be; None if it is no volume."""
    if not all(fault.is_repairable for fault in stack.faults):
        return None
    frame = _frame(stack)
    places, start_mm, spacing_mm = repair.grid_places(stack)
    return _geometry(stack, frame, (len(places), *frame.shape), start_mm, spacing_mm)


def _frame(stack: Stack) -> repair.Frame:
    return repair.frame_of(stack, any(fault.code in ("GANTRY_TILT", "SIDEWAYS_SHIFT") for fault in stack.faults))


def _geometry(
    stack: Stack, frame: repair.Frame, shape: tuple[int, int, int], start_mm: float, spacing_mm: float
) -> Geometry:
    height, width = stack.slices[0].spacing or (0.0, 0.0)
    first = np.array(stack.groups[0][0].position, dtype=np.float64)
    # The stack's own in-plane place is the median of its slices'; the frame may start before it.
    offset = frame.origin_mm - stack.shift_mm[0]
    affine = np.eye(4)
    affine[:3, 0] = stack.normal * spacing_mm
    affine[:3, 1] = stack.column * height
    affine[:3, 2] = stack.row * width
    affine[:3, 3] = (
        first + (start_mm - stack.along_mm[0]) * stack.normal + offset[0] * stack.row + offset[1] * stack.column
    )
    return Geometry(shape, affine)


def _scan(stack: Stack) -> Mapping[str, Any]:
    header = stack.slices[0].header
    return {
        "modality": header.modality,
        "source": "dicom",
        "series_uid": header.series_uid,
        "slices": len(stack.groups),
        "slice_thickness_mm": header.thickness_mm or None,
        "kernel": header.kernel or None,
        "body_part": header.body_part or None,
        "transfer_syntax": header.syntax,
    }
