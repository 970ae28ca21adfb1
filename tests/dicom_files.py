"""One synthetic chest CT and the DICOM files that it is written to.

The CT is analytic (`hounsfield`), so every series samples the same patient wherever its slices lie, and the volume of
its lesion is known in closed form. Every file carries a planted patient name and id, which must never come out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PATIENT_NAME, PATIENT_ID, PATIENT_DATE = "Planted^Lovelace", "PLANTED-0815-ID", "19151210"
PLANTED = ("Planted", "Lovelace", PATIENT_ID, PATIENT_DATE)

SHAPE = (24, 128, 128)
SPACING_MM = (2.5, 2.0, 2.0)
ORIGIN_MM = (-127.0, -127.0, 100.0)  # LPS position of voxel (0, 0, 0)

AIR, LUNG, TISSUE, LESION = -1000, -850, 40, 150
LESION_CENTRE_MM = (62.0, 12.0, 131.0)
LESION_RADIUS_MM = 13.9
EDGE_MM = 5.0  # width of every boundary: two slices see it, so that linear interpolation has something to work with


def _inside(distance_mm: Array) -> Array:
    """Share of a voxel inside a surface at signed `distance_mm` (negative inside): a ramp of width EDGE_MM."""
    return np.clip(0.5 - distance_mm / EDGE_MM, 0.0, 1.0)


def _ellipse(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    a, b = radii
    return (np.hypot((x - centre[0]) / a, (y - centre[1]) / b) - 1.0) * min(a, b)


def _lesion_share(points: Array) -> Array:
    offset = points - np.reshape(LESION_CENTRE_MM, (3,) + (1,) * (points.ndim - 1))
    return _inside(np.sqrt((offset**2).sum(axis=0)) - LESION_RADIUS_MM)


def hounsfield(points: Array) -> Array:
    """int16 HU of the patient at LPS `points` (3, ...) in mm: body, two lungs and one round lesion in the left lung."""
    x, y, z = points
    body = _inside(_ellipse(x, y, (0.0, 0.0), (115.0, 90.0)))
    lungs = _inside(_ellipse(x, y, (58.0, 0.0), (40.0, 62.0))) + _inside(_ellipse(x, y, (-58.0, 5.0), (42.0, 60.0)))
    hu = AIR + body * (TISSUE - AIR) + lungs * (LUNG - TISSUE)
    # A slow gradient along z: a slice put in the wrong place is seen in the values.
    hu = hu + lungs * 0.5 * (z - ORIGIN_MM[2])
    share = _lesion_share(points)
    return np.rint(hu * (1 - share) + share * LESION).astype(np.int16)


def lesion_truth_ml() -> float:
    """Volume of the lesion in mL: 4/3 pi (r^3 + r w^2 / 4), the integral of a ball with a ramp of width w around it."""
    r, w = LESION_RADIUS_MM, EDGE_MM
    return 4.0 / 3.0 * np.pi * (r**3 + r * w * w / 4.0) / 1000.0


def points_of(shape: Sequence[int], affine: Array) -> Array:
    """(3, D, H, W) LPS positions of the voxels of a grid."""
    index = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"))
    return np.tensordot(affine[:3, :3], index, axes=1) + affine[:3, 3][:, None, None, None]


def lesion_ml(hu: Array, affine: Array) -> float:
    """Volume of the lesion in a (D, H, W) HU array in mL, with partial volume: the excess over lung around its place.

    Looked for where the patient coordinates say it is, so a wrong affine loses volume just as wrong values do.
    """
    points = points_of(hu.shape, affine)
    offset = points - np.reshape(LESION_CENTRE_MM, (3, 1, 1, 1))
    near = np.sqrt((offset**2).sum(axis=0)) < LESION_RADIUS_MM + 2 * EDGE_MM
    lung = LUNG + 0.5 * (points[2] - ORIGIN_MM[2])
    share = np.clip((hu - lung) / (LESION - lung), 0.0, 1.0)
    return float(share[near].sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)


def upright_affine() -> Array:
    """(4, 4) affine from (d, h, w) to LPS mm of the plain series."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = SPACING_MM
    affine[:3, 3], affine[3, 3] = ORIGIN_MM, 1.0
    return affine


def truth_hu() -> Array:
    """(24, 128, 128) int16 HU of the plain series."""
    return hounsfield(points_of(SHAPE, upright_affine()))


@dataclass
class Plane:
    """One slice before it is written; mutations change it freely."""

    hu: Array
    position: tuple[float, float, float]
    number: int
    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    spacing: tuple[float, float] = (SPACING_MM[1], SPACING_MM[2])
    slope: float = 1.0
    intercept: float = -1024.0
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    padding: int | None = None
    acquisition: int = 1
    tilt_degrees: float = 0.0
    modality: str = "CT"
    series: int = 1


def _uid(*parts: int) -> str:
    return "1.2.826.0.1.3680043.8.498.77." + ".".join(str(part) for part in parts)


def _stored(plane: Plane) -> Array:
    stored = np.rint((plane.hu.astype(np.float64) - plane.intercept) / plane.slope)
    return stored.astype(np.int16)


def dataset(plane: Plane, index: int) -> Any:
    """pydicom dataset of one CT slice, explicit little endian, with the planted identity."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage if plane.modality == "MR" else CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(plane.series, 1, index + 1)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = PATIENT_NAME, PATIENT_ID, PATIENT_DATE
    ds.PatientSex, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "F", PATIENT_ID, "1", PATIENT_NAME
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = PATIENT_DATE
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = "120000"
    ds.Manufacturer, ds.SeriesDescription = "covfast", f"Chest of {PATIENT_NAME}"
    ds.Modality, ds.ImageType, ds.BodyPartExamined = plane.modality, list(plane.image_type), "CHEST"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = _uid(9), _uid(plane.series), _uid(8)
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = plane.series, plane.number, plane.acquisition
    ds.PatientPosition, ds.PositionReferenceIndicator, ds.KVP = "HFS", "", "120"
    ds.ImagePositionPatient = list(plane.position)
    ds.ImageOrientationPatient = [*plane.row, *plane.column]
    ds.PixelSpacing, ds.SliceThickness, ds.GantryDetectorTilt = list(plane.spacing), SPACING_MM[0], plane.tilt_degrees
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *plane.hu.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = plane.slope, plane.intercept, "HU"
    if plane.padding is not None:
        ds.add_new(0x00280120, "SS", int(plane.padding - plane.intercept))
    ds.PixelData = _stored(plane).tobytes()
    return ds


def write_slices(folder: Path, planes: Sequence[Plane]) -> None:
    """One file a slice, named by a fixed shuffle so that file order is never slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(3).permutation(len(planes))
    for index, (plane, name) in enumerate(zip(planes, names, strict=True)):
        dataset(plane, index).save_as(folder / f"IM{name:04d}.dcm", enforce_file_format=True)


def transcode(folder: Path, syntax: str) -> None:
    """Rewrites every file of a folder in another transfer syntax: pydicom for the uncompressed ones, GDCM otherwise."""
    import pydicom
    from pydicom import Dataset, dcmwrite
    from pydicom.uid import UID

    if UID(syntax).is_compressed and not UID(syntax).is_deflated:
        for path in folder.iterdir():
            _compress(path, syntax)
        return
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        little = UID(syntax).is_little_endian
        if not little:
            # pydicom refuses to change the byte order of what it has read; a fresh data set has no order yet.
            meta, ds = ds.file_meta, Dataset(ds)
            ds.file_meta = meta
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds["PixelData"].VR = "OW"
        dcmwrite(path, ds, enforce_file_format=True, implicit_vr=UID(syntax).is_implicit_VR, little_endian=little)


def _compress(path: Path, syntax: str) -> None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise RuntimeError(f"GDCM cannot read {path.name}")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"GDCM cannot encode {syntax}")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise RuntimeError(f"GDCM cannot write {path.name}")


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return item


def write_enhanced(folder: Path, planes: Sequence[Plane], rescale: str = "shared", legacy: bool = False) -> None:
    """One Enhanced CT multi-frame file, frames shuffled; rescale in the "shared" or the "per-frame" groups."""
    from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(4).permutation(len(planes))
    frames = [planes[i] for i in order]
    ds = dataset(frames[0], 0)
    ds.SOPClassUID = LegacyConvertedEnhancedCTImageStorage if legacy else EnhancedCTImageStorage
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "SliceThickness",
        "GantryDetectorTilt",
    ):
        delattr(ds, keyword)
    shared = _item(
        PixelMeasuresSequence=[_item(PixelSpacing=list(frames[0].spacing), SliceThickness=SPACING_MM[0])],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=[*frames[0].row, *frames[0].column])],
        CTImageFrameTypeSequence=[_item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
    )
    ds.PerFrameFunctionalGroupsSequence = []
    for number, frame in enumerate(frames):
        item = _item(
            PlanePositionSequence=[_item(ImagePositionPatient=list(frame.position))],
            FrameContentSequence=[_item(StackID="1", InStackPositionNumber=number + 1)],
        )
        if rescale == "per-frame":
            item.PixelValueTransformationSequence = [_rescale(frame)]
        ds.PerFrameFunctionalGroupsSequence.append(item)
    if rescale == "shared":
        shared.PixelValueTransformationSequence = [_rescale(frames[0])]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.ImageType, ds.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(frames)
    ds.PixelData = b"".join(_stored(frame).tobytes() for frame in frames)
    ds.save_as(folder / "IM0000.dcm", enforce_file_format=True)


def _rescale(plane: Plane) -> Any:
    return _item(RescaleSlope=plane.slope, RescaleIntercept=plane.intercept, RescaleType="HU")
