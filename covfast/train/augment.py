"""Random changes of training slices: what differs between scanners, exports and readers of the same anatomy.

Everything works on batches in torch, is driven by one generator, and keeps image and mask on one grid: geometry is one
sampling grid for both, intensity touches the image only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """Strengths.

    Attributes:
        size: Side of the square output in pixels.
        zoom: Largest factor of magnification or reduction, per axis partly independent.
        rotate_degrees: Largest rotation on top of the quarter turns.
        shift: Largest translation as a part of the side.
        window: Largest shift of the window's ends as a part of its width.
        gamma: Largest exponent (its inverse is the smallest).
        noise: Largest standard deviation of added noise.
        tone: Largest part of a random monotone tone curve that is mixed into the identity; 0: none.
        quarter_turns: Whether slices are turned by 90 degrees; without, they are flipped left to right only.
    """

    size: int = 256
    zoom: float = 1.4
    rotate_degrees: float = 15.0
    shift: float = 0.1
    window: float = 0.12
    gamma: float = 1.4
    noise: float = 0.06
    tone: float = 0.0
    quarter_turns: bool = True


def uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """(n, 1, 1, 1) float32 uniform in [low, high)."""
    return torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low


def chance(n: int, p: float, generator: Generator) -> Tensor:
    """(n, 1, 1, 1) float32, 1 with probability p."""
    return (torch.rand(n, 1, 1, 1, generator=generator) < p).float()


def random_affine(n: int, settings: Augmentation, generator: Generator) -> Tensor:
    """(n, 2, 3) matrices of `affine_grid`: flips, quarter turns, rotation, zoom and shift."""
    draw = [uniform(n, -1.0, 1.0, generator).flatten() for _ in range(6)]
    turns = torch.randint(0, 4, (n,), generator=generator) * (math.pi / 2 if settings.quarter_turns else 0.0)
    angle = turns + draw[0] * math.radians(settings.rotate_degrees)
    common = settings.zoom ** draw[1]
    ratio = settings.zoom ** (0.35 * draw[2])
    flip = torch.where(draw[3] < 0, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [flip * cos * common * ratio, -sin * common / ratio, flip * sin * common * ratio, cos * common / ratio]
    matrix = torch.stack(rows, 1).reshape(n, 2, 2)
    offset = torch.stack([draw[4], draw[5]], 1)[:, :, None] * (2.0 * settings.shift)
    return torch.cat([matrix, offset], 2)


def warp(images: Tensor, masks: Tensor, settings: Augmentation, generator: Generator) -> tuple[Tensor, Tensor]:
    """Sample images and masks on one random affine grid.

    Args:
        images: (n, 1, H, W) float32 in [0, 1].
        masks: (n, K, H, W) float32 in [0, 1].

    Returns:
        (n, 1, size, size) and (n, K, size, size). What lies outside the picture is mirrored in, or, for a part of the
        batch, is one grey value and no infection.
    """
    n, size = len(images), settings.size
    grid = F.affine_grid(random_affine(n, settings, generator), [n, 1, size, size], align_corners=False)
    mirrored = F.grid_sample(torch.cat([images, masks], 1), grid, "bilinear", "reflection", align_corners=False)
    inside = ((grid.abs() <= 1.0).all(-1, keepdim=True).permute(0, 3, 1, 2)).float()
    bare = chance(n, 0.5, generator) * (1.0 - inside)
    # Air outside the body, padding, or soft tissue: any one grey value.
    grey = uniform(n, 0.0, 1.0, generator) * chance(n, 0.7, generator)
    return mirrored[:, :1] * (1.0 - bare) + grey * bare, mirrored[:, 1:] * (1.0 - bare)


def blurred(images: Tensor, kernel: int) -> Tensor:
    """Box blur of odd width that keeps the size; one axis after the other, which is many times faster for wide ones."""
    rows = F.avg_pool2d(images, (kernel, 1), 1, (kernel // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, kernel), 1, (0, kernel // 2), count_include_pad=False)


def equalised(images: Tensor, generator: Generator) -> Tensor:
    """Histogram equalisation (the whole picture), blended with the original by a random part."""
    n = len(images)
    flat = images.flatten(1)
    rank = flat.argsort(1).argsort(1).float() / (flat.shape[1] - 1)
    part = uniform(n, 0.3, 0.9, generator)
    return rank.reshape(images.shape) * part + images * (1.0 - part)


def toned(images: Tensor, settings: Augmentation, generator: Generator, knots: int = 8) -> Tensor:
    """A random monotone tone curve for every image: other scanners' windows, and what an export did to the greys.

    y = (1 - a) x + a c(x), a uniform in [0, tone], c piecewise linear from 0 to 1 through `knots` equal steps whose
    rises are exponential draws divided by their sum.

    Args:
        images: (n, 1, H, W) float32 in [0, 1].
    """
    n = len(images)
    rises = -torch.rand(n, knots, generator=generator).clamp_min(1e-6).log()
    curve = F.pad((rises / rises.sum(1, keepdim=True)).cumsum(1), (1, 0))
    place = images.flatten(1).clamp(0.0, 1.0) * knots
    low = place.floor().clamp_max(knots - 1).long()
    bottom, top = curve.gather(1, low), curve.gather(1, low + 1)
    part = uniform(n, 0.0, settings.tone, generator)
    return (1.0 - part) * images + part * torch.lerp(bottom, top, place - low).reshape(images.shape)


def recontrast(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Another tone curve, window, gamma, and for a part of the batch equalisation and local contrast."""
    n = len(images)
    if settings.tone > 0.0:
        images = toned(images, settings, generator)
    low = uniform(n, -settings.window, settings.window, generator)
    high = 1.0 + uniform(n, -2.0 * settings.window, 2.0 * settings.window, generator)
    images = ((images - low) / (high - low)).clamp(0.0, 1.0)
    exponent = settings.gamma ** uniform(n, -1.0, 1.0, generator)
    images = images.clamp_min(1e-4) ** exponent
    few = (torch.rand(n, generator=generator) < 0.15).nonzero().flatten()
    if len(few):
        images = images.index_copy(0, few, equalised(images[few], generator))
    strength = uniform(n, 0.0, 1.0, generator) * chance(n, 0.2, generator)
    return images + strength * (images - blurred(images, 31))


def roughen(images: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Blur, coarse resampling and noise, each for a part of the batch."""
    n, size = len(images), images.shape[-1]
    soft = chance(n, 0.2, generator)
    images = soft * blurred(images, 3) + (1.0 - soft) * images
    if float(torch.rand((), generator=generator)) < 0.3:
        coarse = F.interpolate(images, size=int(size * 0.6), mode="bilinear", antialias=True)
        picked = chance(n, 0.4, generator)
        images = picked * F.interpolate(coarse, size=size, mode="bilinear") + (1.0 - picked) * images
    sigma = uniform(n, 0.0, settings.noise, generator) * chance(n, 0.4, generator)
    noise = torch.randn(images.shape, generator=generator)
    grain = chance(n, 0.5, generator)
    return images + sigma * (grain * noise + (1.0 - grain) * 2.0 * blurred(noise, 3))


def augment(images: Tensor, masks: Tensor, settings: Augmentation, generator: Generator) -> tuple[Tensor, Tensor]:
    """One random view of every slice.

    Args:
        images: (n, H, W) uint8.
        masks: (n, H, W) uint8, or (n, K, H, W) of several masks.
        settings: Strengths and output size.
        generator: The only source of randomness.

    Returns:
        Images (n, 1, size, size) float32 in [0, 1] and masks (n, K, size, size) float32 in [0, 1].
    """
    x, y = images[:, None].float() / 255.0, (masks[:, None] if masks.ndim == 3 else masks).float() / 255.0
    x, y = warp(x, y, settings, generator)
    x = roughen(recontrast(x, settings, generator), settings, generator)
    return x.clamp(0.0, 1.0), y
