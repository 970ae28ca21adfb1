"""A picture of where a prediction and its reference differ: the slices with most disagreement, what is missed and what
is found in excess, on the CT if there is one, else on black.

Slices are shown as in `covfast.preview`: patient's right on the left of the picture, one scale in mm.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.errors import ShapeError, describe
from covfast.preview import (
    BACKGROUND,
    DISCLAIMER,
    FAINT,
    GAP_PX,
    INFECTION_COLOR,
    LEFT_COLOR,
    TEXT,
    TILE_PX,
    Color,
    draw_label,
    font,
    grey,
    outline,
    write_png,
)
from covfast.volume import Geometry

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Mask = npt.NDArray[np.bool_]

# Okabe and Ito's palette, as in the preview.
MISSED_COLOR: Color = LEFT_COLOR
EXCESS_COLOR: Color = INFECTION_COLOR
AGREED_COLOR: Color = (0, 190, 140)

TILES, COLUMNS, MARGIN_MM, BAR_MM = 6, 3, 20.0, 20.0
APART_MM = 10.0
"""Slices that are shown lie at least this far apart, where the scan allows it."""

HEADER_PX, FOOTER_PX, MAX_TILE_HEIGHT_PX = 74, 30, 400
FILL = 0.45


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is drawn, in display order: (D, H, W) masks and grey values cut to the masks, and the grid's steps."""

    truth: Mask
    prediction: Mask
    image: npt.NDArray[Any] | None
    slices: int
    step_mm: tuple[float, float]
    slice_mm: float
    is_in_mm: bool

    @property
    def scale(self) -> float:
        """Pixels per mm, one for the whole picture."""
        _, h, w = self.truth.shape
        return float(min(TILE_PX / (w * self.step_mm[1]), MAX_TILE_HEIGHT_PX / (h * self.step_mm[0])))


def overlay(
    truth: Mask,
    prediction: Mask,
    title: str,
    path: str | os.PathLike[str] | None = None,
    *,
    geometry: Geometry | None = None,
    image: npt.NDArray[Any] | None = None,
) -> Image.Image:
    """Axial slices with most disagreement between two masks: what agrees, what is missed, what is in excess.

    Args:
        truth, prediction: (D, H, W) bool on one grid, or (H, W) of a picture.
        title: headline, such as the case's name and its Dice.
        path: PNG to write; it appears whole or not at all.
        geometry: where the voxels lie; None for a picture or a bare array, whose voxels are drawn as cubes,
            without the marks of sides and scale.
        image: the CT in HU on the same grid, or grey values (uint8); None draws on black.
    Returns: an RGB image.
    Raises: ShapeError: arrays of different shapes; OutputError: the file could not be written.
    """
    from PIL import Image, ImageDraw

    for name, array in (("prediction", prediction), ("image", image)):
        if array is not None and array.shape != truth.shape:
            raise ShapeError(describe(name, f"shape {array.shape}", f"{truth.shape}, the shape of truth"))
    scene = _scene(truth, prediction, image, geometry)
    tiles = [_tile(scene, number) for number in _choose(scene)]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    columns = max(2, min(COLUMNS, len(tiles)))  # the legend needs the width of two
    size = columns * TILE_PX + (columns + 1) * GAP_PX, HEADER_PX + sum(heights) + (len(rows) + 1) * GAP_PX + FOOTER_PX
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    _header(draw, title, has_image=image is not None)
    top = HEADER_PX + GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = GAP_PX + column * (TILE_PX + GAP_PX) + (TILE_PX - tile.width) // 2
            picture.paste(tile, (left, top + (height - tile.height) // 2))
        top += height + GAP_PX
    draw.text((GAP_PX + 4, size[1] - FOOTER_PX + 6), f"covfast - {DISCLAIMER}", FAINT, font(15))
    if path is not None:
        write_png(picture, Path(path))
    return picture


def _scene(truth: Mask, prediction: Mask, image: npt.NDArray[Any] | None, geometry: Geometry | None) -> _Scene:
    """Both masks in canonical orientation, cut to where either is, with a margin; whole slices if both are empty."""
    arrays = [array for array in (truth, prediction, image) if array is not None]
    if geometry is None:
        steps = (1.0, 1.0, 1.0)
        arrays = [array if array.ndim == 3 else array[np.newaxis] for array in arrays]
    else:
        depth, height, width = geometry.canonical().spacing_mm
        steps = (depth, height, width)
        arrays = [geometry.to_canonical(array) for array in arrays]
    shadow = np.logical_or(*arrays[:2]).any(axis=0)
    cut = []
    for axis, step in ((1, steps[1]), (0, steps[2])):
        line = np.flatnonzero(shadow.any(axis=axis))
        margin = int(np.ceil(MARGIN_MM / step))
        whole = shadow.shape[1 - axis]
        cut.append(
            slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + 1 + margin, whole))
            if len(line)
            else slice(0, whole)
        )
    arrays = [array[:, cut[0], cut[1]] for array in arrays]
    values = arrays[2] if len(arrays) > 2 else None
    in_plane = steps[1], steps[2]
    return _Scene(arrays[0], arrays[1], values, arrays[0].shape[0], in_plane, steps[0], geometry is not None)


def _choose(scene: _Scene) -> Sequence[int]:
    """Slices with most disagreement, else with most of either mask, else the middle one; the highest first."""
    for voxels in (scene.truth ^ scene.prediction, scene.truth | scene.prediction):
        counts = np.count_nonzero(voxels, axis=(1, 2))
        chosen: list[int] = []
        for number in np.argsort(-counts, kind="stable").tolist():
            is_apart = all(abs(number - other) * scene.slice_mm >= APART_MM for other in chosen)
            if counts[number] and is_apart and len(chosen) < TILES:
                chosen.append(number)
        if chosen:
            return sorted(chosen, reverse=True)
    return [scene.slices // 2]


def _tile(scene: _Scene, number: int) -> Image.Image:
    """A slice's pixels: grey values, the three areas filled and outlined, caption, scale bar."""
    from PIL import Image, ImageDraw

    truth, prediction = scene.truth[number], scene.prediction[number]
    h, w = truth.shape
    size = max(1, round(w * scene.step_mm[1] * scene.scale)), max(1, round(h * scene.step_mm[0] * scene.scale))
    if scene.image is None:
        tile = Image.new("RGB", size)
    else:
        values = scene.image[number]
        shown = values if values.dtype == np.uint8 else grey(values)
        tile = Image.fromarray(np.ascontiguousarray(shown)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    areas = (
        (truth & prediction, AGREED_COLOR),
        (truth & ~prediction, MISSED_COLOR),
        (prediction & ~truth, EXCESS_COLOR),
    )
    for mask, color in areas:
        if mask.any():
            fill, line = outline(mask, size)
            tile.paste(color, mask=fill.point(lambda value: round(value * FILL)))
            tile.paste(color, mask=line)
    draw = ImageDraw.Draw(tile)
    if scene.slices > 1:
        draw_label(draw, (6, 4), f"axial {number + 1}/{scene.slices}", 14)
    if scene.is_in_mm:
        draw_label(draw, (6, size[1] // 2), "R", 17, "lm")
        draw_label(draw, (size[0] - 6, size[1] // 2), "L", 17, "rm")
        bar = round(BAR_MM * scene.scale)
        draw.rectangle((size[0] - 8 - bar, size[1] - 9, size[0] - 8, size[1] - 6), fill=TEXT)
        draw_label(draw, (size[0] - 8 - bar / 2, size[1] - 12), f"{BAR_MM / 10:g} cm", 13, "ms")
    return tile


def _header(draw: ImageDraw.ImageDraw, title: str, *, has_image: bool) -> None:
    face, width = font(22), 2 * TILE_PX
    while title and face.getlength(title) > width:
        title = title[:-2].rstrip("…") + "…"
    draw.text((GAP_PX + 4, 8), title, TEXT, face)
    x = float(GAP_PX + 4)
    for name, color in (
        ("agreed", AGREED_COLOR),
        ("only in the reference", MISSED_COLOR),
        ("only in the prediction", EXCESS_COLOR),
    ):
        draw.rectangle((x, 48, x + 20, 60), outline=color, width=3)
        draw.text((x + 28, 43), name, TEXT, font(16))
        x += 28 + font(16).getlength(name) + 26
    if not has_image:
        draw.text((x, 43), "masks alone, without an image", FAINT, font(16))
