"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from covfast.errors import OutputError, ValueRangeError
from covfast.io import read_labels, replace_file, write
from covfast.volume import Geometry, Segmentation


def labels(value: int = 1) -> Segmentation:
    return Segmentation(np.full((3, 4, 5), value, np.uint8), Geometry.from_spacing((3, 4, 5), (1, 1, 1)))


def test_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "l.nii.gz"
    write(path, labels(1))
    write(path, labels(2))
    assert (read_labels(path).labels == 2).all()
    assert [item.name for item in tmp_path.iterdir()] == ["l.nii.gz"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_equal_images_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}{suffix}", labels())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_array_of_any_memory_order_is_written_right(tmp_path: Path, suffix: str) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(5, 4, 3).T
    write(tmp_path / f"x{suffix}", Segmentation(array, Geometry.from_spacing(array.shape, (1, 1, 1))))
    np.testing.assert_array_equal(read_labels(tmp_path / f"x{suffix}").labels, array)


def test_failure_keeps_the_old_file_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "l.nii.gz"
    write(path, labels(1))
    before = path.read_bytes()

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        replace_file(path, fail)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["l.nii.gz"]


def test_failure_of_another_kind_leaves_nothing_either(tmp_path: Path) -> None:
    def fail(file: IO[bytes]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "x.nii", fail)
    assert not list(tmp_path.iterdir())


def test_folder_that_is_not_there_or_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent" / "l.nii.gz", tmp_path / "file" / "l.nii.gz"):
        with pytest.raises(OutputError, match=r"l\.nii\.gz"):
            write(path, labels())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            write(tmp_path / "l.nii.gz", labels())
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["l.dcm", "l", "l.png", "l.nhdr"])
def test_unknown_suffix_is_a_value_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueRangeError, match="nii"):
        write(tmp_path / name, labels())
    assert not list(tmp_path.iterdir())
