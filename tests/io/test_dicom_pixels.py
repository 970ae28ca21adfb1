"""Stored values to HU: signs, rescale, padding, broken pixels. Every file of a series is edited in the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicom_series as series
import numpy as np
import pytest
from dicom_files import truth_hu, write_enhanced, write_slices

from covfast.errors import CovfastError, FormatError, GeometryError
from covfast.io import inspect, read
from covfast.io.dicom.pixels import ordered

pydicom = pytest.importorskip("pydicom")

PADDING_TAG, PADDING_LIMIT_TAG = 0x00280120, 0x00280121


def edited(folder: Path, edit: Callable[[Any], None], count: int | None = None) -> Path:
    """The plain series with `edit` applied to the data set of its first `count` files."""
    write_slices(folder, series.plain())
    for path in sorted(folder.iterdir())[:count]:
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)
    return folder


def stored(dataset: Any) -> Any:
    return np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns).copy()


def test_unsigned_12_bit_values_read_exactly(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.PixelData = stored(dataset).astype("<u2").tobytes()
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11

    np.testing.assert_array_equal(read(edited(tmp_path, edit)).hu, truth_hu())


def test_unsigned_values_without_intercept_are_refused_though_their_padding_is_air(tmp_path: Path) -> None:
    """An intercept of 0: the decoder's type is unsigned, and air that stands for padding makes no HU of the rest."""

    def edit(dataset: Any) -> None:
        dataset.PixelData = stored(dataset).astype("<u2").tobytes()
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, 0
        dataset.add_new(PADDING_TAG, "US", 24)

    with pytest.raises(FormatError, match="none negative"):
        read(edited(tmp_path, edit))


def test_fractional_rescale_stays_float32(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, -1536.25

    volume = read(edited(tmp_path, edit))
    assert volume.hu.dtype == np.float32
    np.testing.assert_allclose(volume.hu, (truth_hu() + 1024.0) * 1.5 - 1536.25, atol=1e-3)


def test_declared_padding_among_tissue_never_hollows_out_the_body(tmp_path: Path) -> None:
    """PixelPaddingValue names the stored value of 40 HU, which is the whole body wall."""
    volume = read(edited(tmp_path, lambda dataset: dataset.add_new(PADDING_TAG, "SS", 1064)))
    np.testing.assert_array_equal(volume.hu, truth_hu())
    assert volume.notes == ()


def test_declared_padding_among_tissue_is_air_outside_the_field_of_view(tmp_path: Path) -> None:
    """A scanner that pads the corners with the stored value of water."""

    def edit(dataset: Any) -> None:
        pixels = stored(dataset)
        pixels[series.outside_field()] = 1024
        dataset.PixelData = pixels.tobytes()
        dataset.add_new(PADDING_TAG, "SS", 1024)

    volume = read(edited(tmp_path, edit))
    np.testing.assert_array_equal(volume.hu, series.padded_truth())
    assert volume.notes[0]["value"] == 24 * int(series.outside_field().sum())


def test_padding_range_below_every_tissue_is_air(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        pixels = stored(dataset)
        pixels[series.outside_field()] = np.random.default_rng(0).integers(-100, -5, int(series.outside_field().sum()))
        dataset.PixelData = pixels.tobytes()
        dataset.add_new(PADDING_TAG, "SS", -100)
        dataset.add_new(PADDING_LIMIT_TAG, "SS", -5)

    np.testing.assert_array_equal(read(edited(tmp_path, edit)).hu, series.padded_truth())


def test_padding_value_written_with_the_other_sign_is_understood(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        pixels = stored(dataset)
        pixels[series.outside_field()] = -500  # -1524 HU: above what counts as padding undeclared
        dataset.PixelData = pixels.tobytes()
        dataset.add_new(PADDING_TAG, "US", 65536 - 500)

    np.testing.assert_array_equal(read(edited(tmp_path, edit)).hu, series.padded_truth())


def test_padding_that_already_is_air_is_no_change(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        pixels = stored(dataset)
        pixels[series.outside_field()] = 0
        dataset.PixelData = pixels.tobytes()
        dataset.add_new(PADDING_TAG, "SS", 0)

    volume = read(edited(tmp_path, edit))
    np.testing.assert_array_equal(volume.hu, series.padded_truth())
    assert volume.notes == ()


def test_values_without_rescale_name_the_way_out(tmp_path: Path) -> None:
    def edit(dataset: Any) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept

    folder = edited(tmp_path, edit)
    with pytest.raises(FormatError, match="--input-window -1024 3071"):
        read(folder)
    np.testing.assert_allclose(read(folder, input_window=(-1024.0, 3071.0)).hu, truth_hu(), atol=1e-3)


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (lambda d: setattr(d, "PhotometricInterpretation", "MONOCHROME1"), FormatError, "MONOCHROME1"),
        (lambda d: setattr(d, "PhotometricInterpretation", "RGB"), FormatError, "colour"),
        (lambda d: setattr(d, "RescaleType", "Z_EFF"), FormatError, "Z_EFF"),
        (lambda d: setattr(d, "RescaleSlope", 0), FormatError, "RescaleSlope of 0"),
        (lambda d: setattr(d, "Rows", 60000), FormatError, "60000"),
        (lambda d: setattr(d, "Rows", 1), FormatError, "rows"),
        (lambda d: setattr(d, "PixelSpacing", [0, 0]), GeometryError, "NO_GEOMETRY"),
        (lambda d: setattr(d, "PixelSpacing", [-1, 1]), GeometryError, "NO_GEOMETRY"),
        (lambda d: delattr(d, "PixelSpacing"), GeometryError, "NO_GEOMETRY"),
        (lambda d: delattr(d, "ImagePositionPatient"), GeometryError, "NO_GEOMETRY"),
        (lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), GeometryError, "NO_GEOMETRY"),
        (lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0]), FormatError, "ImageOrientationPatient"),
        (lambda d: setattr(d, "Modality", ""), FormatError, "not stated"),
        (lambda d: delattr(d, "PixelData"), FormatError, "cannot be decoded"),
    ],
)
def test_header_that_lies_is_a_typed_error(
    tmp_path: Path, edit: Callable[[Any], None], error: type[CovfastError], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(edited(tmp_path, edit), on_geometry="repair")


@pytest.mark.parametrize("share", [0.0, 0.002, 0.01, 0.5, 0.99])
def test_truncated_slice_is_a_format_error_that_names_it(tmp_path: Path, share: float) -> None:
    write_slices(tmp_path, series.plain())
    path = tmp_path / "IM0007.dcm"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(FormatError, match=r"IM0007\.dcm"):
        read(tmp_path)


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"],
)
def test_truncated_compressed_slice_is_a_format_error(tmp_path: Path, syntax: str) -> None:
    pytest.importorskip("gdcm")
    write_slices(tmp_path, series.plain()[:3])
    series.transcode(tmp_path, syntax)
    path = sorted(tmp_path.iterdir())[1]
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * 0.7)])
    with pytest.raises(FormatError, match=path.name):
        read(tmp_path)


def test_unknown_transfer_syntax_is_a_format_error(tmp_path: Path) -> None:
    write_slices(tmp_path, series.plain()[:3])
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0"))
    with pytest.raises(FormatError):
        read(tmp_path)


def test_random_bytes_never_escape_as_anything_else(tmp_path: Path) -> None:
    write_slices(tmp_path / "s", series.plain()[:3])
    path = sorted((tmp_path / "s").iterdir())[0]
    raw = path.read_bytes()
    header = raw.index(b"\xe0\x7f\x10\x00")
    rng = np.random.default_rng(6)
    messages = []
    for _ in range(200):
        broken = bytearray(raw)
        for place in rng.integers(132, header, 4):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        for reader in (read, inspect):
            try:
                reader(tmp_path / "s")
            except CovfastError as error:
                messages.append(str(error))
    assert messages
    assert not any(str(tmp_path) in message for message in messages)


def test_multi_frame_file_that_is_truncated_is_a_format_error(tmp_path: Path) -> None:
    write_enhanced(tmp_path, series.plain())
    path = tmp_path / "IM0000.dcm"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * 0.8)])
    with pytest.raises(FormatError, match=r"IM0000\.dcm"):
        read(tmp_path)


def test_multi_frame_file_with_too_few_groups_is_a_format_error(tmp_path: Path) -> None:
    write_enhanced(tmp_path, series.plain())
    path = tmp_path / "IM0000.dcm"
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[5]
    dataset.save_as(path)
    with pytest.raises(FormatError, match="23 functional groups for 24 frames"):
        read(tmp_path)


def test_jpeg_ls_of_an_independent_encoder_decodes_to_the_source(tmp_path: Path) -> None:
    pytest.importorskip("jpeg_ls", reason="pyjpegls: an encoder that shares no code with the decoder")

    def edit(dataset: Any) -> None:
        dataset.compress("1.2.840.10008.1.2.4.80")

    np.testing.assert_array_equal(read(edited(tmp_path, edit)).hu, truth_hu())


def test_rle_of_an_independent_encoder_decodes_to_the_source(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read(edited(tmp_path, lambda dataset: dataset.compress("1.2.840.10008.1.2.5"))).hu, truth_hu()
    )


def test_results_keep_the_order_of_their_items() -> None:
    import time
    from concurrent.futures import ThreadPoolExecutor

    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item

    with ThreadPoolExecutor(3) as pool:
        assert list(ordered(pool, work, range(40))) == list(range(40))
