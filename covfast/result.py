"""What a `Segmenter` found in one volume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.errors import ValueRangeError, describe
from covfast.volume import LABELS, LESION_TYPES, Geometry, Segmentation, Volume

if TYPE_CHECKING:
    import SimpleITK

    from covfast.io import Channels


@dataclass(frozen=True, eq=False)
class Result:
    """What `Segmenter` found in one volume.

    Attributes:
        volume: the image it was found in.
        labels: (D, H, W) uint8 on the input's own grid; of an infection model 0 background, 1 left lung, 2 right lung,
            3 infection, of another one the values of `names`.
        lungs: (D, H, W) uint8: 1 left, 2 right, infection included; None of a model that looks for none.
        probability: (D, H, W) float32 of infection, if it was asked for.
        run: facts of the run for `run.json`: model, backend, milliseconds of each stage.
        names: label value -> name.
        probabilities: (C, D, H, W) float32 of each class or region of another model, if they were asked for.
        lesion_types: (D, H, W) uint8 of the infection: 1 ground glass, 2 consolidation; None where no model tells them
            apart.
    """

    volume: Volume | Channels
    labels: npt.NDArray[np.uint8]
    lungs: npt.NDArray[np.uint8] | None
    probability: npt.NDArray[np.float32] | None
    run: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=lambda: dict(LABELS))
    probabilities: npt.NDArray[np.float32] | None = None
    lesion_types: npt.NDArray[np.uint8] | None = None

    @property
    def geometry(self) -> Geometry:
        """Where the voxels lie."""
        return self.volume.geometry

    @property
    def segmentation(self) -> Segmentation:
        """`labels` with their geometry and names."""
        return Segmentation(self.labels, self.geometry, self.names)

    @property
    def lung_segmentation(self) -> Segmentation:
        """`lungs` with their geometry and names. Raises: ValueRangeError: a model that looks for none."""
        if self.lungs is None:
            raise ValueRangeError(describe("model", "one that looks for no lungs", "an infection model"))
        return Segmentation(self.lungs, self.geometry, {0: "background", 1: "left lung", 2: "right lung"})

    @property
    def lesion_type_segmentation(self) -> Segmentation:
        """`lesion_types` with their geometry and names. Raises: ValueRangeError: no model told them apart."""
        if self.lesion_types is None:
            raise ValueRangeError(describe("lesion_types", "none", "a Segmenter with lesion_types"))
        return Segmentation(self.lesion_types, self.geometry, LESION_TYPES)

    def statistics(self) -> dict[str, Any]:
        """Volumes, percentages, HU and lesions; see `covfast.statistics.statistics`.

        Raises: ValueRangeError: of a model that looks for no lungs and infection.
        """
        return self._statistics

    @cached_property
    def _statistics(self) -> dict[str, Any]:
        from covfast.statistics import statistics

        lungs = self.lung_segmentation
        assert isinstance(self.volume, Volume)  # what has lungs was read as HU
        types = None if self.lesion_types is None else self.lesion_type_segmentation
        return statistics(self.volume, self.segmentation, lungs, types)

    def save(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes labels, lungs, statistics, preview and `run.json` into the folder `out`; see `covfast.report.save`."""
        from covfast.report import save

        return save(self, out, overwrite=overwrite)

    def to_sitk(self) -> SimpleITK.Image:
        """`labels` as a SimpleITK image on the input's grid."""
        from covfast.io import to_sitk

        return to_sitk(self.segmentation)
