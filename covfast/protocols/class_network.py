"""Ground glass and consolidation in slices, by the multi-class network behind Semi-Inf-Net: a bare package.

It takes a slice and, as three more channels, the infection map that an Inf-Net made of it. As the published test does,
both are brought to 352 x 352 pixels and normalised as ImageNet's pictures, and the largest channel wins.

Source: Fan et al. 2020, IEEE TMI 39(8):2626-2637; github.com/DengPingFan/Inf-Net.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.engines import load
from covfast.errors import FormatError, ValueRangeError, describe, file_name
from covfast.io.pictures import DRAWING_SUFFIXES
from covfast.models.store import find
from covfast.ops import resample

CHANNEL: Mapping[int, int] = {38: 0, 75: 1}
"""Grey value of a class in the truths -> channel of the network; the last channel, 2, is the background."""

PRIOR = "Prior"
"""Folder of the infection maps, beside that of the slices."""

_PUBLISHED = {"size": 352, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""What a package that tells nothing of its training takes; ours has the recipe's `input` in its provenance."""

_MULTIPLE = 16


class ClassNetwork:
    """The network, opened.

    Args:
        model: name or path of a package.
        device, precision, threads: as of `covfast.load`.
        memory_limit: None; a bare network keeps none.
    Raises: ValueRangeError: another kind of package, or a memory limit; what `covfast.load` raises.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        memory_limit: str | None = None,
    ) -> None:
        if memory_limit is not None:
            raise ValueRangeError(describe("memory_limit", memory_limit, "None: a bare network keeps none"))
        self._network = load(find(model), device=device, precision=precision, threads=threads)
        metadata = self._network.metadata
        if metadata["recipe"] or metadata["input"]["channels"] != 6:
            got = f"{metadata['name']!r}, which takes no infection map beside the slice"
            hint = "or --predictions with maps of the class"
            raise ValueRangeError(describe("model", got, "a bare network of infnet-multiclass", hint))
        given = metadata["provenance"].get("training", {}).get("input", _PUBLISHED)
        self.size = int(given["size"]) // _MULTIPLE * _MULTIPLE
        self._mean, self._std = (np.reshape(given[key], (3, 1, 1)).astype(np.float32) for key in ("mean", "std"))

    def __call__(self, image: npt.NDArray[np.uint8], prior: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
        """(size, size) channel of each pixel: 0 ground glass, 1 consolidation, 2 background.

        Args:
            image, prior: (H, W), grey; the slice, and its infection map, of the same size or another.
        """
        sides = [resample(part, (self.size, self.size))[None] / np.float32(255.0) for part in (image, prior)]
        x = np.concatenate([(side - self._mean) / self._std for side in sides])
        channels: npt.NDArray[np.intp] = np.argmax(self._network(x[None])[0], axis=0)
        return channels

    def facts(self) -> dict[str, Any]:
        """Name and checksum of the package, as `Segmenter.facts` has them."""
        metadata = self._network.metadata
        return {"model": {"name": metadata["name"], "sha256": str(metadata["checksum"]).removeprefix("sha256:")}}


def prior_of(image: Path) -> Path:
    """The infection map of a slice. Raises: FormatError: there is none."""
    folder = image.parent.parent / PRIOR
    for suffix in DRAWING_SUFFIXES:
        if (path := folder / f"{image.stem}{suffix}").is_file():
            return path
    expected = f"{PRIOR}/{image.stem}.png beside {image.parent.name}/"
    hint = "what a (Semi-)Inf-Net found, 0 to 255"
    raise FormatError(describe(file_name(image), "no infection map", expected, hint))
