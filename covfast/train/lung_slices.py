"""Slices for the training of lung fields: whole ones from coronacases_png, their natural tones, crops, phantoms.

The masks of these slices are the lungs. All are in canonical orientation: anterior up, the patient's left at the right
of the picture (which side is which does not matter: lungs are one class, and training flips left to right).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from covfast.phantom import chest_phantom
from covfast.train.data import Bytes, Row, Slices, case_of, gather, png_numbers, png_triple

WINDOW_HU = (-1250.0, 250.0)
"""Of all stored slices, see `covfast.train.data`."""

PHANTOM_SHAPE = (40, 256, 256)
"""(D, H, W) of a synthetic chest: slices 8 mm apart, from the upper abdomen to above the apices."""


def canonical(pixels: Bytes, case: str) -> Bytes:
    """Slices of a volume with the front of the body up: the radiopaedia volumes are stored upside down."""
    return np.ascontiguousarray(pixels[..., ::-1, :]) if case.startswith("radiopaedia") else pixels


def whole_slices(data: Path) -> Iterator[Row]:
    """The equalised slices of coronacases_png, not cropped; both masks are the experts' lungs. Kind "whole".

    Slices between two volumes, whose volume is not known, are left out.
    """
    for number in png_numbers(data):
        case = case_of(number)
        if case is not None:
            ct, _, lungs = (canonical(part, case) for part in png_triple(data, number))
            yield ct, lungs, lungs, case, "whole", f"{number:04d}"


def tone_curve(equalised: Bytes, natural: Bytes) -> Bytes:
    """(256,) uint8: the monotone curve from one set of pixels to another that shows the same, by their quantiles.

    curve[g] is the grey of `natural` of the rank that the middle of grey g has in `equalised`. Greys that do not occur
    lie between their neighbours. Equalisation changes every neighbourhood in its own way, so one curve is an estimate.

    Args:
        equalised, natural: uint8 of any shape, not empty.
    """
    source, target = (np.bincount(pixels.ravel(), minlength=256).astype(np.float64) for pixels in (equalised, natural))
    rank = (np.cumsum(source) - 0.5 * source) / source.sum()
    place = np.cumsum(target) / target.sum()
    curve = np.interp(rank, place, np.arange(256.0))
    return np.asarray(np.rint(curve), dtype=np.uint8)


def tone_curves(slices: Slices) -> dict[str, Bytes]:
    """Case -> curve from the equalised to the natural greys, for the cases that have both kinds of crops.

    Args:
        slices: As `read_slices` gives them: "png" and "aligned" slices of a case show the same part of the body.
    """
    cases, kinds = np.array(slices.cases), np.array(slices.kinds)
    curves = {}
    for case in sorted(set(slices.cases)):
        sides = [slices.images[(cases == case) & (kinds == kind)] for kind in ("png", "aligned")]
        if all(len(side) for side in sides):
            curves[case] = tone_curve(*sides)
    return curves


def aligned_with_lungs(slices: Slices) -> Slices:
    """The natural crops whose lungs are known, upright, their masks the lungs."""
    rows = [k for k, kind in enumerate(slices.kinds) if kind == "aligned" and int(slices.lungs[k].min()) < 255]
    chosen = slices.take(rows)
    for stack in (chosen.images, chosen.lungs):
        for pixels, case in zip(stack, chosen.cases, strict=True):
            pixels[:] = canonical(pixels, case)
    return replace(chosen, masks=chosen.lungs)


def phantom_slices(count: int) -> Iterator[Row]:
    """Slices of synthetic chests in the natural window, those without lungs included. Kind "phantom".

    They are there for what the other slices lack: Hounsfield units, the abdomen and the neck.
    """
    low, high = WINDOW_HU
    for seed in range(count):
        phantom = chest_phantom(PHANTOM_SHAPE, seed=seed)
        part = (phantom.volume.hu.astype(np.float32) - low) / (high - low)
        images = np.asarray(np.clip(part, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)
        lungs = np.where(phantom.lungs.labels > 0, 255, 0).astype(np.uint8)
        for index, (image, mask) in enumerate(zip(images, lungs, strict=True)):
            yield image, mask, mask, f"phantom_{seed}", "phantom", f"phantom_{seed}_{index:02d}"


def lung_slices(slices: Slices, data: Path, phantoms: int) -> Slices:
    """All slices of the training of lung fields.

    Args:
        slices: As `read_slices` gives them.
        data: Folder of the data.
        phantoms: Synthetic chests.

    Returns:
        Slices whose masks are the lungs. Kinds: "whole" (equalised), "toned" (the same in natural tones, where the
        volume's curve is known), "aligned" (natural crops), "phantom".

    Raises:
        FormatError: A file of coronacases_png cannot be read.
    """
    whole, curves = gather(list(whole_slices(data))), tone_curves(slices)
    toned = whole.take([k for k, case in enumerate(whole.cases) if case in curves])
    for image, case in zip(toned.images, toned.cases, strict=True):
        image[:] = curves[case][image]
    parts = [whole, replace(toned, kinds=("toned",) * len(toned)), aligned_with_lungs(slices)]
    if phantoms:
        parts.append(gather(list(phantom_slices(phantoms))))
    return joined(parts)


def joined(parts: list[Slices]) -> Slices:
    """Slices one part after the other."""
    images, lungs = (np.concatenate([getattr(part, key) for part in parts]) for key in ("images", "lungs"))
    texts = [tuple(value for part in parts for value in getattr(part, key)) for key in ("cases", "kinds", "names")]
    return Slices(images, lungs, lungs, *texts)
