"""What DICOM headers say, file by file and frame by frame: the only place that knows pydicom.

Only the tags named here are read, never a patient's name, id or a date, so that none can come out again.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covfast.cancellation import check_cancelled
from covfast.errors import FormatError, describe, file_name

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_EXPECTED = "a DICOM file, or a name that ends in .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd"

_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType",
    "BodyPartExamined",
    "ConvolutionKernel", "SliceThickness", "GantryDetectorTilt", "InstanceNumber", "AcquisitionNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "PhotometricInterpretation", "BitsAllocated", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip

_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""SOP classes of CT, Enhanced CT and Legacy Converted Enhanced CT."""

_PARSER = threading.Lock()

# What pydicom raises on broken files, beside its own two errors, which are imported with it.
# Warning: where the host turns warnings into errors, they are this.
_BROKEN = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OSError, NotImplementedError, OverflowError,
    RecursionError, struct.error, zlib.error, Warning,
)  # fmt: skip

Vector = tuple[float, ...]


class _Malformed(ValueError):
    """A value that the standard forbids; the text quotes nothing but numbers."""


@dataclass(frozen=True)
class Rescale:
    """hu = stored * slope + intercept."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class Header:
    """Facts of one file that all its frames share.

    Attributes:
        unit: RescaleType, "HU" or empty for nearly all; spectral CT stores other quantities under the modality CT.
        applied: the rescale that GDCM applies when it decodes the file; for multi-frame files it knows only one.
        padding: stored values from PixelPaddingValue to PixelPaddingRangeLimit, or None.
    """

    path: Path
    study_uid: str
    series_uid: str
    sop_uid: str
    syntax: str
    modality: str
    series_number: int
    acquisition: int
    rows: int
    columns: int
    frames: int
    photometric: str
    body_part: str
    kernel: str
    thickness_mm: float
    unit: str
    tilt_degrees: float
    applied: Rescale
    padding: tuple[float, float] | None


@dataclass(frozen=True)
class Slice:
    """One frame: where it lies (LPS mm; None where the file does not say) and how its stored values become HU."""

    header: Header
    frame: int
    number: int
    image_type: tuple[str, ...]
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    rescale: Rescale

    @property
    def name(self) -> str:
        """Base name of the file, with the frame where there are several."""
        name = file_name(self.header.path)
        return f"{name} frame {self.frame + 1}" if self.header.frames > 1 else name


def is_dicom(path: Path) -> bool:
    """True if the file starts as DICOM: a preamble and "DICM", or, as old files do, its first group alone."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:132] == b"DICM" or (start[:2] in (b"\x08\x00", b"\x02\x00") and len(start) > 8 and start[3] == 0)


def find_files(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """DICOM files under `paths`, each once, folders searched to the bottom in the order of names; and the other files.

    Raises: FormatError: a path does not exist, or a file that is named as DICOM or was named by the caller is not.
    """
    found: list[Path] = []
    others: list[Path] = []
    seen: set[str] = set()
    for path in paths:
        if path.is_dir():
            files = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        elif path.is_file():
            files = [path]
        else:
            raise FormatError(describe(file_name(path), "no such file or folder", "an existing path"))
        for file in files:
            if os.path.realpath(file) in seen:
                continue
            seen.add(os.path.realpath(file))
            if is_dicom(file):
                found.append(file)
            elif file == path or (file.suffix.lower() in DICOM_SUFFIXES and not file.name.startswith(".")):
                raise FormatError(describe(file_name(file), "no DICOM header", _EXPECTED, "empty or truncated?"))
            else:
                others.append(file)
    return found, others


def read_headers(files: Sequence[Path]) -> list[Slice]:
    """Every frame of every image among `files`. Objects without pixels (reports, directories) are left out.

    Raises: FormatError: a file whose header cannot be read; Cancelled between two files, if this thread's flag is set.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    slices: list[Slice] = []
    for path in files:
        check_cancelled()
        try:
            slices.extend(_read(path))
        except _Malformed as error:
            raise FormatError(describe(file_name(path), str(error), "a valid CT image")) from None
        except (InvalidDicomError, BytesLengthException, *_BROKEN) as error:
            # The parser's own words may quote the file's contents: only the kind of error is passed on.
            raise FormatError(
                describe(
                    file_name(path),
                    f"a header that cannot be read ({type(error).__name__})",
                    "a DICOM image",
                    "truncated?",
                )
            ) from None
    return slices


def first_study(folder: Path) -> str:
    """StudyInstanceUID of the first DICOM image under a folder, in the order of names; "" where there is none."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            if is_dicom(path) and (slices := read_headers([path])):
                return slices[0].header.study_uid
    return ""


@contextlib.contextmanager
def _no_value_warnings() -> Iterator[None]:
    """pydicom without its validation of values: its warnings quote them, and values that matter are checked here."""
    from pydicom import config

    with _PARSER:
        before = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.reading_validation_mode = before


def _read(path: Path) -> list[Slice]:
    from pydicom import dcmread

    with _no_value_warnings():
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        try:
            if "Rows" in dataset:
                return _slices(path, dataset)
        except _Malformed:
            # An odd dose report or ultrasound clip beside a CT is no reason to refuse the CT.
            if _text(dataset, "Modality").upper() in ("CT", ""):
                raise
            return []
        kind = _text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID")
    if not kind or kind in _CT_CLASSES:
        raise _Malformed("a header without its end")
    return []


def _number(dataset: Any, keyword: str, default: float = 0.0) -> float:
    value = dataset.get(keyword)
    return default if value is None or value == "" else float(value)


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _vector(dataset: Any, keyword: str, length: int) -> Vector | None:
    value = dataset.get(keyword)
    if value is None or value == "" or len(value) == 0:
        return None
    if len(value) != length:
        raise _Malformed(f"{keyword} of {len(value)} numbers")
    return tuple(float(number) for number in value)


def _words(dataset: Any, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword) or ()
    return tuple(str(word).upper() for word in ([value] if isinstance(value, str) else value))


def _padding(dataset: Any) -> tuple[float, float] | None:
    value = dataset.get("PixelPaddingValue")
    if value is None or value == "":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = float(value), float(value if limit is None or limit == "" else limit)
    # Some writers store the bit pattern of the other signedness: 63536 for -2000.
    if dataset.get("PixelRepresentation") == 1:
        ends = tuple(end - 65536 if end > 32767 else end for end in ends)  # type: ignore[assignment]
    return min(ends), max(ends)


def _group(dataset: Any, frame: int, sequence: str) -> Any:
    """The item of a functional group: the frame's own, else the shared one, else the data set itself (classic CT)."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            return items[index][sequence].value[0]
    return dataset


def _rescale(group: Any) -> Rescale:
    rescale = Rescale(_number(group, "RescaleSlope", 1.0), _number(group, "RescaleIntercept"))
    if rescale.slope == 0:
        raise _Malformed("RescaleSlope of 0")
    return rescale


def _slices(path: Path, dataset: Any) -> list[Slice]:
    frames = max(int(_number(dataset, "NumberOfFrames", 1)), 1)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if frames > 1 and per_frame and len(per_frame) != frames:
        raise _Malformed(f"{len(per_frame)} functional groups for {frames} frames")
    header = Header(
        path=path,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        syntax=_text(dataset.file_meta, "TransferSyntaxUID"),
        modality=_text(dataset, "Modality").upper(),
        series_number=int(_number(dataset, "SeriesNumber")),
        acquisition=int(_number(dataset, "AcquisitionNumber")),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=frames,
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        kernel=_text(dataset, "ConvolutionKernel"),
        thickness_mm=_number(_group(dataset, 0, "PixelMeasuresSequence"), "SliceThickness"),
        unit=_text(_group(dataset, 0, "PixelValueTransformationSequence"), "RescaleType").upper(),
        tilt_degrees=_number(dataset, "GantryDetectorTilt"),
        applied=_rescale(_group(dataset, 0, "PixelValueTransformationSequence")),
        padding=_padding(dataset),
    )
    # A multi-frame object without functional groups states one position for all its frames: none has its own.
    has_places = frames == 1 or bool(per_frame)
    return [_slice(dataset, header, frame, has_places) for frame in range(frames)]


def _slice(dataset: Any, header: Header, frame: int, has_places: bool) -> Slice:
    place = _group(dataset, frame, "PlanePositionSequence")
    kind = _group(dataset, frame, "CTImageFrameTypeSequence")
    return Slice(
        header=header,
        frame=frame,
        number=int(_number(dataset, "InstanceNumber")) if header.frames == 1 else frame + 1,
        image_type=_words(kind, "FrameType") or _words(dataset, "ImageType"),
        position=_vector(place, "ImagePositionPatient", 3) if has_places else None,
        orientation=_vector(_group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=_vector(_group(dataset, frame, "PixelMeasuresSequence"), "PixelSpacing", 2),
        rescale=_rescale(_group(dataset, frame, "PixelValueTransformationSequence")),
    )
