"""A picture of a result that a person can read: axial and coronal slices with contours, and the numbers that matter.

Slices are shown in radiological convention (the patient's right on the left of the picture), all at one scale in mm.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.outputs import replace_file
from covfast.volume import INFECTION, LEFT_LUNG, RIGHT_LUNG, Geometry, Segmentation, Volume

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Color = tuple[int, int, int]

WINDOW_HU = (-1350.0, 150.0)
"""The usual lung window: level -600, width 1500."""

AXIAL_TILES, CORONAL_TILES, COLUMNS = 8, 3, 4
TILE_PX, MAX_TILE_HEIGHT_PX, GAP_PX, MARGIN_MM = 400, 560, 8, 10.0
HEADER_PX, FOOTER_PX = 104, 34

LINE_PX = 3
"""Width of a contour at twice the tile's size."""

# Okabe and Ito's palette, which colour-blind people can tell apart: sky blue, yellow, vermilion.
LEFT_COLOR: Color = (86, 180, 233)
RIGHT_COLOR: Color = (240, 228, 66)
INFECTION_COLOR: Color = (255, 105, 20)
BACKGROUND: Color = (14, 16, 20)
TEXT: Color = (236, 238, 240)
FAINT: Color = (160, 166, 174)
ALERT: Color = (255, 176, 84)

DISCLAIMER = "Research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class _Tile:
    """One slice: HU, lungs and labels as (rows, columns) in display order, its size on the picture, and its caption."""

    hu: npt.NDArray[Any]
    lungs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    size_px: tuple[int, int]
    caption: str


@dataclass(frozen=True)
class _Extent:
    """Where the lungs lie, in canonical indices, and how much infection each axial and coronal slice holds."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]
    lung_slices: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    axial: npt.NDArray[np.int64]
    coronal: npt.NDArray[np.int64]


def preview(
    volume: Volume,
    labels: Segmentation,
    lungs: Segmentation,
    statistics: Mapping[str, Any],
    path: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """A montage of the slices with most infection, spread over the lungs, with contours, numbers and warnings.

    Args:
        volume, labels, lungs: on one grid, any orientation; 3 in `labels` is infection, 1 and 2 in `lungs` the sides.
        statistics: what `covfast.statistics.statistics` returned for them.
        path: PNG to write; it appears whole or not at all.
    Returns: an RGB image.
    Raises: OutputError: the file could not be written.
    """
    from PIL import Image, ImageDraw

    arrays = tuple(volume.geometry.to_canonical(a) for a in (volume.hu, labels.labels, lungs.labels))
    extent = _find(arrays[1], arrays[2], volume.geometry)
    scale = _scale(extent, volume.geometry)
    axial, coronal = _axial(arrays, extent, volume.geometry, scale), _coronal(arrays, extent, volume.geometry, scale)
    rows = [axial[start : start + COLUMNS] for start in range(0, len(axial), COLUMNS)] + [coronal]
    heights = [max(tile.size_px[1] for tile in row) for row in rows]
    heights[-1] = max(heights[-1], 330)  # the panel beside the coronal slices needs this much
    height = HEADER_PX + sum(heights) + (len(rows) + 1) * GAP_PX + FOOTER_PX
    image = Image.new("RGB", (COLUMNS * TILE_PX + (COLUMNS + 1) * GAP_PX, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    _header(draw, statistics)
    top = HEADER_PX + GAP_PX
    for row, row_height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = GAP_PX + column * (TILE_PX + GAP_PX) + (TILE_PX - tile.size_px[0]) // 2
            image.paste(_render(tile, scale), (left, top + (row_height - tile.size_px[1]) // 2))
        top += row_height + GAP_PX
    _panel(draw, statistics, (GAP_PX + 3 * (TILE_PX + GAP_PX) + 10, top - heights[-1] - GAP_PX), heights[-1])
    draw.text((GAP_PX + 4, height - FOOTER_PX + 6), f"covfast - {DISCLAIMER}", FAINT, font(17))
    if path is not None:
        write_png(image, Path(path))
    return image


def _find(labels: npt.NDArray[np.uint8], lungs: npt.NDArray[np.uint8], geometry: Geometry) -> _Extent:
    """One pass, slab by slab along the axis that is slowest in memory. Without lungs the extent is the whole scan."""
    outer = int(np.argmax(np.abs(lungs.strides)))
    first, second = (axis for axis in range(3) if axis != outer)
    seen = [np.zeros(n, np.bool_) for n in lungs.shape]
    sick = [np.zeros(n, np.int64) for n in lungs.shape]
    slabs = zip(np.moveaxis(labels, outer, 0), np.moveaxis(lungs, outer, 0), strict=True)
    for number, (labels_slab, lungs_slab) in enumerate(slabs):
        lung = lungs_slab > 0
        if lung.any():
            seen[outer][number] = True
            seen[first] |= lung.any(axis=1)
            seen[second] |= lung.any(axis=0)
        infected = labels_slab == INFECTION
        if infected.any():
            sick[outer][number] = np.count_nonzero(infected)
            sick[first] += np.count_nonzero(infected, axis=1)
            sick[second] += np.count_nonzero(infected, axis=0)
    spans = [np.flatnonzero(line) if line.any() else np.arange(len(line)) for line in seen]
    steps = [geometry.spacing_mm[axis] for axis in geometry.axes]
    margins = [int(np.ceil(MARGIN_MM / step)) for step in steps]
    low = [max(int(span[0]) - margin, 0) for span, margin in zip(spans, margins, strict=True)]
    high = [min(int(s[-1]) + 1 + m, n) for s, m, n in zip(spans, margins, lungs.shape, strict=True)]
    return _Extent((low[0], low[1], low[2]), (high[0], high[1], high[2]), (spans[0], spans[1]), sick[0], sick[1])


def _scale(extent: _Extent, geometry: Geometry) -> float:
    """Pixels per mm, one for the whole picture, such that every tile fits its place."""
    sizes = (np.subtract(extent.high, extent.low)) * [geometry.spacing_mm[axis] for axis in geometry.axes]
    return float(min(TILE_PX / sizes[2], MAX_TILE_HEIGHT_PX / sizes[0], MAX_TILE_HEIGHT_PX / sizes[1]))


def _choose(slices: npt.NDArray[np.intp], infected: npt.NDArray[np.int64], count: int) -> list[int]:
    """`count` slices spread over `slices`: of each equal part the one with most infection, else its middle one.

    The ends of a part are left out, so that no two chosen slices are neighbours.
    """
    chosen = []
    for whole in np.array_split(slices, min(count, len(slices))):
        part = whole[len(whole) // 6 : len(whole) - len(whole) // 6]
        best = int(np.argmax(infected[part]))
        chosen.append(int(part[best] if infected[part][best] else part[len(part) // 2]))
    return chosen


def _px(length: int, step_mm: float, scale: float) -> int:
    return max(1, round(length * step_mm * scale))


def _axial(arrays: Sequence[npt.NDArray[Any]], extent: _Extent, geometry: Geometry, scale: float) -> list[_Tile]:
    """Axial tiles, the highest first."""
    grid = geometry.canonical()
    (_, h0, w0), (_, h1, w1) = extent.low, extent.high
    size = _px(w1 - w0, grid.spacing_mm[2], scale), _px(h1 - h0, grid.spacing_mm[1], scale)
    tiles = []
    for d in reversed(_choose(extent.lung_slices[0], extent.axial, AXIAL_TILES)):
        z_mm = (grid.affine @ (d, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2, 1))[2]
        hu, labels, lungs = (array[d, h0:h1, w0:w1] for array in arrays)
        tiles.append(_Tile(hu, lungs, labels, size, f"axial {d + 1}/{grid.shape[0]}, z {z_mm:.0f} mm"))
    return tiles


def _coronal(arrays: Sequence[npt.NDArray[Any]], extent: _Extent, geometry: Geometry, scale: float) -> list[_Tile]:
    """Coronal tiles, the most anterior first, superior side up."""
    grid = geometry.canonical()
    (d0, _, w0), (d1, _, w1) = extent.low, extent.high
    size = _px(w1 - w0, grid.spacing_mm[2], scale), _px(d1 - d0, grid.spacing_mm[0], scale)
    tiles = []
    # The outer tenths show little but wall.
    slices = extent.lung_slices[1]
    inner = slices[len(slices) // 10 : len(slices) - len(slices) // 10]
    for h in _choose(inner, extent.coronal, CORONAL_TILES):
        y_mm = (grid.affine @ ((grid.shape[0] - 1) / 2, h, (grid.shape[2] - 1) / 2, 1))[1]
        hu, labels, lungs = (array[d0:d1, h, w0:w1][::-1] for array in arrays)
        tiles.append(_Tile(hu, lungs, labels, size, f"coronal {h + 1}/{grid.shape[1]}, y {y_mm:.0f} mm"))
    return tiles


def _render(tile: _Tile, scale: float) -> Image.Image:
    """A tile's pixels: the slice in the lung window, infection faintly filled, contours, caption, sides, scale bar."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(grey(tile.hu)).resize(tile.size_px, Image.Resampling.BICUBIC).convert("RGB")
    infected = tile.labels == INFECTION
    for mask, color in ((tile.lungs == LEFT_LUNG, LEFT_COLOR), (tile.lungs == RIGHT_LUNG, RIGHT_COLOR)):
        image.paste(color, mask=outline(mask, tile.size_px)[1])
    fill, line = outline(infected, tile.size_px)
    image.paste(INFECTION_COLOR, mask=fill.point(lambda value: value * 0.22))
    image.paste(INFECTION_COLOR, mask=line)
    draw = ImageDraw.Draw(image)
    width, height = tile.size_px
    draw_label(draw, (6, 4), tile.caption, 14)
    draw_label(draw, (6, height // 2), "R", 17, "lm")
    draw_label(draw, (width - 6, height // 2), "L", 17, "rm")
    bar = round(50 * scale)
    draw.rectangle((width - 9 - bar, height - 10, width - 7, height - 5), fill=(0, 0, 0))
    draw.rectangle((width - 8 - bar, height - 9, width - 8, height - 6), fill=TEXT)
    draw_label(draw, (width - 8 - bar / 2, height - 12), "5 cm", 13, "ms")
    return image


def grey(hu: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A slice in the lung window, 0..255."""
    low, high = WINDOW_HU
    scaled: npt.NDArray[np.float32] = np.clip((hu.astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    return scaled.astype(np.uint8)


def outline(mask: npt.NDArray[np.bool_], size_px: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """(fill, line) of a mask at a tile's size, 8-bit coverage: drawn twice as large, then averaged: smooth edges."""
    from PIL import Image

    def halve(part: npt.NDArray[np.bool_]) -> Image.Image:
        return Image.fromarray(part.astype(np.uint8) * 255).resize(size_px, Image.Resampling.BOX)

    double = (2 * size_px[0], 2 * size_px[1])
    smooth = Image.fromarray(mask.astype(np.uint8) * 255).resize(double, Image.Resampling.BILINEAR)
    shape = np.asarray(smooth) >= 128
    padded = np.pad(shape, LINE_PX, mode="edge")
    core = shape.copy()
    for axis in (0, 1):
        for shift in (-LINE_PX, LINE_PX):
            moved = np.roll(padded, shift, axis)
            core &= moved[LINE_PX:-LINE_PX, LINE_PX:-LINE_PX]
    return halve(shape), halve(shape & ~core)


@functools.cache
def font(size: int) -> Any:
    """Pillow's own typeface at a size in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def draw_label(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, anchor: str = "la") -> None:
    """Text with a dark edge, so that it can be read on any slice."""
    draw.text(at, text, TEXT, font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _number(value: float | None, unit: str, digits: int = 0) -> str:
    return "not measured" if value is None else f"{value:.{digits}f} {unit}"


def _share(region: Mapping[str, Any]) -> str:
    """A region's volume and infection in words; of a cut lung what is visible, said so."""
    note = ""
    if region["lung_ml"] is None:
        region, note = region["visible"], " visible (cut off by the scan)" if region["is_cut_off"] else " found"
    if not region["lung_ml"]:
        return "not found"
    percent = region["infection_percent"]
    sick = "" if percent is None else f", infection {_number(region['infection_ml'], 'mL', 1)} ({percent:.1f} %)"
    return f"{_number(region['lung_ml'], 'mL')}{note}{sick}"


def _header(draw: ImageDraw.ImageDraw, statistics: Mapping[str, Any]) -> None:
    """Headline, each lung, lesions and aeration."""
    regions, lesions = statistics["lungs"], statistics["lesions"]
    visible = regions["all"]["visible"]
    x = GAP_PX + 4
    headline = f"Lungs {_share(regions['all'])}"
    if not visible["lung_ml"]:
        headline = "No lungs found"
    elif visible["infection_ml"] == 0:
        headline = f"No infection found. {headline}"
    draw.text((x, 10), headline, TEXT, font(32))
    draw.text((x, 54), f"Right lung {_share(regions['right'])}", RIGHT_COLOR, font(19))
    draw.text((x + 2 * (TILE_PX + GAP_PX), 54), f"Left lung {_share(regions['left'])}", LEFT_COLOR, font(19))
    largest = _number(lesions["largest_lesion_ml"], "mL", 1)
    count = lesions["lesion_count"]
    pieces = (
        f"Lesions {count}, largest {largest}" if count else "Lesions none" if count == 0 else "Lesions not measured"
    )
    aerated = _number(visible["well_aerated_percent"], "%", 1)
    dense = _number(visible["non_aerated_percent"], "%", 1)
    draw.text((x, 80), f"{pieces}. Well aerated {aerated}, non-aerated {dense} of the lung.", FAINT, font(17))


def _panel(draw: ImageDraw.ImageDraw, statistics: Mapping[str, Any], corner: tuple[int, int], height: int) -> None:
    """Legend, infection by thirds, warnings; as many warnings as fit."""
    x, y = corner
    for name, color in (("right lung", RIGHT_COLOR), ("left lung", LEFT_COLOR), ("infection", INFECTION_COLOR)):
        draw.rectangle((x, y + 5, x + 22, y + 17), outline=color, width=3)
        draw.text((x + 32, y), name, TEXT, font(17))
        y += 24
    draw.text((x, y + 2), f"window {WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU", FAINT, font(15))
    y = _thirds(draw, statistics["thirds"], (x, y + 32))
    warnings = statistics["warnings"]
    lines = [("Warnings" if warnings else "No warnings", TEXT if warnings else FAINT)]
    for warning in warnings:
        lines += [(line, ALERT) for line in _wrap(f"{warning['code']}: {warning['message']}", TILE_PX - 24)]
    room = max(1, (corner[1] + height - y) // 19)
    if len(lines) > room:
        lines = [*lines[: room - 1], ("more in statistics.json", ALERT)]
    for text, color in lines:
        draw.text((x, y), text, color, font(15))
        y += 19


def _thirds(draw: ImageDraw.ImageDraw, thirds: Sequence[Mapping[str, Any]], corner: tuple[int, int]) -> int:
    """Table of infection by side and third; returns the y below it."""
    x, y = corner
    draw.text((x, y), "Infection by thirds of height (not lobes)", TEXT, font(16))
    for column, side in enumerate(("right", "left")):
        draw.text((x + 170 + 100 * column, y + 24), side, FAINT, font(15), anchor="ra")
    for line, third in enumerate(("upper", "middle", "lower")):
        draw.text((x, y + 46 + 21 * line), third, FAINT, font(15))
        for column, side in enumerate(("right", "left")):
            share = next(t["infection_percent"] for t in thirds if (t["side"], t["third"]) == (side, third))
            text = "-" if share is None else f"{share:.1f} %"
            draw.text((x + 170 + 100 * column, y + 46 + 21 * line), text, TEXT, font(15), anchor="ra")
    return y + 122


def _wrap(text: str, width_px: int) -> list[str]:
    """Lines of a text that fit a width."""
    face, lines = font(15), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width_px or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(f"  {word}")
    return lines


def write_png(image: Image.Image, path: Path) -> None:
    """PNG by atomic rename; whatever was at `path` stays if it fails."""
    replace_file(path, lambda file: image.save(file, format="PNG"))
