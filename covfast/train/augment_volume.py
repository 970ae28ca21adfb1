"""Random changes of 3-D training patches, image and labels on one grid.

The list of changes and their strengths follow nnU-Net's defaults in spirit (Isensee et al. 2021, Supplementary Note 4):
rotation and zoom, noise, brightness, contrast, low resolution, gamma, mirroring. Deviations, numbered:

1. Rotations turn mm, not voxels, so that anatomy is not sheared where slices are thick.
2. What lies outside a patch is mirrored in; read patches of `source_size` and little of it is needed.
3. No blur; low resolution takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from covfast.errors import ShapeError, ValueRangeError, describe


@dataclass(frozen=True)
class VolumeAugmentation:
    """Strengths; a chance is the probability of one kind of change for a patch.

    Attributes:
        flip_axes: axes (0 D, 1 H, 2 W) that are mirrored, each with probability 1/2.
        rotate_degrees: largest rotation around D, H and W. For thick slices leave the last two at 0.
        rotate_chance, zoom_chance: of rotation and of zoom.
        zoom: smallest and largest magnification, one number for all axes.
        noise_chance, noise: largest standard deviation of added noise; the image has unit deviation.
        brightness_chance, contrast_chance, scale: factor of the image, and of its distance from its mean.
        coarse_chance, coarse: smallest part of the size that the image is reduced to and enlarged from.
        gamma_chance, gamma: smallest and largest exponent of the image between its own minimum and maximum.
        invert_chance: probability that gamma acts on the negative.
        spacing_mm: voxel size along D, H, W.
    Raises: ValueRangeError: a chance outside 0..1, or a range that is empty or not above 0.
    """

    flip_axes: tuple[int, ...] = (0, 1, 2)
    rotate_degrees: tuple[float, float, float] = (30.0, 30.0, 30.0)
    rotate_chance: float = 0.2
    zoom_chance: float = 0.2
    zoom: tuple[float, float] = (0.7, 1.4)
    noise_chance: float = 0.1
    noise: float = 0.3
    brightness_chance: float = 0.15
    contrast_chance: float = 0.15
    scale: tuple[float, float] = (0.75, 1.25)
    coarse_chance: float = 0.25
    coarse: float = 0.5
    gamma_chance: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)
    invert_chance: float = 0.25
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_chance") and not 0 <= value <= 1:
                raise ValueRangeError(describe(name, value, "0 to 1"))
            if name in ("zoom", "scale", "gamma") and not 0 < value[0] <= value[1]:
                raise ValueRangeError(describe(name, value, "(low, high), 0 < low <= high"))
        if not 0 < self.coarse <= 1 or self.noise < 0 or min(self.spacing_mm) <= 0:
            got = f"coarse {self.coarse}, noise {self.noise}, spacing_mm {self.spacing_mm}"
            raise ValueRangeError(describe("augmentation", got, "coarse in (0, 1], noise >= 0, spacing_mm > 0"))
        if not set(self.flip_axes) <= {0, 1, 2}:
            raise ValueRangeError(describe("flip_axes", self.flip_axes, "some of 0, 1, 2"))


def source_size(size: Sequence[int], settings: VolumeAugmentation) -> tuple[int, int, int]:
    """(D, H, W) of the patch to read so that one of `size` needs nothing from outside it.

    Exact for rotations around one axis at a time; a corner of a patch that is turned around several may stick out. The
    excess over `size` is even on every axis, so that both have one middle.
    """
    extent_mm = [n * step for n, step in zip(size, settings.spacing_mm, strict=True)]
    reach = list(extent_mm)
    for axis, degrees in enumerate(settings.rotate_degrees):
        if settings.rotate_chance > 0:
            a, b = (other for other in range(3) if other != axis)
            for one, two in ((a, b), (b, a)):
                # cos t * one + sin t * two is largest where tan t = two / one.
                t = min(math.radians(degrees), math.atan2(extent_mm[two], extent_mm[one]))
                reach[one] = max(reach[one], math.cos(t) * extent_mm[one] + math.sin(t) * extent_mm[two])
    shrink = min(settings.zoom[0], 1.0) if settings.zoom_chance > 0 else 1.0
    grown = [
        n + 2 * math.ceil((mm / step / shrink - n) / 2 - 1e-9)
        for n, mm, step in zip(size, reach, settings.spacing_mm, strict=True)
    ]
    return grown[0], grown[1], grown[2]


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _happens(chance: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator, dtype=torch.float64)) < chance


def rotation(degrees: Sequence[float]) -> Tensor:
    """(3, 3) float64 rotation of (d, h, w) vectors: around D, then H, then W."""
    total = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(degrees):
        a, b = (other for other in range(3) if other != axis)
        turn = torch.eye(3, dtype=torch.float64)
        turn[a, a] = turn[b, b] = math.cos(math.radians(angle))
        turn[a, b], turn[b, a] = -math.sin(math.radians(angle)), math.sin(math.radians(angle))
        total = turn @ total
    return total


def warp(image: Tensor, labels: Tensor, size: Sequence[int], matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Both sampled at middle + matrix (voxel - middle), images linearly, labels by the largest linear share.

    Args:
        image: (C, D, H, W) float32.
        labels: (D, H, W) uint8.
        size: (d, h, w) of the result.
        matrix: (3, 3), from voxel offsets of the result to voxel offsets of the source, along D, H, W.
    Returns: (C, d, h, w) float32 and (d, h, w) uint8.
    """
    old, new = torch.tensor(labels.shape, dtype=torch.float64), torch.tensor(tuple(size), dtype=torch.float64)
    # affine_grid counts from -1 to 1 between outer edges, and in the order W, H, D.
    theta = (matrix.double() * new[None, :] / old[:, None]).flip((0, 1)).float()
    grid = F.affine_grid(F.pad(theta, (0, 1))[None], [1, 1, *size], align_corners=False)
    kinds = torch.arange(int(labels.max()) + 1 if labels.numel() else 1)
    shares = (labels[None] == kinds[:, None, None, None]).to(image.dtype)
    both = torch.cat([image, shares])[None]
    moved = F.grid_sample(both, grid, "bilinear", "reflection", align_corners=False)[0]
    return moved[: len(image)], moved[len(image) :].argmax(0).to(labels.dtype)


def centre(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle (..., d, h, w) of (..., D, H, W), copied from it voxel by voxel."""
    starts = [(n - m) // 2 for n, m in zip(x.shape[-3:], size, strict=True)]
    (d, h, w), (nd, nh, nw) = starts, size
    return x[..., d : d + nd, h : h + nh, w : w + nw]


def _recoloured(image: Tensor, settings: VolumeAugmentation, generator: Generator) -> Tensor:
    """Noise, brightness, contrast, low resolution and gamma, each by its chance, in nnU-Net's order."""
    if _happens(settings.noise_chance, generator):
        image = image + _uniform(0, settings.noise, generator) * torch.randn(image.shape, generator=generator)
    if _happens(settings.brightness_chance, generator):
        image = image * _uniform(*settings.scale, generator)
    if _happens(settings.contrast_chance, generator):
        image = _contrast(image, _uniform(*settings.scale, generator))
    if _happens(settings.coarse_chance, generator):
        image = coarsened(image, _uniform(settings.coarse, 1, generator))
    if _happens(settings.gamma_chance, generator):
        sign = -1.0 if _happens(settings.invert_chance, generator) else 1.0
        image = sign * gamma_changed(sign * image, _uniform(*settings.gamma, generator))
    return image


def _contrast(image: Tensor, factor: float) -> Tensor:
    """Distance from the mean times `factor`, kept between the image's own minimum and maximum."""
    mean = image.mean()
    return ((image - mean) * factor + mean).clamp(float(image.min()), float(image.max()))


def coarsened(image: Tensor, part: float) -> Tensor:
    """(C, D, H, W) reduced to `part` of its size by the nearest voxel and enlarged again, as thick slices look."""
    size = image.shape[1:]
    small = [max(round(n * part), 1) for n in size]
    reduced = F.interpolate(image[None], small, mode="nearest-exact")
    return F.interpolate(reduced, tuple(size), mode="trilinear", align_corners=False)[0]


def gamma_changed(image: Tensor, exponent: float) -> Tensor:
    """((x - min) / (max - min))^exponent, brought back to the mean and deviation that the image had."""
    low, high = image.min(), image.max()
    curved = ((image - low) / (high - low).clamp_min(1e-7)) ** exponent
    scale = image.std() / curved.std().clamp_min(1e-7)
    return (curved - curved.mean()) * scale + image.mean()


def augment_volume(
    image: Tensor, labels: Tensor, size: Sequence[int], settings: VolumeAugmentation, generator: Generator
) -> tuple[Tensor, Tensor]:
    """One random view of a patch.

    Args:
        image: (C, D, H, W) float32, normalised.
        labels: (D, H, W) uint8.
        size: (d, h, w) of the result, at most (D, H, W); see `source_size`.
        settings: strengths.
        generator: the only source of randomness; on the CPU.
    Returns: image (C, d, h, w) float32 and labels (d, h, w) uint8. With every chance 0 and no flips, the middle of the
        patch as it is.
    Raises: ShapeError: sizes do not fit.
    """
    if image.ndim != 4 or image.shape[1:] != labels.shape:
        raise ShapeError(describe("labels", f"shape {tuple(labels.shape)}", f"{tuple(image.shape[1:])}, the image's"))
    if len(size) != 3 or any(not 1 <= m <= n for m, n in zip(size, labels.shape, strict=True)):
        raise ShapeError(describe("size", tuple(size), f"three numbers from 1 to {tuple(labels.shape)}"))
    turns = [_uniform(-1, 1, generator) * limit for limit in settings.rotate_degrees]
    zoom = _uniform(math.log(settings.zoom[0]), math.log(settings.zoom[1]), generator)
    is_turned, is_zoomed = _happens(settings.rotate_chance, generator), _happens(settings.zoom_chance, generator)
    if is_turned or is_zoomed:
        step = torch.tensor(settings.spacing_mm, dtype=torch.float64)
        matrix = rotation(turns if is_turned else (0.0, 0.0, 0.0)) * step[None, :] / step[:, None]
        image, labels = warp(image, labels, size, matrix / (math.exp(zoom) if is_zoomed else 1.0))
    else:
        image, labels = centre(image, size), centre(labels, size)
    image = _recoloured(image, settings, generator)
    flips = [axis for axis in settings.flip_axes if _happens(0.5, generator)]
    return image.flip([axis + 1 for axis in flips]).contiguous(), labels.flip(flips).contiguous()
