"""8-bit pictures as arrays: masks and probability maps of 2-D benchmarks, which have no HU and no geometry."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, describe, file_name

PICTURE_SUFFIX = ".png"

_EXPECTED = "an 8-bit grey PNG, or one whose colours are all grey"


def is_picture(path: Path) -> bool:
    """True if the name ends like a picture's."""
    return path.name.lower().endswith(PICTURE_SUFFIX)


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 grey values of a PNG; of one with a palette, the indices; of one with 1 bit, 0 and 255.

    Raises: FormatError: unreadable, more than 8 bits, coloured, or larger than Pillow takes for honest.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG",)) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            mode = image.mode
            values = np.asarray(image.convert("L") if mode == "1" else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FormatError(describe(file_name(path), "a picture of absurd size", _EXPECTED)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow: a broken chunk is a SyntaxError
        raise FormatError(describe(file_name(path), "a file that is no readable PNG", _EXPECTED)) from error
    if mode in ("LA", "RGB", "RGBA"):
        colors = values[..., :1] if mode == "LA" else values[..., :3]
        if (colors != colors[..., :1]).any():
            raise FormatError(describe(file_name(path), "a coloured picture", _EXPECTED))
        values = colors[..., 0]
    if values.dtype != np.uint8 or values.ndim != 2:
        raise FormatError(describe(file_name(path), f"a picture of mode {mode}", _EXPECTED))
    return np.array(values)
