"""Folders of 8-bit pictures that belong together by name: slices, masks, edges, priors."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from covfast.errors import FormatError, describe

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

Pixels = npt.NDArray[np.uint8]


def listed(folder: Path) -> dict[str, Path]:
    """Stem -> path of the pictures directly in a folder, names in natural order.

    Raises:
        FormatError: No such folder, no picture in it, or two of one stem.
    """
    if not folder.is_dir():
        above = [place for place in (folder, *folder.parents) if not place.is_dir()]
        raise FormatError(describe("data", f"no folder {above[-1].name}", "a folder of pictures", _beside(folder)))
    paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=lambda p: natural(p.stem))
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise FormatError(describe(path.name, f"beside {found[path.stem].name}", "one picture of a name"))
        found[path.stem] = path
    if not found:
        raise FormatError(describe("data", f"no picture in {folder.name}", f"files of {', '.join(SUFFIXES)}"))
    return found


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture, which may be decoded inside. Raises: FormatError: it is missing or cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(describe(path.name, type(error).__name__, "a readable picture")) from error


def _beside(folder: Path) -> str:
    """What stands where a missing folder was looked for."""
    above = next((p for p in folder.parents if p.is_dir()), None)
    names = [] if above is None else sorted(p.name for p in above.iterdir() if p.is_dir())[:8]
    return f"there are {', '.join(names)}" if names else ""


def natural(name: str) -> tuple[int, int, str]:
    """Sorting key: numbers by value and first, then texts."""
    return (0, int(name), "") if name.isdigit() else (1, 0, name)


@dataclass(frozen=True)
class Part:
    """One picture of a name.

    Attributes:
        folder: Where it lies.
        channels: 3, or 1.
        nearest: Resized by the nearest pixel (labels) instead of PIL's bilinear with its area filter.
        values: Grey values that may occur; empty: any.
    """

    folder: Path
    channels: int = 1
    nearest: bool = False
    values: tuple[int, ...] = ()


class Pictures:
    """Pictures of one size, decoded at first use and kept.

    Args:
        parts: Name -> part; every name of the first has a picture in the others, and they have no others.
        size: Side of the square that they are resized to, in pixels; None: as they are.
        names: Those that are used, where others may stand beside them; None: all there are.

    Raises:
        FormatError: A picture is missing or extra; the message names it.
    """

    def __init__(self, parts: Mapping[str, Part], size: int | None, names: Sequence[str] | None = None) -> None:
        self.parts, self.size = dict(parts), size
        self.paths = {key: listed(part.folder) for key, part in self.parts.items()}
        first = next(iter(self.paths))
        self.names = list(self.paths[first] if names is None else names)
        for key, paths in self.paths.items():
            missing, extra = sorted(set(self.names) - set(paths)), sorted(set(paths) - set(self.names))
            folder = self.parts[key].folder.name
            if missing:
                raise FormatError(describe(missing[0], f"no picture in {folder}", "one, as for the other slices"))
            if extra and names is None:
                expected = f"one of that name in {self._folder(first)} too"
                raise FormatError(describe(paths[extra[0]].name, f"a file in {folder}", expected))
        self._held: dict[tuple[str, str], Pixels] = {}
        self._names = set(self.names)

    def _folder(self, key: str) -> str:
        return self.parts[key].folder.name

    def sizes(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """(H, W) of each picture of the first part, after a look at every part's header.

        Raises:
            FormatError: A file is no picture, or of another size than its fellows.
        """
        found = []
        for name in names:
            sizes = {key: _size(paths[name]) for key, paths in self.paths.items()}
            first = next(iter(sizes.values()))
            for key, size in sizes.items():
                if size != first:
                    got, expected = f"{size[0]}x{size[1]} pixels", f"the {first[0]}x{first[1]} of its slice"
                    raise FormatError(describe(self.paths[key][name].name, got, expected))
            found.append(first)
        return found

    def pixels(self, key: str, name: str) -> Pixels:
        """(C, size, size) uint8 of one picture; grey ones of three channels are (1, size, size).

        Raises:
            FormatError: The file cannot be read, or holds a value outside the protocol.
        """
        if (key, name) not in self._held:
            self._held[key, name] = self._read(self.parts[key], self.paths[key][name])
        return self._held[key, name]

    def _read(self, part: Part, path: Path) -> Pixels:
        with opened(path) as file:
            is_grey = part.channels == 1 or file.mode in ("L", "1", "I;16")
            image = file.convert("L" if is_grey else "RGB")
        if part.values:
            strange = sorted(set(np.unique(np.asarray(image)).tolist()) - set(part.values))
            if strange:
                got = f"the grey value {strange[0]}"
                raise FormatError(describe(path.name, got, f"labels of the protocol: {list(part.values)}"))
        if self.size is not None:
            how = Image.Resampling.NEAREST if part.nearest else Image.Resampling.BILINEAR
            image = image.resize((self.size, self.size), how)
        pixels = np.array(image, dtype=np.uint8)
        return pixels[None] if is_grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def stack(self, key: str, names: Sequence[str]) -> Tensor:
        """(N, C, size, size) float32 in [0, 1]."""
        channels = self.parts[key].channels
        pixels = [np.broadcast_to(p, (channels, *p.shape[1:])) for p in (self.pixels(key, name) for name in names)]
        return torch.from_numpy(np.stack(pixels)).float() / 255.0

    def carry(self, other: Pictures) -> None:
        """Take over what others of the same parts and size have decoded, of the names here."""
        self._held |= {key: pixels for key, pixels in other._held.items() if key[1] in self._names}

    def files(self, names: Sequence[str]) -> list[Path]:
        """The files of these names."""
        return [paths[name] for paths in self.paths.values() for name in names]


def _size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture's header. Raises: FormatError."""
    with opened(path) as image:
        return image.height, image.width


def normalised(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x - mean) / std of (N, C, H, W), channel by channel."""
    shape = (1, -1, 1, 1)
    return (x - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)


def group_by_size(names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> dict[str, list[str]]:
    """Groups of slices for a split where no patient is given: equal sizes are taken to be of one patient."""
    groups: dict[str, list[str]] = {}
    for name, (rows, columns) in zip(names, sizes, strict=True):
        groups.setdefault(f"{rows}x{columns}", []).append(name)
    return groups
