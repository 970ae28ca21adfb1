"""Training slices: read once, brought to one intensity scale and one size, kept as uint8.

Every slice is stored as 8 bits of the window [-1250, 250] HU, stretched to STORED x STORED pixels, with a mask whose
255 is infection (values between are the experts' masks of two neighbouring slices) and the lungs where they are known.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from covfast.errors import FormatError, ValueRangeError, describe
from covfast.outputs import replace_file
from covfast.train.align import CASES, GRID, Match, locate, smooth_offsets, upright
from covfast.train.record import digest
from covfast.train.systems.pictures import SUFFIXES, Part, Pictures, opened

Bytes = npt.NDArray[np.uint8]

STORED = 320
"""Side of the stored slices in pixels; training crops and resizes from these."""

DOCTOR = Path("covid_semiseg/TrainingSet/LungInfection-Train/Doctor-label")
PSEUDO = Path("covid_semiseg/TrainingSet/LungInfection-Train/Pseudo-label")
PNG = Path("coronacases_png")
PNG_KINDS = ("ct", "covid", "lungs")
"""Folders of coronacases_png: slices, infection, lungs."""

# A match this good at a quarter of the grid's size is the same anatomy.
LEAST_SCORE = 0.75


@dataclass(frozen=True)
class Slices:
    """Slices of one kind.

    Attributes:
        images: (N, STORED, STORED) uint8 of the window [-1250, 250] HU, or equalised ("png").
        masks: (N, STORED, STORED) uint8, 255 = infection.
        lungs: (N, STORED, STORED) uint8, 255 = lung, all 255 where unknown.
        cases: N names of the volume; slices of one name never stand on both sides of a split.
        kinds: N of "doctor", "aligned" (natural contrast, experts' masks) or "png" (equalised).
        names: N file names.
    """

    images: Bytes
    masks: Bytes
    lungs: Bytes
    cases: tuple[str, ...]
    kinds: tuple[str, ...]
    names: tuple[str, ...]

    def take(self, which: npt.ArrayLike) -> Slices:
        """The slices with these indices."""
        index = np.asarray(which, dtype=np.intp)
        texts = [tuple(values[i] for i in index) for values in (self.cases, self.kinds, self.names)]
        return Slices(self.images[index], self.masks[index], self.lungs[index], *texts)

    def __len__(self) -> int:
        return len(self.images)


Row = tuple[Bytes, Bytes, Bytes, str, str, str]


def gather(rows: Sequence[Row]) -> Slices:
    """Slices from rows of (image, mask, lungs, case, kind, name), each resized to STORED."""
    images, masks, lungs, cases, kinds, names = zip(*rows, strict=True)
    arrays = [np.stack([stretch(pixels) for pixels in column]) for column in (images, masks, lungs)]
    return Slices(arrays[0], arrays[1], arrays[2], cases, kinds, names)


def stretch(pixels: Bytes, side: int = STORED) -> Bytes:
    """(H, W) uint8 resized to (side, side): bilinear, with an area filter where it shrinks."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)


def read_grey(path: Path) -> Bytes:
    """(H, W) uint8 of an image file.

    Raises:
        FormatError: The file is missing or no image.
    """
    with opened(path) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def doctor_slices(data: Path) -> Iterator[Row]:
    """The 50 slices with a radiologist's mask.

    No patient is given; slices of the same size are taken to be of one patient, which is the safe side for a split.

    Raises:
        FormatError: No slices, a slice without a mask or the reverse, a file that cannot be read, or sizes that differ.
    """
    pictures = Pictures({kind: Part(data / DOCTOR / kind) for kind in ("Imgs", "GT")}, None)
    for path in sorted(pictures.paths["Imgs"].values(), key=number_of):
        image, mask = read_grey(path), read_grey(pictures.paths["GT"][path.stem])
        check_size(pictures.paths["GT"][path.stem].name, mask, image)
        mask = np.where(mask > 128, 255, 0).astype(np.uint8)
        case = f"doctor_{image.shape[0]}x{image.shape[1]}"
        yield image, mask, np.full_like(image, 255), case, "doctor", path.stem


def png_numbers(data: Path) -> list[int]:
    """File numbers of coronacases_png.

    Raises:
        FormatError: A folder is missing or empty, or not all of them hold the same names.
    """
    pictures = Pictures({kind: Part(data / PNG / kind) for kind in PNG_KINDS}, None)
    return sorted(number_of(path) for path in pictures.paths["ct"].values())


def number_of(path: Path) -> int:
    """The number at the end of a file's name. Raises: FormatError: there is none."""
    found = re.search(r"(?:^|_)(\d+)$", path.stem)
    if found is None:
        raise FormatError(describe(path.name, "a name without a number", "one of the data set's files"))
    return int(found[1])


def check_size(name: str, pixels: Bytes, image: Bytes) -> None:
    """Raises: FormatError: a mask is not of its slice's size."""
    if pixels.shape != image.shape:
        got, expected = "x".join(map(str, pixels.shape)), "x".join(map(str, image.shape))
        raise FormatError(describe(name, f"{got} pixels", f"the {expected} of its slice"))


def png_triple(data: Path, number: int) -> tuple[Bytes, Bytes, Bytes]:
    """(ct, infection, lungs) of one number, (256, 256) uint8 each."""
    ct, infection, lungs = (read_grey(data / PNG / kind / f"{number:04d}.png") for kind in PNG_KINDS)
    for mask in (infection, lungs):
        check_size(f"{number:04d}.png", mask, ct)
    return ct, np.where(infection > 0, 255, 0).astype(np.uint8), np.where(lungs > 0, 255, 0).astype(np.uint8)


def case_of(number: int) -> str | None:
    """Volume that a file number belongs to; unknown borders give None."""
    return next((name for name, case in CASES.items() if case.first <= number <= case.last), None)


def lung_box(lungs: Bytes, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of (..., H, W) lungs, grown by `margin` pixels inside the picture."""
    flat: npt.NDArray[np.bool_] = np.any(lungs.reshape(-1, *lungs.shape[-2:]), axis=0)
    spans = []
    for axis in (1, 0):
        where = np.flatnonzero(flat.any(axis))
        spans.append(slice(max(int(where[0]) - margin, 0), int(where[-1]) + 1 + margin))
    return spans[0], spans[1]


def png_slices(data: Path, margin: int = 12) -> Iterator[Row]:
    """Equalised slices, cropped to the lungs of their volume (the slice's own where the volume is unknown).

    Raises:
        FormatError: As `png_numbers` and `png_triple`, or masks without lungs.
    """
    numbers = png_numbers(data)
    triples = {number: png_triple(data, number) for number in numbers}
    for number in numbers:
        case = case_of(number)
        fellows = [number] if case is None else [n for n in numbers if case_of(n) == case]
        masks = np.stack([triples[n][2] for n in fellows])
        if not masks.any():
            name = case or f"{number:04d}.png"
            raise FormatError(describe(name, f"no lungs in {PNG / 'lungs'}", "a mask with pixels above 0"))
        box = lung_box(masks, margin)
        ct, infection, lungs = (part[box] for part in triples[number])
        yield ct, infection, lungs, case or "radiopaedia_unknown", "png", f"{number:04d}"


def to_window(image: Bytes, case: str, soft: float) -> Bytes:
    """Bring a pseudo-label slice to the window [-1250, 250] HU.

    The radiopaedia volumes have it already. The coronacases volumes hold grey 0 = -1020 HU and soft tissue (45 HU) at
    the grey value `soft`, the position of the highest peak above the lung's.
    """
    if case.startswith("radiopaedia"):
        return image
    hu = -1020.0 + image.astype(np.float32) * (1065.0 / soft)
    return np.asarray(np.clip((hu + 1250.0) / 1500.0, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)


def soft_tissue_grey(images: Sequence[Bytes]) -> float:
    """Grey value of the soft-tissue peak of a coronacases volume: the mode between 60 and 140."""
    counts = sum((np.bincount(image.ravel(), minlength=256) for image in images), np.zeros(256))
    smooth = np.convolve(counts, np.ones(5) / 5.0, "same")
    return float(60 + int(smooth[60:140].argmax()))


def pseudo_files(data: Path, pattern: str) -> list[tuple[int, Path]]:
    """(slice index, path) of the pseudo-label slices of one volume, in order."""
    paths = [p for p in (data / PSEUDO / "Imgs").glob("*.jpg") if pattern in p.name]
    return sorted((number_of(path), path) for path in paths)


def shared_volumes(data: Path) -> dict[str, tuple[list[tuple[int, Path]], list[int]]]:
    """Volume -> its pseudo-label slices, as `pseudo_files`, and its file numbers of coronacases_png.

    Raises:
        FormatError: As `png_numbers`, or a volume has no slice in one of the sets.
    """
    present = png_numbers(data)
    found = {}
    for name, case in CASES.items():
        files = pseudo_files(data, case.pattern)
        if not files:
            raise FormatError(describe(name, f"no slice in {PSEUDO / 'Imgs'}", f"files *{case.pattern}*.jpg"))
        numbers = [n for n in present if case.first <= n <= case.last]
        if not numbers:
            expected = f"files of {case.first:04d}.png to {case.last:04d}.png"
            raise FormatError(describe(name, f"no slice in {PNG}", expected))
        found[name] = files, numbers
    return found


def match_case(
    images: Sequence[Bytes], triples: dict[int, tuple[Bytes, Bytes, Bytes]], rows: int, columns: int
) -> list[Match]:
    """Where every pseudo-label slice of a volume lies among the volume's slices of coronacases_png."""
    numbers = sorted(triples)
    side = GRID // 4
    stack = np.stack([stretch(triples[n][0], side) for n in numbers]).astype(np.float32)
    matches = []
    for image in images:
        # Bone is cut off: equalisation flattens it.
        picture = Image.fromarray(np.minimum(image, 225))
        size = (round(image.shape[1] * side / columns), round(image.shape[0] * side / rows))
        template = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)
        matches.append(locate(template, stack, numbers, 4))
    return matches


def refine(image: Bytes, triple: tuple[Bytes, Bytes, Bytes], coarse: Match, rows: int, columns: int) -> Match:
    """The match again at full grid resolution, within 6 pixels of the coarse place."""
    size = (round(image.shape[1] * GRID / columns), round(image.shape[0] * GRID / rows))
    template = np.asarray(Image.fromarray(np.minimum(image, 225)).resize(size, Image.Resampling.BOX), dtype=np.float32)
    top, left = max(coarse.row - 6, 0), max(coarse.column - 6, 0)
    window = triple[0][top : coarse.row + size[1] + 6, left : coarse.column + size[0] + 6].astype(np.float32)
    if window.shape[0] < size[1] or window.shape[1] < size[0]:
        return coarse
    fine = locate(template, window[None], [coarse.number], 1)
    return Match(fine.score, coarse.number, fine.row + top, fine.column + left)


def aligned_slices(data: Path) -> Iterator[Row]:
    """Pseudo-label slices with the experts' masks in place of the network's (see covfast.train.align).

    Raises:
        FormatError: As `shared_volumes` and `png_triple`, or a volume whose slices match nowhere.
    """
    for name, (files, numbers) in shared_volumes(data).items():
        case = CASES[name]
        raw = [read_grey(path) for _, path in files]
        soft = 1.0 if name.startswith("radiopaedia") else soft_tissue_grey(raw)
        images = [upright(to_window(image, name, soft)) for image in raw]
        triples = {n: png_triple(data, n) for n in numbers}
        matches = match_case(images, triples, case.rows, case.columns)
        offsets = smooth_offsets(name, [index for index, _ in files], matches, least=LEAST_SCORE)
        for (index, path), image, match, offset in zip(files, images, matches, offsets, strict=True):
            found = expert_mask(image, index + offset, match, triples, case.rows, case.columns)
            if found is not None:
                yield image, *found, name, "aligned", path.stem


def expert_mask(
    image: Bytes,
    number: int,
    match: Match,
    triples: dict[int, tuple[Bytes, Bytes, Bytes]],
    rows: int,
    columns: int,
) -> tuple[Bytes, Bytes] | None:
    """(infection, lungs) of a slice that lies at `number` of its volume, on the slice's own grid; None if unsure.

    An odd number lies between two slices of coronacases_png and gets the mean of their masks. Numbers more than two
    beyond the volume's infected slices have no infection; their lungs are unknown.
    """
    lowest, highest = min(triples), max(triples)
    if number < lowest - 2 or number > highest + 2:
        return np.zeros_like(image), np.full_like(image, 255)
    neighbours = [n for n in (number, number - 1, number + 1) if n in triples]
    if not neighbours or match.score < LEAST_SCORE or abs(match.number - number) > 2:
        return None
    chosen = neighbours[:1] if number in triples else neighbours
    place = refine(image, triples[chosen[0]], match, rows, columns)
    if place.score < LEAST_SCORE:
        return None
    masks = []
    for part in (1, 2):
        grid = np.mean([triples[n][part] for n in chosen], axis=0).astype(np.uint8)
        whole = Image.fromarray(grid).resize((columns, rows), Image.Resampling.BILINEAR)
        top, left = round(place.row * rows / GRID), round(place.column * columns / GRID)
        masks.append(np.asarray(whole.crop((left, top, left + image.shape[1], top + image.shape[0])), dtype=np.uint8))
    return masks[0], masks[1]


def read_slices(data: str | os.PathLike[str], cache: str | os.PathLike[str] | None = None) -> Slices:
    """All slices of the three sets, from the cache file where one is given and was made of the same pictures.

    A cache of other pictures, or one that cannot be read, is written anew.

    Raises:
        FormatError: A folder or file is missing or has no fellow, cannot be read, or is of another size than its
            slice; or a volume does not match.
    """
    root = Path(data)
    key = "" if cache is None else content_key(root)
    held = None if cache is None else cached_slices(Path(cache), key)
    if held is not None:
        return held
    for folder in (DOCTOR, PSEUDO, PNG):
        if not (root / folder).is_dir():
            raise FormatError(describe("data", f"no folder {folder}", f"{DOCTOR}, {PSEUDO} and {PNG}"))
    slices = gather([*doctor_slices(root), *aligned_slices(root), *png_slices(root)])
    if cache is not None:
        write_slices(slices, Path(cache), key)
    return slices


def picture_files(folder: Path) -> list[Path]:
    """The pictures under a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def content_key(data: Path) -> str:
    """SHA-256 of what slices are made of: names and contents of the pictures of the three sets, and how."""
    total = hashlib.sha256(f"1 {STORED} {GRID} {LEAST_SCORE}".encode())
    for folder in (DOCTOR, PSEUDO, PNG):
        for path in picture_files(data / folder):
            total.update(f"{path.relative_to(data).as_posix()} {digest(path)}\n".encode())
    return total.hexdigest()


def write_slices(slices: Slices, cache: Path, key: str) -> None:
    """Keep slices for `cached_slices`. Raises: OutputError: as `replace_file`."""
    arrays: dict[str, Any] = {name: np.array(value) for name, value in vars(slices).items()}
    replace_file(cache, lambda file: np.savez(file, key=np.array(key), **arrays))


def cached_slices(cache: Path, key: str) -> Slices | None:
    """The slices of a cache; None where it is not there, damaged, or of another key."""
    try:
        with cache.open("rb") as file, np.load(file) as held:
            if "key" not in held or str(held["key"]) != key:
                return None
            texts = [tuple(str(value) for value in held[name]) for name in ("cases", "kinds", "names")]
            return Slices(held["images"], held["masks"], held["lungs"], *texts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def split_cases(cases: Sequence[str], held_out: Collection[str]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(training, held-out) indices of slices of these cases; no case stands on both sides.

    Raises:
        ValueRangeError: A held-out case is none of the slices', so that nothing would be held out.
    """
    for name in held_out:
        if name not in cases:
            raise ValueRangeError(describe("split.held_out", repr(name), f"one of {sorted(set(cases))}"))
    held = np.array([case in held_out for case in cases])
    return np.flatnonzero(~held), np.flatnonzero(held)
