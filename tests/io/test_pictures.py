"""8-bit pictures: every honest kind of PNG, and every other a FormatError that names the file alone."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covfast.errors import FormatError
from covfast.io import is_picture, read_drawing, read_picture

GREY = np.random.default_rng(0).integers(0, 256, (7, 9)).astype(np.uint8)


def saved(folder: Path, image: Image.Image) -> Path:
    path = folder / "x.png"
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_read_picture_grey_values_in_any_mode(tmp_path: Path, mode: str) -> None:
    found = read_picture(saved(tmp_path, Image.fromarray(GREY).convert(mode)))
    np.testing.assert_array_equal(found, GREY)
    assert found.flags.writeable


def test_read_picture_one_bit_is_0_and_255(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path, Image.fromarray(GREY > 99)))
    np.testing.assert_array_equal(found, np.where(GREY > 99, 255, 0))


def test_read_picture_of_a_palette_gives_its_indices(tmp_path: Path) -> None:
    labels = GREY % 3
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    np.testing.assert_array_equal(read_picture(saved(tmp_path, image)), labels)


def bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = (60000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def test_read_picture_refuses_what_is_no_8_bit_grey_png(tmp_path: Path) -> None:
    saved(tmp_path, Image.fromarray(GREY))
    whole = (tmp_path / "x.png").read_bytes()
    folder = tmp_path / "Jane Doe"
    folder.mkdir()
    path = folder / "x.png"
    colored = np.stack([GREY, GREY, 255 - GREY], axis=2)
    Image.fromarray(colored).save(folder / "color.png")
    Image.fromarray(GREY.astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(GREY).save(folder / "x.jpg")
    wrong = [b"", b"nothing", whole[: len(whole) // 2], whole[:40] + b"\0" + whole[41:], bomb()]
    wrong += [(folder / name).read_bytes() for name in ("color.png", "deep.png", "x.jpg")]
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"^x\.png: got") as caught:
            read_picture(path)
        assert "Jane" not in str(caught.value)
    with pytest.raises(FormatError):
        read_picture(folder / "absent.png")


def test_read_drawing_takes_what_can_be_looked_at(tmp_path: Path) -> None:
    for mode in ("L", "LA", "RGB", "CMYK"):
        path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
        Image.fromarray(GREY).convert(mode).save(path)
        found = read_drawing(path)
        assert (found.shape, found.dtype) == (GREY.shape, np.uint8)
        assert np.abs(found.astype(int) - GREY).max() < (60 if mode == "CMYK" else 2)
    Image.fromarray(GREY.astype(np.uint16) + 1000).save(tmp_path / "deep.png")
    assert (read_drawing(tmp_path / "deep.png").min(), read_drawing(tmp_path / "deep.png").max()) == (0, 255)
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(FormatError, match=r"^x\.jpg: got"):
        read_drawing(tmp_path / "x.jpg")


def test_is_picture_goes_by_the_name() -> None:
    assert is_picture(Path("a/b.PNG"))
    assert not is_picture(Path("a.png/b.nii.gz"))
