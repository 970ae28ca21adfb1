"""Random patches of prepared volumes, 3-D or slices, a part of them centred on foreground."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from covfast.errors import ShapeError, ValueRangeError, describe
from covfast.train.augment_volume import VolumeAugmentation, augment_volume, source_size
from covfast.train.distributed import Share
from covfast.train.volumes import Volumes


def generator_at(seed: int, step: int) -> Generator:
    """A generator that depends on both numbers alone: what a step draws does not depend on the steps before it."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def cut(array: npt.NDArray[np.generic], start: Sequence[int], size: Sequence[int]) -> npt.NDArray[np.generic]:
    """A copy of the box (d, h, w) from `start`, which may reach out of the array; 0 outside."""
    spans = [(max(s, 0), min(s + n, m)) for s, n, m in zip(start, size, array.shape, strict=True)]
    inside = array[tuple(slice(low, max(high, low)) for low, high in spans)]
    pads = [(low - s, n - (low - s) - k) for (low, _), s, n, k in zip(spans, start, size, inside.shape, strict=True)]
    return np.pad(inside, pads) if any(any(pad) for pad in pads) else np.array(inside)


class Patches:
    """Batches of patches.

    A patch lies inside its volume; along an axis where the volume is smaller it lies around it, filled up with 0 (the
    foreground's mean HU), as at inference. Augmentation reads a larger patch around the same middle.

    Args:
        volumes: prepared cases.
        size: (D, H, W) of the patches, or (H, W) of slices.
        batch: patches of a batch.
        foreground: part of all patches that are centred on a foreground voxel (nnU-Net: 0.33): the class first, each
            that the case holds alike, then a voxel of it. Exact over many turns, also with batches of one.
        augmentation: None for none; its `spacing_mm` is that of the drawn case instead.
    Raises: ShapeError: size; ValueRangeError: batch or foreground.
    """

    def __init__(
        self,
        volumes: Volumes,
        size: Sequence[int],
        batch: int,
        *,
        foreground: float = 0.33,
        augmentation: VolumeAugmentation | None = None,
    ) -> None:
        if len(size) not in (2, 3) or min(size) < 1:
            raise ShapeError(describe("size", tuple(size), "(D, H, W) or (H, W), each at least 1"))
        if batch < 1 or not 0 <= foreground <= 1 or not len(volumes):
            got = f"batch {batch}, foreground {foreground}, {len(volumes)} cases"
            raise ValueRangeError(describe("patches", got, "batch and cases at least 1, foreground from 0 to 1"))
        self.volumes, self.batch, self.foreground, self.augmentation = volumes, batch, foreground, augmentation
        self.is_slice = len(size) == 2
        self.size = (1, *size) if self.is_slice else tuple(size)
        self._views = [self._view(k) for k in range(len(volumes))]
        self._holding = [k for k in range(len(volumes)) if len(volumes.places(k))]

    def draw(self, turn: int, generator: Generator, share: Share | None = None) -> dict[str, Tensor]:
        """The batch of a turn.

        Args:
            turn: From 0; it decides how many patches are centred on foreground.
            generator: of the order, places and augmentation; see `generator_at`. It moves on by one call whatever is
                drawn.
            share: of this process; None for the whole batch.
        Returns: "image" (N, 1, *size) float32 and "labels" (N, *size) uint8.
        """
        seeds = (share or Share()).of(torch.randint(2**62, (self.batch,), generator=generator)).tolist()
        numbers = (share or Share()).of(torch.arange(self.batch)).tolist()
        forced = math.floor((turn + 1) * self.batch * self.foreground) - math.floor(turn * self.batch * self.foreground)
        pairs = [self._patch(seed, number >= self.batch - forced) for seed, number in zip(seeds, numbers, strict=True)]
        images, labels = (torch.stack(column) for column in zip(*pairs, strict=True))
        return {"image": images, "labels": labels}

    def _view(self, number: int) -> tuple[VolumeAugmentation | None, tuple[int, ...]]:
        """Augmentation with the voxel size of a case, and the (D, H, W) that it reads."""
        if self.augmentation is None:
            return None, self.size
        settings = replace(self.augmentation, spacing_mm=self.volumes.spacing_mm(number))
        return settings, source_size(self.size, settings)

    def _patch(self, seed: int, is_forced: bool) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        number, start = self._place(rng, is_forced)
        settings, source = self._views[number]
        begin = [s - (big - small) // 2 for s, big, small in zip(start, source, self.size, strict=True)]
        image = torch.from_numpy(cut(self.volumes.image(number), begin, source))[None]
        labels = torch.from_numpy(cut(self.volumes.labels(number), begin, source))
        if settings is not None:
            random = torch.Generator().manual_seed(seed)
            image, labels = augment_volume(image, labels, self.size, settings, random)
        return (image[:, 0], labels[0]) if self.is_slice else (image, labels)

    def _place(self, rng: np.random.Generator, is_forced: bool) -> tuple[int, list[int]]:
        """A case and the first voxel of a patch in it."""
        pool = self._holding if is_forced and self._holding else range(len(self.volumes))
        number = int(pool[int(rng.integers(len(pool)))])
        shape = self.volumes.image(number).shape
        free = [n - m for n, m in zip(shape, self.size, strict=True)]
        if not (is_forced and self._holding):
            return number, [int(rng.integers(gap + 1)) if gap >= 0 else -(-gap // 2) for gap in free]
        places = self.volumes.places(number)
        kind = rng.choice(np.unique(places[:, 0]))
        first, end = np.searchsorted(places[:, 0], [kind, kind + 1])
        middle = places[int(rng.integers(first, end)), 1:].tolist()
        steps = zip(middle, self.size, free, strict=True)
        return number, [min(max(m - n // 2, 0), gap) if gap >= 0 else -(-gap // 2) for m, n, gap in steps]
