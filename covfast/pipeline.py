"""From a chest CT to labels: `Segmenter`, `Result` and `segment_slice`."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast import _core, package
from covfast.engines import check_threads
from covfast.errors import (
    BackendUnavailable,
    DTypeError,
    MemoryLimitError,
    ShapeError,
    ValueRangeError,
    describe,
)
from covfast.models.store import DEFAULT_MODEL, find
from covfast.volume import Geometry, Segmentation, Volume

if TYPE_CHECKING:
    import SimpleITK

    from covfast.batch import Results

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done, and its total."""

_ENGINES = ("native",)
_PRECISIONS = ("fp32", "bf16")
BASE_BYTES = 128 << 20
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_bytes(text: str | int) -> int:
    """Bytes of "4GiB", "500 MB" or a plain number. Raises: ValueRangeError if it is none of these or not positive."""
    compact = str(text).replace(" ", "").lower()
    digits = compact.rstrip("bikmg")
    try:
        value = float(digits) * _UNITS[compact[len(digits) :]]
    except (ValueError, KeyError):
        value = 0
    if not 1 <= value < 2**62:
        raise ValueRangeError(describe("memory_limit", repr(text), "a size such as 4GiB, 500MB or a number of bytes"))
    return int(value)


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


@dataclass(frozen=True, eq=False)
class Result:
    """What `Segmenter` found in one volume.

    Attributes:
        volume: the volume it was found in.
        labels: (D, H, W) uint8 on the input's own grid: 0 background, 1 left lung, 2 right lung, 3 infection.
        lungs: (D, H, W) uint8: 1 left, 2 right, infection included.
        probability: (D, H, W) float32 of infection, if it was asked for.
        run: facts of the run for `run.json`: model, backend, milliseconds of each stage.
    """

    volume: Volume
    labels: npt.NDArray[np.uint8]
    lungs: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32] | None
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        """Where the voxels lie."""
        return self.volume.geometry

    @property
    def segmentation(self) -> Segmentation:
        """`labels` with their geometry and names."""
        return Segmentation(self.labels, self.geometry)

    @property
    def lung_segmentation(self) -> Segmentation:
        """`lungs` with their geometry and names."""
        return Segmentation(self.lungs, self.geometry, {0: "background", 1: "left lung", 2: "right lung"})

    def statistics(self) -> dict[str, Any]:
        """Volumes, percentages, HU and lesions; see `covfast.statistics.statistics`."""
        return self._statistics

    @cached_property
    def _statistics(self) -> dict[str, Any]:
        from covfast.statistics import statistics

        return statistics(self.volume, self.segmentation, self.lung_segmentation)

    def save(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes labels, lungs, statistics, preview and `run.json` into the folder `out`; see `covfast.report.save`."""
        from covfast.report import save

        return save(self, out, overwrite=overwrite)

    def to_sitk(self) -> SimpleITK.Image:
        """`labels` as a SimpleITK image on the input's grid."""
        from covfast.io import to_sitk

        return to_sitk(self.segmentation)


class Segmenter:
    """A model that is opened once and used often, from any number of threads.

    Args:
        model: name of an installed model or path of a package.
        device: "auto", "cpu", "cuda" or "cuda:N". "auto" takes the best that runs here and is recorded; an explicit
            device never falls back.
        engine: "native".
        precision: "fp32", or "bf16" as `covfast.load` has it.
        threads: CPU threads; None for all that the process may use.
        memory_limit: bytes or text such as "4GiB": a volume whose estimate exceeds it is refused before the start.
    Raises: WeightsError if the model is missing or fails its checksum; FormatError if it is no package;
        DeviceError; BackendUnavailable if the engine or precision does not exist; ValueRangeError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str = "auto",
        engine: str = "native",
        precision: str = "fp32",
        threads: int | None = None,
        memory_limit: str | int | None = None,
    ) -> None:
        if engine not in _ENGINES:
            raise BackendUnavailable(describe("engine", repr(engine), " or ".join(map(repr, _ENGINES))))
        if precision not in _PRECISIONS:
            raise BackendUnavailable(describe("precision", repr(precision), " or ".join(map(repr, _PRECISIONS))))
        check_threads(threads)
        if not isinstance(device, str):
            raise ValueRangeError(describe("device", repr(device), "'auto', 'cpu', 'cuda' or 'cuda:N'"))
        path = find(model)
        package.verify(path)
        self.metadata: Mapping[str, Any] = package.read_metadata(path)
        self.memory_limit = None if memory_limit is None else parse_bytes(memory_limit)
        self.threads = threads or _core.hardware_threads()
        self._native = _core.Segmenter(os.fsencode(path), device, self.threads, precision)
        self.precision = precision
        provenance = self.metadata.get("provenance")
        notes = provenance.get("notes") if isinstance(provenance, dict) else None
        self.assumptions = [str(note) for note in notes] if isinstance(notes, list) else []
        self.backend: str = self._native.backend
        self.device: str = self._native.device

    def __call__(
        self,
        image: Any,
        *,
        on_geometry: str = "error",
        input_window: tuple[float, float] | None = None,
        probabilities: bool = False,
        progress: Progress | None = None,
        cancel: Any = None,
    ) -> Result:
        """Segments one volume.

        Args:
            image: a path (DICOM folder, NIfTI, NRRD, MHA) or list of DICOM files, a `Volume`, `(array, spacing_mm)`
                with (D, H, W) HU in canonical orientation, or a SimpleITK or nibabel image.
            on_geometry: "error" or "repair": what to do with a series whose slices do not fit together.
            input_window: (low, high) HU of an image that is already windowed.
            probabilities: keep the float32 probability of infection, 4 bytes a voxel.
            progress: called with (stage, done, total).
            cancel: object whose `is_set()` turns true to stop, such as `threading.Event`.
        Returns: Result on the input's own grid.
        Raises: FormatError, GeometryError, NoLungsError, MemoryLimitError, Cancelled.
        """
        start = time.perf_counter()
        volume = as_volume(image, on_geometry=on_geometry, input_window=input_window)
        read_ms = (time.perf_counter() - start) * 1e3
        self._check_memory(volume, probabilities)
        geometry = volume.geometry
        labels = np.zeros(geometry.shape, np.uint8)
        lungs = np.zeros(geometry.shape, np.uint8)
        probability = np.zeros(geometry.shape, np.float32) if probabilities else None
        spacing = np.asarray(geometry.spacing_mm)[list(geometry.axes)]
        stages = self._native.run(
            geometry.to_canonical(volume.hu),
            tuple(spacing),
            geometry.to_canonical(labels),
            geometry.to_canonical(lungs),
            None if probability is None else geometry.to_canonical(probability),
            progress,
            cancel,
        )
        return Result(volume, labels, lungs, probability, self.facts([("read", read_ms), *stages]))

    def read(
        self, image: Any, *, on_geometry: str = "error", input_window: tuple[float, float] | None = None
    ) -> Volume:
        """What a call would read first from `image`, to be passed in its place; raises as a call does."""
        return as_volume(image, on_geometry=on_geometry, input_window=input_window)

    def map(self, images: Iterable[Any], *, errors: str = "raise", **options: Any) -> Results:
        """Segments many cases: the next is read and segmented while the caller works on the last.

        Args, errors and what Ctrl-C does: see `covfast.batch.map_cases`.
        """
        from covfast.batch import map_cases

        return map_cases(self, images, errors=errors, **options)

    def estimate_bytes(self, volume: Volume, probabilities: bool = False) -> int:
        """Memory that a volume needs, in bytes: itself, the label maps, and the workspace of the lungs.

        The network's workspace is that of one slice; it and the process itself count as `BASE_BYTES`.
        """
        geometry = volume.geometry.canonical()
        voxels = math.prod(geometry.shape)
        outputs = voxels * (2 + (4 if probabilities else 0))
        return (
            BASE_BYTES + volume.hu.nbytes + outputs + _core.lungs_workspace_bytes(geometry.shape, geometry.spacing_mm)
        )

    def _check_memory(self, volume: Volume, probabilities: bool) -> None:
        if self.memory_limit is None:
            return
        need = self.estimate_bytes(volume, probabilities)
        if need > self.memory_limit:
            raise MemoryLimitError(
                describe("memory_limit", f"{self.memory_limit >> 20} MiB", f"at least {need >> 20} MiB for this volume")
            )

    def facts(self, stages: Sequence[tuple[str, float]] = ()) -> dict[str, Any]:
        """Facts of a run for `run.json`: model, engine, device, backend and milliseconds of each stage."""
        return {
            "model": {
                "name": self.metadata.get("name"),
                "sha256": str(self.metadata["checksum"]).removeprefix("sha256:"),
                "licence": self.metadata.get("licence") or "not stated",
                "assumptions": self.assumptions,
            },
            "engine": "native",
            "precision": self.precision,
            "device": self.device,
            "backend": self.backend,
            "threads": self.threads,
            "stages_ms": {stage: round(ms, 3) for stage, ms in stages},
        }


def as_volume(image: Any, *, on_geometry: str = "error", input_window: tuple[float, float] | None = None) -> Volume:
    """A `Volume` of whatever `Segmenter` takes; see there."""
    if on_geometry not in ("error", "repair"):
        raise ValueRangeError(describe("on_geometry", repr(on_geometry), "'error' or 'repair'"))
    input_window = _as_window("input_window", input_window)
    if isinstance(image, Volume):
        if input_window is not None:
            raise ValueRangeError(describe("input_window", input_window, "None for a Volume, which is in HU already"))
        return image
    from covfast import io

    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], np.ndarray):
        return io.from_array(image[0], Geometry.from_spacing(_grid(image[0]), image[1]), input_window=input_window)
    several = list(image) if isinstance(image, (list, tuple)) else [image]
    if isinstance(image, (str, os.PathLike, list, tuple)):
        if not several or not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in several):
            kinds = ", ".join(type(path).__name__ for path in several) or "an empty list"
            raise ValueRangeError(describe("image", kinds, "a path, a list of paths, or the tuple (array, spacing_mm)"))
        return io.read(image, on_geometry=on_geometry, input_window=input_window)
    if isinstance(image, np.ndarray):
        raise ShapeError(describe("image", "an array alone", "(array, spacing_mm)", "spacing along D, H, W in mm"))
    return io.from_image(image, input_window=input_window)


def _as_window(name: str, window: Any) -> tuple[float, float] | None:
    if window is None:
        return None
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        raise ValueRangeError(describe(name, repr(window), "two numbers (low, high)")) from None
    return low, high


def _grid(array: npt.NDArray[Any]) -> tuple[int, int, int]:
    if array.ndim != 3:
        raise ShapeError(
            describe("image", f"shape {array.shape}", "(D, H, W)", "covfast.segment_slice takes one slice")
        )
    return array.shape[0], array.shape[1], array.shape[2]


def segment_slice(
    image: npt.NDArray[Any],
    model: str | os.PathLike[str] | Segmenter = DEFAULT_MODEL,
    window: tuple[float, float] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Probability of infection in one axial slice, the whole image as it is: no lungs are looked for.

    The networks were trained on slices cropped to the lungs: crop to them for the best result.

    Args:
        image: (H, W): uint8, already windowed to 0..255; int16 HU, windowed as the model's recipe says; or float with
            `window`.
        model: name or path of a model, or a `Segmenter` to use it often.
        window: (low, high): the values of `image` that become 0 and 1.
    Returns: (H, W) float32 in [0, 1].
    Raises: ShapeError, DTypeError, ValueRangeError; WeightsError, FormatError and DeviceError as `Segmenter` does.
    """
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(describe("image", f"shape {array.shape}", "(H, W)", "one grey slice, without colour channels"))
    if array.dtype not in (np.uint8, np.int16) and not np.issubdtype(array.dtype, np.floating):
        raise DTypeError(describe("image", array.dtype, "uint8, int16 or float"))
    if np.issubdtype(array.dtype, np.floating):
        if window is None:
            raise ValueRangeError(describe("window", None, "(low, high) for a float image"))
        if not np.isfinite(array).all():
            raise ValueRangeError(describe("image", "NaN or infinite values", "finite values"))
    window = _as_window("window", window)
    if array.dtype == np.uint8 and window is None:
        window = (0.0, 255.0)
    segmenter = model if isinstance(model, Segmenter) else Segmenter(model, device=device, threads=threads)
    values = array.astype(np.int16 if array.dtype in (np.uint8, np.int16) else np.float32, copy=False)
    probability = np.zeros(array.shape, np.float32)
    segmenter._native.run_slice(values[np.newaxis], window, probability[np.newaxis])
    return probability


__all__ = ["Progress", "Result", "Segmenter", "as_volume", "peak_memory_mib", "segment_slice"]
