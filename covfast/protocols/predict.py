"""A protocol's predictions by a model of ours, in the files that the evaluation reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from covfast.errors import Cancelled, CovfastError, OutputError, ValueRangeError, describe
from covfast.io import Channels, read, read_drawing, write, write_label_picture
from covfast.pipeline import Segmenter, segment_slice
from covfast.protocols.class_network import CHANNEL, ClassNetwork, prior_of
from covfast.protocols.datasets import WINDOW_HU, CaseFiles, Part
from covfast.protocols.miniseg_sets import SIDE_PX
from covfast.protocols.protocol import INFECTION, LUNGS, EvaluationSet, Protocol
from covfast.volume import LABELS, Segmentation, Volume

CODES: Mapping[str, int] = {name: value for value, name in LABELS.items() if value}
"""Labels of the maps that are written here."""

HALF = 0.5
"""Probability from which a pixel is infection, where a mask is compared."""

Watch = Callable[[str, int, int], None]

Model = Segmenter | ClassNetwork


@dataclass(frozen=True)
class Predictor:
    """Predicts what a protocol measures.

    Attributes:
        protocol, tested, part: what is predicted for.
        input_window: of the windowed cases, in the place of the published one.
        intensity: "hu", or "window" for a model with labels of its own that was trained on volumes of which all are
            windowed to [-1250, 250] HU and scaled to 0..255, as the benchmark's authors recommend.
    """

    protocol: Protocol
    tested: EvaluationSet
    part: Part
    input_window: tuple[float, float] | None = None
    intensity: str = "hu"

    def open(self, model: str | os.PathLike[str], **arguments: Any) -> Model:
        """The model, by name or path, as what is tested needs it: of one of several classes a `ClassNetwork`.

        Raises: as that, or as `Segmenter`.
        """
        return (Segmenter if self.tested.truth_value is None else ClassNetwork)(model, **arguments)

    def __call__(
        self, cases: Sequence[CaseFiles], segmenter: Model, out: Path, progress: Watch | None = None
    ) -> dict[str, CovfastError]:
        """Writes OUT/CASE.nii.gz or OUT/CASE.png of each case; what fails is returned by case, not raised.

        Volumes become label maps with `CODES`; a 2-D protocol's slices become a map of 8 bits (Inf-Net's) or a mask on
        512 x 512 pixels (MiniSeg's, of the image resized bilinearly to that size first, as its network sees it); of one
        class a mask of the network's size.

        Args:
            cases: their files.
            segmenter: the model, as `open` gives it.
            out: a folder that exists.
            progress: called with ("predict", cases done, cases in all).
        Raises: ValueRangeError: as `refuse`; OutputError: a full disk.
        """
        write_one = self._writer(segmenter)
        failed: dict[str, CovfastError] = {}
        for done, files in enumerate(cases, 1):
            try:
                write_one(files, out)
            except (OutputError, Cancelled):
                raise  # no fault of the case
            except CovfastError as error:
                failed[files.name] = error
            if progress is not None:
                progress("predict", done, len(cases))
        return failed

    def _writer(self, model: Model) -> Callable[[CaseFiles, Path], None]:
        """What writes a case. Raises: ValueRangeError: as `refuse`."""
        if isinstance(model, ClassNetwork):
            return partial(self._write_class, model)
        self.refuse(model)
        return partial(self._write_slice if self.part.is_picture else self._write_volume, model)

    def refuse(self, segmenter: Segmenter) -> None:
        """Raises: ValueRangeError: a model that cannot give the protocol's labels; an unknown, useless `intensity`."""
        if self.intensity not in ("hu", "window"):
            raise ValueRangeError(describe("intensity", repr(self.intensity), "'hu' or 'window'"))
        if self.intensity == "window" and segmenter.takes_hu:
            got = "'window' with a model that takes HU"
            raise ValueRangeError(describe("intensity", got, "'hu', or a model with labels of its own"))
        self.refuse_labels(segmenter.names, segmenter.finds_infection)

    def refuse_labels(self, names: Mapping[int, str], finds_infection: bool) -> None:
        """The same of a model's labels alone, also of one that is not trained yet.

        Args:
            names: value -> label.
            finds_infection: whether the model looks for lungs and infection, not for labels of its own.
        Raises: ValueRangeError: labels that are not the protocol's.
        """
        if self.part.is_picture and not finds_infection:
            own = ", ".join(name for value, name in names.items() if value)
            raise ValueRangeError(describe("model", f"one of {own}", f"one of infection for {self.protocol.name}"))
        if self.tested.truth_value is not None:
            expected = "a bare network of infnet-multiclass, or --predictions with maps of this class"
            raise ValueRangeError(describe("model", f"one of infection for {self.protocol.name}", expected))
        if not finds_infection and self.protocol.convention == "ctseg":
            _values(self.tested, names)

    def _write_class(self, network: ClassNetwork, files: CaseFiles, out: Path) -> None:
        found = network(read_drawing(files.image), read_drawing(prior_of(files.image)))
        is_class = found == CHANNEL[cast(int, self.tested.truth_value)]
        write_label_picture(out / f"{files.name}.png", np.where(is_class, 255, 0).astype(np.uint8))

    def _write_slice(self, segmenter: Segmenter, files: CaseFiles, out: Path) -> None:
        image = read_drawing(files.image)
        if self.protocol.convention == "miniseg":
            probability = segment_slice(bilinear(image, SIDE_PX), segmenter)
            grey = np.where(probability >= HALF, 255, 0).astype(np.uint8)
        else:
            grey = np.rint(segment_slice(image, segmenter) * 255.0).astype(np.uint8)
        write_label_picture(out / f"{files.name}.png", grey)

    def _write_volume(self, segmenter: Segmenter, files: CaseFiles, out: Path) -> None:
        published = self.part.window_of(files.name)
        volume = read(files.image, input_window=published and (self.input_window or published))
        image: Any = volume if self.intensity == "hu" else windowed(volume)
        result = segmenter(image)
        if not segmenter.finds_infection:
            labels = np.zeros_like(result.labels)
            for name, value in _values(self.tested, segmenter.names).items():
                labels[result.labels == value] = CODES[name]
        elif self.tested.targets == tuple(LUNGS):
            assert result.lungs is not None  # of an infection model
            labels = result.lungs
        else:
            labels = result.labels
        write(out / f"{files.name}.nii.gz", Segmentation(labels, result.geometry))


def windowed(volume: Volume) -> Channels:
    """The volume as the benchmark's radiopaedia cases are: clip((HU + 1250) / 1500, 0, 1) * 255, float32."""
    low, high = WINDOW_HU
    share = (volume.hu.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return Channels((np.clip(share, 0.0, 1.0) * np.float32(255.0),), volume.geometry)


def _values(tested: EvaluationSet, names: Mapping[int, str]) -> dict[str, int]:
    """Target -> the model's value for it: by name, or in order where the model has just as many labels.

    Raises: ValueRangeError: neither.
    """
    own = {name.lower().replace("_", " ").replace("-", " "): value for value, name in names.items() if value}
    if all(target in own for target in tested.targets):
        return {target: own[target] for target in tested.targets}
    if len(own) == len(tested.targets):
        return dict(zip(tested.targets, sorted(own.values()), strict=True))
    expected = f"{' and '.join(map(repr, tested.targets))}, or as many labels in this order"
    raise ValueRangeError(describe("model", f"the labels {', '.join(map(repr, own))}", expected))


def bilinear(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 on (side, side) pixels: linear between pixel centres, edges repeated, no filter where it shrinks.

    Source: OpenCV's INTER_LINEAR, which MiniSeg's data loader calls.
    """
    result = image.astype(np.float64)
    for axis, size in enumerate(image.shape):
        place = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
        first = np.floor(place).astype(np.int64)
        share = (place - first)[:, np.newaxis] if axis == 0 else place - first
        low, high = (np.take(result, index, axis) for index in (first, np.minimum(first + 1, size - 1)))
        result = low + (high - low) * share
    return np.rint(result).astype(np.uint8)


def coding(highest: int, targets: tuple[str, ...], file: str = "labels") -> dict[str, int]:
    """Values of a protocol's labels in maps whose highest value, over all files, is `highest`.

    The benchmark's script: 1 is the infection alone; 2 the lungs; above, left lung 1, right lung 2, infection 3. It
    looks at the first file only, whose patient may lack a label; here `highest` is that of all files, our reading.

    Args:
        highest: from 0.
        targets: the protocol's labels.
        file: which holds it, for the error.
    Raises: ValueRangeError: a value that none of the targets can have, so that all of them would be measured wrongly.
    """
    is_alone = targets == (INFECTION,)
    known = {0, 1, 3} if is_alone else {0, 3} if INFECTION in targets else {0, 1, 2, 3}
    if highest not in known:
        expected = "left lung 1, right lung 2" + (", infection 3" if INFECTION in targets else "")
        expected = f"infection 1 alone, or {expected}" if is_alone else expected
        raise ValueRangeError(describe(file, f"the label {highest}, the highest of all files", expected))
    infection = {INFECTION: 1 if highest <= 1 else CODES[INFECTION]}
    return {name: infection[name] if name == INFECTION else CODES[name] for name in targets}
