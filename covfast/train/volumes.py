"""3-D training data: scans and masks brought to one orientation, voxel size and intensity, and kept as memory maps.

What nnU-Net does before training (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z): resample, clip to percentiles
of the foreground, subtract its mean, divide by its deviation. Order here: HU are resampled, then normalised.
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import io
from covfast.errors import FormatError, GeometryError, ShapeError, ValueRangeError, describe
from covfast.outputs import make_folder, replace_file, replace_text
from covfast.resample_ops import resample_labels, resize_spline
from covfast.train.record import digest
from covfast.volume import Geometry, Segmentation, Volume

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Source = Path | npt.NDArray[Any]

INDEX = "index.json"
SAMPLED = 100_000
"""Foreground voxels of a case that the intensity statistics see; more change percentiles by less than a HU."""
PLACES = 10_000
"""Foreground voxels of a class and case that patches may be centred on."""
SEPARATE = 3.0
"""Slices this many times thicker than pixels are not interpolated between, as in nnU-Net (ANISO_THRESHOLD)."""


@dataclass(frozen=True, eq=False)
class Case:
    """A scan and its mask.

    Attributes:
        name: letters, digits, `_`, `-` and `.`; unique among the cases.
        image: what `covfast.io.read` reads, or a (D, H, W) array of HU in canonical orientation.
        labels: what `covfast.io.read_labels` reads, or a (D, H, W) array of whole numbers 0 to 255.
        spacing_mm: voxel size along D, H, W of an array; files state their own.
        input_window: (lo, hi) HU of an image that was windowed before it was stored, as in `covfast.io.read`.
    """

    name: str
    image: Source
    labels: Source
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    input_window: tuple[float, float] | None = None


@dataclass(frozen=True)
class CtNormalisation:
    """y = (clip(x, low_hu, high_hu) - mean_hu) / max(std_hu, 1e-8).

    Source: nnU-Net v2, CTNormalization: percentiles 0.5 and 99.5, mean and deviation of the training foreground.
    """

    low_hu: float
    high_hu: float
    mean_hu: float
    std_hu: float

    @classmethod
    def of(cls, foreground_hu: npt.ArrayLike) -> CtNormalisation:
        """From HU of foreground voxels. Raises: ValueRangeError: none."""
        values = np.asarray(foreground_hu, np.float64).ravel()
        if not values.size:
            raise ValueRangeError(describe("labels", "no foreground in any case", "some, to normalise by"))
        low, high = np.percentile(values, (0.5, 99.5))
        return cls(float(low), float(high), float(values.mean()), float(values.std()))

    def __call__(self, hu: npt.ArrayLike) -> Floats:
        """(D, H, W) float32 of HU of any real type."""
        clipped = np.clip(np.asarray(hu, np.float32), np.float32(self.low_hu), np.float32(self.high_hu))
        return (clipped - np.float32(self.mean_hu)) / np.float32(max(self.std_hu, 1e-8))


@dataclass(frozen=True)
class Preparation:
    """How cases become volumes.

    Attributes:
        classes: value in the mask -> class, every value listed (0 too); None: values are classes.
        spacing_mm: voxel size along D, H, W that all are resampled to; None: each keeps its own.
        window_hu: HU outside are clipped before anything else, so that windowed and other cases look alike.
        normalisation: of a training set, for its validation cases; None: from the foreground of these cases.
    """

    classes: Mapping[int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    window_hu: tuple[float, float] | None = None
    normalisation: CtNormalisation | None = None


class Volumes:
    """Prepared cases in a folder; images and labels are memory maps, opened when asked for.

    Attributes:
        names: of the cases.
        normalisation: of the images.
        classes: number of classes, background included.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any], names: Sequence[str] | None = None) -> None:
        self._folder, self._index = folder, index
        self.names = tuple(index["cases"]) if names is None else tuple(names)
        self.normalisation = CtNormalisation(**index["normalisation"])
        self.classes = int(index["classes"])

    def __len__(self) -> int:
        return len(self.names)

    def take(self, names: Sequence[str]) -> Volumes:
        """The cases with these names. Raises: ValueRangeError: one is not here."""
        for name in names:
            if name not in self.names:
                raise ValueRangeError(describe("name", repr(name), f"one of {', '.join(self.names)}"))
        return Volumes(self._folder, self._index, names)

    def image(self, number: int) -> Floats:
        """(D, H, W) float32, normalised, read-only."""
        return self._open(number, "image")

    def labels(self, number: int) -> Labels:
        """(D, H, W) uint8, read-only."""
        return self._open(number, "labels")

    def places(self, number: int) -> npt.NDArray[np.int32]:
        """(K, 4) int32 class, d, h, w of foreground voxels, at most `PLACES` of a class, sorted by class."""
        return self._open(number, "places")

    def spacing_mm(self, number: int) -> tuple[float, float, float]:
        """Voxel size along D, H, W."""
        d, h, w = self._index["cases"][self.names[number]]["spacing_mm"]
        return float(d), float(h), float(w)

    def _open(self, number: int, kind: str) -> npt.NDArray[Any]:
        path = self._folder / f"{self.names[number]}.{kind}.npy"
        try:
            return np.asarray(np.load(path, mmap_mode="r"))
        except (OSError, ValueError) as error:
            expected = "a prepared volume"
            raise FormatError(describe(path.name, type(error).__name__, expected, "delete the folder")) from error


def prepare(cases: Sequence[Case], folder: Path, how: Preparation | None = None) -> Volumes:
    """Volumes of cases, made once: the same cases (by content) prepared the same way are found in the folder.

    Args:
        cases: at least one.
        folder: for NAME.image.npy, NAME.labels.npy, NAME.places.npy and index.json, which is written last.
        how: defaults of `Preparation` if None.
    Raises: FormatError: a file that cannot be read; GeometryError: image and labels on two grids; ValueRangeError: a
        name, a label outside the classes, or no foreground; OutputError: no space. Messages name the file or the case.
    """
    how = how or Preparation()
    _check_names(cases)
    make_folder(folder)
    key = _key(cases, how)
    held = _held(folder / INDEX)
    if held.get("key") == key:
        return Volumes(folder, held)
    (folder / INDEX).unlink(missing_ok=True)
    facts: dict[str, dict[str, Any]] = {}
    foreground = []
    for case in cases:
        hu, labels, spacing_mm = read_case(case, how)
        foreground.append(_some(hu[labels > 0], SAMPLED))
        _save(folder / f"{case.name}.image.npy", hu)
        _save(folder / f"{case.name}.labels.npy", labels)
        _save(folder / f"{case.name}.places.npy", _places(labels))
        facts[case.name] = {"spacing_mm": spacing_mm, "shape": hu.shape, "highest": int(labels.max(initial=0))}
    normalisation = how.normalisation or CtNormalisation.of(np.concatenate(foreground))
    for case in cases:
        path = folder / f"{case.name}.image.npy"
        _save(path, normalisation(np.load(path)))
    highest = max(how.classes.values()) if how.classes else max(fact["highest"] for fact in facts.values())
    index = {"key": key, "classes": highest + 1, "normalisation": asdict(normalisation), "cases": facts}
    replace_text(folder / INDEX, json.dumps(index, indent=1))
    return Volumes(folder, index)


def read_case(case: Case, how: Preparation) -> tuple[Floats, Labels, tuple[float, float, float]]:
    """HU (D, H, W) float32, classes (D, H, W) uint8 and the voxel size in mm, canonical, on the grid asked for.

    Raises: as for `prepare`.
    """
    volume, mask = _volume(case), _mask(case)
    if not volume.geometry.is_close(mask.geometry, tolerance_mm=0.1):
        got = f"labels of {mask.geometry.shape} voxels of {np.round(mask.geometry.spacing_mm, 3).tolist()} mm"
        expected = f"the image's grid of {volume.geometry.shape} of {np.round(volume.geometry.spacing_mm, 3).tolist()}"
        raise GeometryError(describe(case.name, got, expected))
    geometry = volume.geometry
    hu = np.ascontiguousarray(geometry.to_canonical(volume.hu), np.float32)
    if how.window_hu is not None:
        hu = np.clip(hu, np.float32(how.window_hu[0]), np.float32(how.window_hu[1]))
    labels = np.ascontiguousarray(geometry.to_canonical(_as_classes(case, mask.labels, how.classes)))
    spacing_mm = geometry.canonical().spacing_mm
    if how.spacing_mm is None:
        return hu, labels, spacing_mm
    return (*resampled(hu, labels, spacing_mm, how.spacing_mm), how.spacing_mm)


def resampled(
    hu: Floats, labels: Labels, spacing_mm: Sequence[float], wanted_mm: Sequence[float]
) -> tuple[Floats, Labels]:
    """Both at another voxel size, sizes rounded: the image by cubic splines, labels by the largest linear share.

    Along an axis whose voxels are more than `SEPARATE` times as long as the shortest, before or after, the nearest
    slice is taken instead, if there is one such axis. Source: nnU-Net v2, default_resampling.py.
    """
    pairs = zip(hu.shape, spacing_mm, wanted_mm, strict=True)
    size = [max(round(old / new * n), 1) for n, old, new in pairs]
    if tuple(size) == hu.shape:
        return hu, labels
    thick = next((axis for axis in (_thick(spacing_mm), _thick(wanted_mm)) if axis is not None), None)
    plane = [n if axis == thick else m for axis, (n, m) in enumerate(zip(hu.shape, size, strict=True))]
    image = resize_spline(resize_spline(hu, plane, device="cpu"), size, order=0, device="cpu")
    kinds = np.unique(labels)
    shares = np.stack([labels == kind for kind in kinds]).astype(np.float32)
    orders = [0 if axis == thick else 1 for axis in range(3)]
    return image, resample_labels(shares, size, order=orders, values=kinds.tolist(), device="cpu")


def _thick(spacing_mm: Sequence[float]) -> int | None:
    longest = [axis for axis, step in enumerate(spacing_mm) if step == max(spacing_mm)]
    is_thick = max(spacing_mm) > SEPARATE * min(spacing_mm)
    return longest[0] if is_thick and len(longest) == 1 else None


def _volume(case: Case) -> Volume:
    if isinstance(case.image, Path):
        return io.read(case.image, input_window=case.input_window)
    return io.from_array(case.image, _grid(case, case.image), case.input_window, case.name)


def _mask(case: Case) -> Segmentation:
    if isinstance(case.labels, Path):
        return io.read_labels(case.labels)
    values = np.asarray(case.labels)
    if values.dtype.kind not in "biu" or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        got = f"{values.dtype} from {values.min(initial=0)} to {values.max(initial=0)}"
        raise ValueRangeError(describe(f"labels of {case.name}", got, "whole numbers from 0 to 255"))
    return Segmentation(values.astype(np.uint8), _grid(case, values))


def _grid(case: Case, array: npt.NDArray[Any]) -> Geometry:
    if array.ndim != 3:
        raise ShapeError(describe(case.name, f"shape {array.shape}", "(D, H, W)"))
    return Geometry.from_spacing(array.shape, case.spacing_mm)


def _as_classes(case: Case, labels: Labels, classes: Mapping[int, int] | None) -> Labels:
    if classes is None:
        return labels
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    strange = [value for value in found if value not in classes]
    if strange:
        name = case.labels.name if isinstance(case.labels, Path) else f"labels of {case.name}"
        hint = "data.names or data.classes say what masks hold, of sources sources.classes"
        raise ValueRangeError(describe(name, f"the labels {strange}", f"only {sorted(classes)}", hint))
    table = np.zeros(256, np.uint8)
    for value, kind in classes.items():
        table[value] = kind
    return table[labels]


def _some(values: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """At most so many of the values or rows, spread over all of them, in their order."""
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).astype(np.intp)]


def _places(labels: Labels) -> npt.NDArray[np.int32]:
    rows = [np.empty((0, 4), np.int32)]
    for kind in np.unique(labels[labels > 0]).tolist():
        where = _some(np.argwhere(labels == kind), PLACES)
        rows.append(np.insert(where, 0, kind, axis=1).astype(np.int32))
    return np.concatenate(rows)


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    replace_file(path, lambda file: np.save(file, array, allow_pickle=False))


def _check_names(cases: Sequence[Case]) -> None:
    names = [case.name for case in cases]
    if not names:
        raise ValueRangeError(describe("cases", "none", "at least one"))
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name) or names.count(name) > 1:
            raise ValueRangeError(describe("name of a case", repr(name), "letters, digits, _ - ., each name once"))


def _held(path: Path) -> dict[str, Any]:
    """The index of a folder; empty where there is none or it is damaged, and everything is made anew."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _key(cases: Sequence[Case], how: Preparation) -> str:
    """SHA-256 of what the volumes depend on: contents of images and labels, voxel sizes, windows, preparation."""
    total = hashlib.sha256(json.dumps([1, repr(how), SAMPLED, PLACES]).encode())
    for case in cases:
        facts = [case.name, _content(case.image), _content(case.labels), case.spacing_mm, case.input_window]
        total.update(json.dumps(facts).encode())
    return total.hexdigest()


def _content(source: Source) -> str:
    if isinstance(source, Path):
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        return " ".join(digest(path) for path in files)
    array = np.ascontiguousarray(source)
    return f"{array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
