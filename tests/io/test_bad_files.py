"""Single files that lie, end early or hold something else: typed errors, never a crash, never an endless allocation."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import SUFFIXES, ct, sitk_affine, written

from covfast.errors import CovfastError, FormatError, GeometryError
from covfast.io import read
from covfast.volume import Geometry

# Headers that lie. Offsets: nifti1.h.


def patched(path: Path, offset: int, form: str, *values: float) -> Path:
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("value", [0.0, -0.8, float("nan"), float("inf")])
def test_nifti_spacing_that_is_no_length_is_a_geometry_error(tmp_path: Path, value: float) -> None:
    with pytest.raises(GeometryError, match=r"x\.nii: got spacing"):
        read(patched(written(tmp_path / "x.nii"), 80, "<f", value))


@pytest.mark.parametrize(
    ("offset", "form", "values", "error"),
    [
        (40, "<5h", (4, 7, 6, 5, 3), FormatError),  # a time series
        (40, "<h", (99,), FormatError),
        (42, "<h", (-3,), FormatError),
        (42, "<3h", (30000, 30000, 30000), FormatError),  # 54 TB
        (40, "<h", (2,), GeometryError),  # one slice
        (42, "<3h", (1, 1, 1), GeometryError),
        (70, "<h", (128,), FormatError),  # RGB
        (70, "<h", (9999,), FormatError),
        (108, "<f", (1e9,), FormatError),
        (108, "<f", (float("nan"),), FormatError),
        (108, "<f", (10.0,), FormatError),
        (280, "<4f", (0, 0, 0, 0), GeometryError),  # a zero row of the sform
        (280, "<f", (float("nan"),), GeometryError),
        (344, "<4s", (b"ni1\0",), FormatError),  # header of a pair
        (0, "<i", (7,), FormatError),
    ],
)
def test_nifti_header_that_lies_is_a_typed_error(
    tmp_path: Path, offset: int, form: str, values: tuple[Any, ...], error: type[CovfastError]
) -> None:
    with pytest.raises(error, match=r"x\.nii"):
        read(patched(written(tmp_path / "x.nii"), offset, form, *values))


def test_nifti_rescale_is_applied_and_nan_means_none(tmp_path: Path) -> None:
    volume = read(patched(written(tmp_path / "x.nii"), 112, "<2f", 0.5, -10.0))
    np.testing.assert_allclose(volume.hu, ct() * 0.5 - 10.0)
    volume = read(patched(written(tmp_path / "y.nii"), 112, "<2f", float("nan"), 0.0))
    np.testing.assert_array_equal(volume.hu, ct())


def test_nifti_without_orientation_is_declared(tmp_path: Path) -> None:
    volume = read(patched(written(tmp_path / "x.nii"), 252, "<2h", 0, 0))
    assert [note["code"] for note in volume.notes] == ["ORIENTATION_ASSUMED"]
    assert volume.geometry.orientation == "SPL"


def test_nifti_pixdim_that_disagrees_with_sform_is_declared(tmp_path: Path) -> None:
    volume = read(patched(written(tmp_path / "x.nii"), 80, "<f", 1.6))
    assert [note["code"] for note in volume.notes] == ["PIXDIM_DISAGREES"]
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.7, 0.8))


def test_big_endian_nifti_reads(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(ct().T.astype(">i2"), np.eye(4), header), tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:4] == struct.pack(">i", 348)
    np.testing.assert_array_equal(read(tmp_path / "x.nii").hu, ct())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95])
def test_truncated_file_is_a_format_error(tmp_path: Path, suffix: str, share: float) -> None:
    path = written(tmp_path / f"x{suffix}", ct((12, 40, 40)))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(FormatError, match=f"x{suffix}"):
        read(path)


def test_gzip_with_a_broken_checksum_is_a_format_error(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii.gz")
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[400] ^= 1
    body = gzip.compress(bytes(raw))
    path.write_bytes(body[:-8] + bytes(8))
    with pytest.raises(FormatError, match=r"x\.nii\.gz"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"(0.8,0.0,0.0)", b"(0,0,0)", GeometryError),
        (b"(0.8,0.0,0.0)", b"(nan,0.0,0.0)", GeometryError),
        (b"(0.8,0.0,0.0)", b"(a,0.0,0.0)", FormatError),
        (b"sizes: 7 6 5", b"sizes: 7000 6000 5000", FormatError),
        (b"sizes: 7 6 5", b"sizes: 7 6", FormatError),
        (b"sizes: 7 6 5", b"sizes: x", FormatError),
        (b"sizes: 7 6 5", b"sizes: -7 6 5", FormatError),
        (b"type: int16", b"type: block", FormatError),
        (b"encoding: gzip", b"encoding: hex", FormatError),
        (b"kinds: domain domain domain", b"kinds: vector domain domain", FormatError),
        (b"NRRD0004", b"NOPE0004", FormatError),
        (b"endian: little\n", b"endian: little\nbyte skip: -1\n", FormatError),
        (b"endian: little\n", b"endian: little\ndata file: LIST\n", FormatError),
        (b"endian: little\n", b"endian: little\ndata file: nowhere.raw\n", FormatError),
    ],
)
def test_nrrd_header_that_lies_is_a_typed_error(
    tmp_path: Path, old: bytes, new: bytes, error: type[CovfastError]
) -> None:
    path = written(tmp_path / "x.nrrd")
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(error):
        read(path)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior"])
def test_nrrd_space_agrees_with_sitk(tmp_path: Path, space: str) -> None:
    path = written(tmp_path / "x.nrrd", geometry=Geometry.from_spacing((5, 6, 7), (2, 1, 1), origin_mm=(3, 4, 5)))
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    np.testing.assert_allclose(read(path).geometry.affine, sitk_affine(path)[1], atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"ElementSpacing = 0.8", b"ElementSpacing = 0", GeometryError),
        (b"ElementSpacing = 0.8", b"ElementSpacing = -1", GeometryError),
        (b"ElementSpacing = 0.8", b"ElementSpacing = nan", GeometryError),
        (b"ElementSpacing = 0.8", b"ElementSpacing = 1", FormatError),
        (b"NDims = 3", b"NDims = 99", FormatError),  # SimpleITK 2.5.7 corrupts its heap here
        (b"NDims = 3", b"NDims = x", FormatError),
        (b"DimSize = 7 6 5", b"DimSize = 30000 20000 30000", FormatError),
        (b"DimSize = 7 6 5", b"DimSize = 1 1 1", GeometryError),
        (b"ElementType = MET_SHORT", b"ElementType = MET_FOO", FormatError),
        (b"ElementType = MET_SHORT", b"ElementNumberOfChannels = 3\nElementType = MET_SHORT", FormatError),
        (b"TransformMatrix = 1.0 0.0 0.0", b"TransformMatrix = 0 0 0", GeometryError),
        (b"TransformMatrix = 1.0 0.0 0.0", b"TransformMatrix = 1.0 0.0", FormatError),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", FormatError),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = nowhere.raw", FormatError),
        (b"BinaryData = True", b"BinaryData = False", FormatError),
    ],
)
def test_metaimage_header_that_lies_is_a_typed_error(
    tmp_path: Path, old: bytes, new: bytes, error: type[CovfastError]
) -> None:
    path = written(tmp_path / "x.mha")
    raw = path.read_bytes()
    if new == b"ElementSpacing = 1":  # two numbers where three belong
        old, new = b"ElementSpacing = 0.8 0.7 2.5", b"ElementSpacing = 0.8 0.7"
    assert old in raw
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(error):
        read(path)


def test_compressed_file_that_inflates_without_end_stops(tmp_path: Path) -> None:
    """A bomb: 5 x 6 x 7 voxels are promised, 100 MB are inside; only what was promised is taken."""
    path = written(tmp_path / "x.mha")
    raw = path.read_bytes()
    head = raw[: raw.index(b"LOCAL\n") + 6]
    path.write_bytes(head + zlib.compress(ct().tobytes() + bytes(100_000_000), 1))
    np.testing.assert_array_equal(read(path).hu, ct())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_a_format_error(tmp_path: Path, suffix: str, value: float) -> None:
    hu = ct().astype(np.float32)
    hu[2, 3, 4] = value
    with pytest.raises(FormatError, match="NaN or infinite"):
        read(written(tmp_path / f"x{suffix}", hu))


def test_gzip_of_several_members_and_zero_padding_reads(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii.gz", ct((12, 40, 40)))
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(b"".join(gzip.compress(raw[i : i + 5000]) for i in range(0, len(raw), 5000)) + bytes(512))
    np.testing.assert_array_equal(read(path).hu, ct((12, 40, 40)))


def test_random_bytes_never_escape_as_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for suffix in SUFFIXES:
        raw = bytearray(written(tmp_path / f"x{suffix}").read_bytes())
        for attempt in range(150):
            broken = bytearray(raw)
            for place in rng.integers(0, min(len(raw), 400), 3):
                broken[place] = rng.integers(0, 256)
            path = tmp_path / f"b{attempt}{suffix}"
            path.write_bytes(broken)
            try:
                read(path)
            except CovfastError:
                continue
            finally:
                path.unlink()


def test_pictures_are_refused_by_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"photo{suffix}"
        image.new("RGB", (32, 32), (200, 10, 10)).save(path)
        with pytest.raises(FormatError, match="picture"):
            read(path)


def test_path_that_is_not_there_or_holds_nothing_is_a_format_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "void.dcm").write_bytes(b"")
    for path in ("absent", "absent.nii.gz", "empty", "notes.txt", "void.dcm", "."):
        with pytest.raises(FormatError):
            read(tmp_path / path)
    with pytest.raises(FormatError):
        read([])


def test_folder_of_images_says_how_to_read_them(tmp_path: Path) -> None:
    written(tmp_path / "a.nii.gz")
    with pytest.raises(FormatError, match="one by one"):
        read(tmp_path)


def test_messages_never_hold_folders(tmp_path: Path) -> None:
    folder = tmp_path / "DOE_JOHN"
    folder.mkdir()
    for name in ("a.nii", "b.nrrd", "c.mha", "d.dcm"):
        (folder / name).write_bytes(b"broken")
        with pytest.raises(FormatError) as caught:
            read(folder / name)
        assert name in str(caught.value)
        assert "DOE" not in str(caught.value)
