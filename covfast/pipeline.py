"""From a chest CT to labels: `Segmenter`, `Result` and `segment_slice`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    WeightsError,
    describe,
)
from covfast.images import as_channels, as_volume, as_window
from covfast.lung_fields import joined_lungs, lung_values
from covfast.memory import BASE_BYTES, parse_bytes
from covfast.models.store import DEFAULT_MODEL, find
from covfast.result import Result
from covfast.volume import CONSOLIDATED, CONSOLIDATION, GROUND_GLASS, INFECTION, Geometry, Volume

if TYPE_CHECKING:
    from covfast.batch import Results
    from covfast.io import Channels

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done, and its total."""

_ENGINES = ("native",)
_PRECISIONS = ("fp32", "bf16")


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
        folds: of an ensemble, the members to average: names, or numbers N of "fold_N"; None for all.
        mirror: False turns off a recipe's mirroring (test-time augmentation).
        step: of the windows, as a fraction of their size; None for the recipe's.
        accumulate: "float32", or "nnunet" for the float16 sums of nnU-Net v2, rounded as it does.
        lungs: a model whose labels are lungs, such as "miniseg-lung": what it finds joins the native lungs
            (`covfast.lung_fields`). None for the native lungs alone.
        lesion_types: a model such as "miniseg-ggo": infection becomes ground glass and consolidation. None for neither.
    Raises: WeightsError if the model is missing or fails its checksum; FormatError if it is no package;
        DeviceError; BackendUnavailable if the engine or precision does not exist; ValueRangeError.
    """

    _is_helper = False

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str = "auto",
        engine: str = "native",
        precision: str = "fp32",
        threads: int | None = None,
        memory_limit: str | int | None = None,
        folds: Sequence[int | str] | None = None,
        mirror: bool = True,
        step: float | None = None,
        accumulate: str = "float32",
        lungs: str | os.PathLike[str] | None = None,
        lesion_types: str | os.PathLike[str] | None = None,
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
        self._limit_text = str(memory_limit)
        self.threads = threads or _core.hardware_threads()
        self._native = _core.Segmenter(
            os.fsencode(path), device, self.threads, precision, _members(folds), mirror, _as_step(step), accumulate
        )
        self.names = _names(self.metadata)
        self.precision = precision
        provenance = self.metadata.get("provenance")
        notes = provenance.get("notes") if isinstance(provenance, dict) else None
        self.assumptions = [str(note) for note in notes] if isinstance(notes, list) else []
        self.backend: str = self._native.backend
        self.device: str = self._native.device
        if self.names.get(INFECTION) == CONSOLIDATION and not self._is_helper:
            hint = "pass it as lesion_types, or with --lesion-types, beside one"
            raise ValueRangeError(describe("model", f"one of {CONSOLIDATION}", "one that finds something", hint))
        self.lungs = self._helper("lungs", lungs)
        self.lesion_types = self._helper("lesion_types", lesion_types)

    def _helper(self, role: str, model: str | os.PathLike[str] | None) -> Segmenter | None:
        """The model that plays a role beside this one. Raises: DTypeError, ValueRangeError, WeightsError."""
        if model is None:
            return None
        if not isinstance(model, (str, os.PathLike)):
            raise DTypeError(describe(role, repr(model), "the name or path of a model, or None"))
        if not self.finds_infection:
            raise ValueRangeError(describe(role, os.fspath(model), "None for a model with labels of its own"))
        try:
            helper = _Helper(model, device=self.device, precision=self.precision, threads=self.threads)
        except WeightsError as error:
            raise WeightsError(f"{role}: {error}") from error
        names = ", ".join(name for value, name in helper.names.items() if value)
        is_own = not helper.finds_infection and helper._native.image_channels == 1
        if role == "lungs" and not (is_own and lung_values(helper.names)):
            raise ValueRangeError(describe(role, f"a model of {names}", "one of a CT whose labels are lungs"))
        if role == "lesion_types" and helper.names.get(INFECTION) != CONSOLIDATION:
            raise ValueRangeError(describe(role, f"a model of {names}", f"one of {CONSOLIDATION}"))
        return helper

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
                with (D, H, W) HU in canonical orientation, or a SimpleITK or nibabel image. A model of several
                channels takes a list of paths, one a channel, `Channels`, or an array (C, D, H, W).
            on_geometry: "error" or "repair": what to do with a series whose slices do not fit together.
            input_window: (low, high) HU of an image that is already windowed.
            probabilities: keep the float32 probability of infection, 4 bytes a voxel; of another model those of all
                classes.
            progress: called with (stage, done, total).
            cancel: object whose `is_set()` turns true to stop, such as `threading.Event`.
        Returns: Result on the input's own grid.
        Raises: FormatError, GeometryError, NoLungsError, MemoryLimitError, Cancelled.
        """
        if not self.finds_infection:
            return self._label(image, on_geometry, input_window, probabilities, progress, cancel)
        start = time.perf_counter()
        volume = as_volume(image, on_geometry=on_geometry, input_window=input_window)
        read_ms = (time.perf_counter() - start) * 1e3
        self._check_memory(volume, probabilities)
        geometry = volume.geometry
        labels = np.zeros(geometry.shape, np.uint8)
        lungs = np.zeros(geometry.shape, np.uint8)
        probability = np.zeros(geometry.shape, np.float32) if probabilities else None
        stages = [("read", read_ms)]
        if self.lungs is not None:
            stages += self.lungs._find_lungs(volume, lungs, progress, cancel)
        stages += self._find(volume, labels, lungs, probability, self.lungs is not None, progress, cancel)
        types = None
        if self.lesion_types is not None:
            types = np.zeros(geometry.shape, np.uint8)
            named = _under("lesion types", progress)
            more = self.lesion_types._find(volume, types, lungs, None, True, named, cancel)
            stages.append(("lesion types", sum(ms for _, ms in more)))
            is_dense = types == INFECTION
            types[...] = 0
            types[labels == INFECTION] = GROUND_GLASS
            types[is_dense & (labels == INFECTION)] = CONSOLIDATED
        return Result(volume, labels, lungs, probability, self.facts(stages), lesion_types=types)

    def _find(
        self,
        volume: Volume,
        labels: npt.NDArray[np.uint8],
        lungs: npt.NDArray[np.uint8],
        probability: npt.NDArray[np.float32] | None,
        has_lungs: bool,
        progress: Progress | None,
        cancel: Any,
    ) -> list[tuple[str, float]]:
        """The recipe on a volume; lungs are read where they are given, else written. Returns the stages' times."""
        geometry = volume.geometry
        stages = self._native.run(
            geometry.to_canonical(volume.hu),
            geometry.canonical().spacing_mm,
            geometry.to_canonical(labels),
            geometry.to_canonical(lungs),
            None if probability is None else geometry.to_canonical(probability),
            progress,
            cancel,
            has_lungs,
        )
        return [(stage, ms) for stage, ms in stages if not (has_lungs and stage == "lungs")]

    def _find_lungs(
        self, volume: Volume, lungs: npt.NDArray[np.uint8], progress: Progress | None, cancel: Any
    ) -> list[tuple[str, float]]:
        """Fills `lungs` with the native ones and those of this model. Returns the stages' times."""
        geometry, letters = volume.geometry, self._native.orientation
        found = np.zeros(geometry.shape, np.uint8)
        stages = self._native.run_volume(
            [geometry.view(volume.hu, letters)],
            _permuted(geometry.spacing_mm, geometry, letters),
            geometry.view(found, letters),
            None,
            _under("lung network", progress),
            cancel,
        )
        start = time.perf_counter()
        canonical = geometry.to_canonical(volume.hu), geometry.canonical().spacing_mm
        is_lung = np.isin(geometry.to_canonical(found), lung_values(self.names))
        how: dict[str, Any] = {"device": self.device, "threads": self.threads, "progress": progress, "cancel": cancel}
        geometry.to_canonical(lungs)[...] = joined_lungs(*canonical, is_lung, **how)
        joined_ms = (time.perf_counter() - start) * 1e3
        return [("lung network", sum(ms for _, ms in stages)), ("lungs", joined_ms)]

    @property
    def finds_infection(self) -> bool:
        """Whether the model looks for lungs and infection; else it has labels of its own, those of `names`."""
        return self._native.finds_infection

    @property
    def takes_hu(self) -> bool:
        """Whether the model takes a CT in Hounsfield units; else images of one channel or several, as they are."""
        return self._native.takes_hu

    def _label(
        self,
        image: Any,
        on_geometry: str,
        input_window: tuple[float, float] | None,
        probabilities: bool,
        progress: Progress | None,
        cancel: Any,
    ) -> Result:
        """Labels of an image by a model that has its own."""
        start = time.perf_counter()
        channels = self.read(image, on_geometry=on_geometry, input_window=input_window)
        arrays = [channels.hu] if isinstance(channels, Volume) else channels.arrays
        spacing_mm = channels.geometry.spacing_mm if isinstance(channels, Volume) else channels.spacing_mm
        read_ms = (time.perf_counter() - start) * 1e3
        self._check_memory(channels, probabilities)
        geometry, letters = channels.geometry, self._native.orientation
        labels = np.zeros(geometry.shape, np.uint8)
        classes = (self._native.output_channels, *geometry.shape)
        found = np.zeros(classes, np.float32) if probabilities else None
        stages = self._native.run_volume(
            [geometry.view(array, letters) for array in arrays],
            _permuted(spacing_mm, geometry, letters),
            geometry.view(labels, letters),
            None if found is None else np.moveaxis(geometry.view(np.moveaxis(found, 0, 3), letters), 3, 0),
            progress,
            cancel,
        )
        run = self.facts([("read", read_ms), *stages])
        return Result(channels, labels, None, None, run, self.names, found)

    def read(
        self, image: Any, *, on_geometry: str = "error", input_window: tuple[float, float] | None = None
    ) -> Volume | Channels:
        """What a call would read first from `image`, to be passed in its place; raises as a call does."""
        if self.takes_hu:
            return as_volume(image, on_geometry=on_geometry, input_window=input_window)
        if input_window is not None:
            expected = "None for a model that takes the values as they are"
            raise ValueRangeError(describe("input_window", input_window, expected))
        return as_channels(image, on_geometry=on_geometry)

    def map(self, images: Iterable[Any], *, errors: str = "raise", **options: Any) -> Results:
        """Segments many cases: the next is read and segmented while the caller works on the last.

        Args, errors and what Ctrl-C does: see `covfast.batch.map_cases`.
        """
        from covfast.batch import map_cases

        return map_cases(self, images, errors=errors, **options)

    def estimate_bytes(self, volume: Volume | Channels, probabilities: bool = False) -> int:
        """Memory that an image needs at most, in bytes, itself included; see `estimate_bytes_for`."""
        if isinstance(volume, Volume):
            return self.estimate_bytes_for(volume.geometry, volume.hu.nbytes, probabilities)
        held = sum(array.nbytes for array in volume.arrays)
        return self.estimate_bytes_for(volume.geometry, held, probabilities, volume.spacing_mm)

    def estimate_bytes_for(
        self,
        geometry: Geometry,
        image_bytes: int,
        probabilities: bool = False,
        spacing_mm: tuple[float, float, float] | None = None,
    ) -> int:
        """Memory that an image on a grid needs at most, in bytes: itself, its label maps, and the workspace.

        Of an infection model the workspace is that of the lungs, and the network's, of one slice, counts with the
        process itself as `BASE_BYTES`; of another one it is the prepared input, the windows' and the networks'.

        Args:
            geometry: of the image.
            image_bytes: of its voxels as they are held.
            probabilities: whether they are asked for.
            spacing_mm: along D, H, W, where it is another than the geometry's.
        """
        voxels = math.prod(geometry.shape)
        base = BASE_BYTES + image_bytes
        if self.finds_infection:
            canonical = geometry.canonical()
            workspace = _core.lungs_workspace_bytes(canonical.shape, canonical.spacing_mm)
            # Beside labels and lungs: the network's lungs with the masks that join them, and the lesions' types.
            more = 16 * (self.lungs is not None) + 3 * (self.lesion_types is not None)
            if self.lungs is not None:
                shape, spacing = canonical.shape, canonical.spacing_mm
                workspace = max(workspace, self.lungs._native.bytes_for(shape, spacing, False))
            return base + voxels * (2 + more + (4 if probabilities else 0)) + workspace
        letters = self._native.orientation
        shape = _permuted(geometry.shape, geometry, letters)
        spacing = _permuted(spacing_mm or geometry.spacing_mm, geometry, letters)
        outputs = voxels * (1 + (4 * self._native.output_channels if probabilities else 0))
        return base + outputs + self._native.bytes_for(shape, spacing, probabilities)

    def _check_memory(self, volume: Volume | Channels, probabilities: bool) -> None:
        if self.memory_limit is None:
            return
        need = self.estimate_bytes(volume, probabilities)
        if need > self.memory_limit:
            raise MemoryLimitError(
                describe("memory_limit", self._limit_text, f"at least {need >> 20} MiB for this volume")
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
            **({"members": self._native.members} if self._native.members else {}),
            **{
                f"{role}_model": helper.facts()["model"]
                for role, helper in (("lungs", self.lungs), ("lesion_types", self.lesion_types))
                if helper is not None
            },
        }


class _Helper(Segmenter):
    """A model beside another one, which may be none that is of use alone."""

    _is_helper = True


def _under(name: str, progress: Progress | None) -> Progress | None:
    """Progress of a helper under its stage's name."""
    return None if progress is None else lambda stage, done, total: progress(name, done, total)


def _permuted(values: Sequence[Any], geometry: Geometry, orientation: str) -> tuple[Any, Any, Any]:
    """Values along D, H, W of the array, in the order of a view's axes."""
    a, b, c = geometry.view_axes(orientation)[0]
    return values[a], values[b], values[c]


def _members(folds: Sequence[int | str] | None) -> list[str]:
    """Names of an ensemble's members. Raises: ValueRangeError."""
    if folds is None:
        return []
    expected = 'a list of numbers or names, such as [0, 1] or ["fold_all"]'
    if isinstance(folds, (str, bytes)) or not isinstance(folds, Sequence) or not folds:
        raise ValueRangeError(describe("folds", repr(folds), expected))
    if not all(isinstance(fold, (int, str)) and not isinstance(fold, bool) for fold in folds):
        raise ValueRangeError(describe("folds", repr(folds), expected))
    members = [fold if isinstance(fold, str) else f"fold_{fold}" for fold in folds]
    for index, member in enumerate(members):
        if member in members[:index]:
            raise ValueRangeError(describe("folds", f"{member} twice", "each once"))
    return members


def _as_step(step: float | None) -> float:
    """The step of windows; 0 stands for the recipe's. Raises: ValueRangeError."""
    if step is None:
        return 0.0
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not 0 < step <= 1:
        raise ValueRangeError(describe("step", repr(step), "a number above 0 and at most 1"))
    return float(step)


def _names(metadata: Mapping[str, Any]) -> dict[int, str]:
    """Label value -> name of a package."""
    named = {int(value): str(name) for value, name in metadata["labels"].items()}
    return {0: "background", **named}


def segment_slice(
    image: npt.NDArray[Any],
    model: str | os.PathLike[str] | Segmenter = DEFAULT_MODEL,
    window: tuple[float, float] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Probability of infection, or of lung by a model of lungs, in one axial slice: the whole image as it is.

    No lungs are looked for. Networks of infection were trained on slices cropped to the lungs: crop to them for the
    best result.

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
    window = as_window("window", window)
    if array.dtype == np.uint8 and window is None:
        window = (0.0, 255.0)
    segmenter = model if isinstance(model, Segmenter) else Segmenter(model, device=device, threads=threads)
    values = array.astype(np.int16 if array.dtype in (np.uint8, np.int16) else np.float32, copy=False)
    probability = np.zeros(array.shape, np.float32)
    segmenter._native.run_slice(values[np.newaxis], window, probability[np.newaxis])
    return probability


__all__ = ["Progress", "Result", "Segmenter", "as_volume", "segment_slice"]
