"""Label maps and class probabilities as nnU-Net v2 leaves them: CASE.nii.gz, and CASE.npz with CASE.pkl."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.io import Channels, channel_suffix, write, write_label_picture
from covfast.report import place
from covfast.volume import Geometry

if TYPE_CHECKING:
    from covfast.pipeline import Result

_WRITTEN = {"": ".nii.gz", ".mhd": ".mha", ".nhdr": ".nrrd"}
"""Suffix of an input -> that of its labels, where it is another."""


def prediction_files(case: str, suffix: str, probabilities: bool) -> tuple[str, ...]:
    """Names of the files of one case; the label map is the last, and the others are complete when it is there.

    Args:
        case: its name.
        suffix: of its input, such as ".nii.gz".
        probabilities: whether class probabilities are written.
    """
    labels = f"{case}{_WRITTEN.get(suffix, suffix)}"
    return (f"{case}.npz", f"{case}.pkl", labels) if probabilities else (labels,)


def save_prediction(
    result: Result, out: Path, files: tuple[str, ...], *, orientation: str = "file", overwrite: bool = False
) -> None:
    """Writes the label map of a result, and its class probabilities where `prediction_files` names files for them.

    CASE.npz holds `probabilities` (C, D, H, W) float32 and CASE.pkl the image's place, as nnU-Net's own ensembling
    reads them: in the axes that its reader would give, `orientation` "file" or that of its reorienting reader, "SAR".

    Raises: OutputError; nothing is left half-written.
    """

    def fill(folder: Path) -> None:
        if len(files) > 1:
            _write_probabilities(folder / files[0], result, orientation)
            (folder / files[1]).write_bytes(pickle.dumps(_properties(result, orientation)))
        if channel_suffix(Path(files[-1])):
            write_label_picture(folder / files[-1], result.labels[0])
        else:
            write(folder / files[-1], result.segmentation, is_slice=_is_slice(result))

    place(out, overwrite, fill, files)


def _is_slice(result: Result) -> bool:
    return isinstance(result.volume, Channels) and result.volume.is_slice


def _write_probabilities(path: Path, result: Result, orientation: str) -> None:
    """The bytes of numpy.savez_compressed at deflate's fastest level, which on probabilities saves as much."""
    assert result.probabilities is not None
    views = [result.geometry.view(one, orientation) for one in result.probabilities]
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(views), *views[0].shape)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("probabilities.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for plane in (plane for view in views for plane in view):
            file.write(np.ascontiguousarray(plane, "<f4").data)


def _properties(result: Result, orientation: str) -> dict[str, Any]:
    """What nnU-Net's readers remember of an image; arrays and numbers alone."""
    geometry, axes = result.geometry, 2 if _is_slice(result) else 3
    spacing = geometry.spacing_mm[::-1][:axes]
    directions = geometry.affine[:axes, [2, 1, 0][:axes]] / spacing
    turned = geometry.view_axes(orientation)[0]
    stated = result.volume.spacing_mm if isinstance(result.volume, Channels) else geometry.spacing_mm
    return {
        "sitk_stuff": {
            "spacing": tuple(spacing),
            "origin": tuple(float(mm) for mm in geometry.affine[:axes, 3]),
            "direction": tuple(float(cosine) for cosine in directions.ravel()),
        },
        "nibabel_stuff": {
            "original_affine": _ras(geometry),
            "reoriented_affine": _ras(_viewed(geometry, orientation)),
        },
        "spacing": [float(stated[axis]) for axis in turned],
    }


def _ras(geometry: Geometry) -> npt.NDArray[np.float64]:
    """(4, 4) affine from (w, h, d) indices to RAS mm, as nibabel has it."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]


def _viewed(geometry: Geometry, orientation: str) -> Geometry:
    """Geometry of `geometry.view(array, orientation)`."""
    axes, flips = geometry.view_axes(orientation)
    affine = np.array(geometry.affine)
    for axis, flip in zip(axes, flips, strict=True):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (geometry.shape[axis] - 1)
            affine[:3, axis] *= -1.0
    affine[:, :3] = affine[:, list(axes)]
    a, b, c = axes
    return Geometry((geometry.shape[a], geometry.shape[b], geometry.shape[c]), affine)
