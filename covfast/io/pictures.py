"""Pictures as arrays: masks and probability maps of 2-D benchmarks, which have no HU and no geometry."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, describe, file_name
from covfast.outputs import replace_file

PICTURE_SUFFIX = ".png"
DRAWING_SUFFIXES = (PICTURE_SUFFIX, ".jpg", ".jpeg")
"""Pictures to draw masks on: of them nothing is measured, so that JPEG will do."""

CHANNEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Pictures without loss, whose values may be a network's input: nnU-Net's NaturalImage2DIO has the first three."""

_EXPECTED = "an 8-bit grey PNG, or one whose colours are all grey"


def is_picture(path: Path) -> bool:
    """True if the name ends like a picture's."""
    return path.name.lower().endswith(PICTURE_SUFFIX)


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 grey values of a PNG; of one with a palette, the indices; of one with 1 bit, 0 and 255.

    Raises: FormatError: unreadable, more than 8 bits, coloured, or larger than Pillow takes for honest.
    """
    mode, values = _opened(path, ("PNG",), _EXPECTED)
    if mode in ("LA", "RGB", "RGBA"):
        colors = values[..., :1] if mode == "LA" else values[..., :3]
        if (colors != colors[..., :1]).any():
            raise FormatError(describe(file_name(path), "a coloured picture", _EXPECTED))
        values = colors[..., 0]
    if values.dtype != np.uint8 or values.ndim != 2:
        raise FormatError(describe(file_name(path), f"a picture of mode {mode}", _EXPECTED))
    return values


def read_drawing(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 of a PNG or JPEG to draw on: colours as grey, more than 8 bits stretched from min..max to 0..255.

    Raises: FormatError: unreadable, or larger than Pillow takes for honest.
    """
    _, values = _opened(path, ("PNG", "JPEG"), "a PNG or JPEG", as_grey=True)
    return values if values.dtype == np.uint8 else stretched(values)


def channel_suffix(path: Path) -> str:
    """The suffix of a picture whose values may be channels, such as ".png", or ""."""
    suffix = path.suffix.lower()
    return suffix if suffix in CHANNEL_SUFFIXES else ""


def read_colours(path: Path) -> npt.NDArray[Any]:
    """(C, H, W) values of a PNG, BMP or TIFF as they are stored: 1 grey one, or 3 or 4 with colours.

    1 bit becomes 0 and 1, a palette its colours.

    Raises: FormatError: unreadable, another number of values a pixel, several pages, or of absurd size.
    """
    expected = "a PNG, BMP or TIFF of one page"
    mode, values = _opened(path, ("PNG", "BMP", "TIFF"), expected, as_stored=True)
    if values.ndim == 3 and values.shape[2] in (3, 4):
        return np.moveaxis(values, 2, 0)
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        raise FormatError(describe(file_name(path), f"a picture of mode {mode}", f"{expected}, grey, RGB or RGBA"))
    return values[np.newaxis]


def write_label_picture(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Writes (H, W) labels as a grey PNG, BMP or TIFF, whole or not at all. Raises: OutputError."""
    from PIL import Image

    kind = {".png": "PNG", ".bmp": "BMP"}.get(path.suffix.lower(), "TIFF")
    replace_file(path, lambda file: Image.fromarray(np.ascontiguousarray(labels)).save(file, kind))


def stretched(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Any numbers with min..max as 0..255; of equal ones 0."""
    low, high = float(values.min()), float(values.max())
    return ((values.astype(np.float32) - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)


def _opened(
    path: Path, formats: tuple[str, ...], expected: str, *, as_grey: bool = False, as_stored: bool = False
) -> tuple[str, npt.NDArray[Any]]:
    """Pillow's mode and the values; of 1 bit 0 and 255, and `as_grey` of colours too one value of 8 bits.

    `as_stored`: of 1 bit 0 and 1, of a palette the colours, of several pages an error.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path, formats=formats) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if as_stored:
                if getattr(image, "n_frames", 1) > 1:
                    raise ValueError("several pages")
                return image.mode, np.array(image.convert("RGB") if image.mode == "P" else image)
            is_made_grey = image.mode == "1" or (as_grey and image.mode[0] not in "IF")  # I, F: more than 8 bits
            return image.mode, np.array(image.convert("L") if is_made_grey else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FormatError(describe(file_name(path), "a picture of absurd size", expected)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow: a broken chunk is a SyntaxError
        got = f"a file that is no readable {' or '.join(formats)}"
        raise FormatError(describe(file_name(path), got, expected)) from error
