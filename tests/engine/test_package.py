"""Model packages: layout, checksum, and a corpus of broken files that end in a typed error."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import small_graph, small_tensors, write_package

import covfast
from covfast import CovfastError, DTypeError, FormatError, OutputError, ValueRangeError, WeightsError, _core, package


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """(header, data) of a package."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def assemble(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


# ---- what is written ----


def test_package_tensors_come_back(small: Path) -> None:
    read = package.read_tensors(small)
    assert set(read) == set(small_tensors())
    for name, tensor in small_tensors().items():
        np.testing.assert_array_equal(read[name], tensor)


def test_package_every_tensor_is_aligned_without_holes(small: Path) -> None:
    header, data = parts(small)
    assert (small.stat().st_size - len(data)) % 64 == 0
    ranges = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(data)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert all(header[name]["data_offsets"][0] % 64 == 0 for name in small_tensors())


def test_package_is_read_by_safetensors(small: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    read = safetensors.load_file(small)
    np.testing.assert_array_equal(read["wa"], small_tensors()["wa"])


def test_package_same_content_gives_same_bytes(tmp_path: Path) -> None:
    one = write_package(tmp_path / "one.covfast", small_graph(), small_tensors())
    two = write_package(tmp_path / "two.covfast", small_graph(), small_tensors())
    assert one.read_bytes() == two.read_bytes()


def test_package_metadata_and_summary_say_what_it_is(small: Path) -> None:
    metadata = package.read_metadata(small)
    assert metadata["name"] == "small"
    assert metadata["labels"] == {"0": "background", "1": "lesion"}
    assert metadata["checksum"] == package.verify(small)
    text = package.summary(small)
    assert "small: 168 parameters, 8 nodes" in text
    assert "Apache-2.0" in text
    assert "1 lesion" in text


def test_package_writing_fails_whole(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="path: got m"):
        write_package(tmp_path / "absent" / "m.covfast", small_graph(), small_tensors())
    with pytest.raises(DTypeError, match=r"tensors\['w'\]: got float64"):
        write_package(tmp_path / "m.covfast", small_graph(), {"w": np.zeros(3)})
    with pytest.raises(ValueRangeError, match="metadata: got"):
        write_package(tmp_path / "m.covfast", {**small_graph(), "x": float("nan")}, small_tensors())
    with pytest.raises(ValueRangeError, match="two underscores"):
        write_package(tmp_path / "m.covfast", small_graph(), {"__pad__.0": np.zeros(3, np.float32)})
    assert os.listdir(tmp_path) == []


# ---- what is refused ----


def refused(path: Path) -> list[type[CovfastError]]:
    """The error of each reader; any other outcome fails the test."""
    found = []
    for read in (package.summary, covfast.load, package.verify):
        with pytest.raises((FormatError, WeightsError)) as caught:
            read(path)
        found.append(caught.type)
        assert path.name in str(caught.value) or caught.type is WeightsError
        assert str(path.parent) not in str(caught.value)
    return found


def test_package_cut_anywhere_raises(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    _, data = parts(small)
    begin = len(whole) - len(data)
    cuts = [
        *range(0, 80),
        *range(80, begin, 37),
        begin - 1,
        begin,
        begin + 1,
        *range(begin, len(whole), 61),
        len(whole) - 1,
    ]
    broken = tmp_path / "cut.covfast"
    for cut in cuts:
        broken.write_bytes(whole[:cut])
        assert refused(broken)[0] is FormatError, cut


def test_package_with_bytes_appended_raises(small: Path) -> None:
    small.write_bytes(small.read_bytes() + b"\0")
    assert refused(small)[0] is FormatError


@pytest.mark.parametrize("seed", range(4))
def test_package_with_a_flipped_bit_is_never_loaded(small: Path, tmp_path: Path, seed: int) -> None:
    whole = small.read_bytes()
    rng = np.random.default_rng(seed)
    broken = tmp_path / "flipped.covfast"
    for at in rng.choice(len(whole), 150, replace=False):
        changed = bytearray(whole)
        changed[at] ^= 1 << int(rng.integers(8))
        broken.write_bytes(changed)
        with contextlib.suppress(FormatError):
            _core.open_network(os.fsencode(broken))  # without checksum: an error or a network, never a crash
        try:
            intact = package.verify(broken) == package.verify(small)
        except (FormatError, WeightsError):
            continue
        assert intact  # white space of the header
        np.testing.assert_array_equal(package.read_tensors(broken)["wa"], small_tensors()["wa"])


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**32 + 7, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 8])
def test_package_with_an_absurd_header_length_raises(small: Path, length: int) -> None:
    small.write_bytes(struct.pack("<Q", length) + small.read_bytes()[8:])
    assert refused(small)[0] is FormatError


def change(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one place of the header."""

    def apply(header: dict[str, Any]) -> None:
        place = header
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return apply


HEADERS = {
    "no metadata": change("__metadata__", value=None),
    "metadata is a list": change("__metadata__", value=[1]),
    "another format": change("__metadata__", "format", value="pt"),
    "format is a number": change("__metadata__", "format", value=3),
    "no covfast": change("__metadata__", "covfast", value=None),
    "covfast is no JSON": change("__metadata__", "covfast", value="{"),
    "covfast is a number": change("__metadata__", "covfast", value="7"),
    "covfast nested too deep": change("__metadata__", "covfast", value="[" * 1000),
    "entry is a list": change("wa", value=[1, 2]),
    "no dtype": change("wa", "dtype", value=None),
    "unknown dtype": change("wa", "dtype", value="F33"),
    "another dtype": change("wa", "dtype", value="I32"),
    "shape of texts": change("wa", "shape", value=["4"]),
    "negative shape": change("wa", "shape", value=[-4, 3, 3, 3]),
    "fractional shape": change("wa", "shape", value=[4.5, 3, 3, 3]),
    "shape that overflows": change("wa", "shape", value=[2**40, 2**40, 2**40]),
    "shape beyond 64 bits": change("wa", "shape", value=[2**70]),
    "shape of another size": change("wa", "shape", value=[4, 3, 3, 2]),
    "many axes": change("wa", "shape", value=[1] * 9),
    "offsets reversed": change("wa", "data_offsets", value=[432, 0]),
    "offsets negative": change("wa", "data_offsets", value=[-432, 0]),
    "offsets beyond the file": change("wa", "data_offsets", value=[2**30, 2**30 + 432]),
    "offsets beyond 64 bits": change("wa", "data_offsets", value=[2**64, 2**64 + 432]),
    "three offsets": change("wa", "data_offsets", value=[0, 432, 432]),
    "overlap": change("wg", "data_offsets", value=[0, 64]),
    "a hole": change("__pad__.0", value=None),
    "a tensor too many": change("more", value={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}),
}


@pytest.mark.parametrize("case", HEADERS)
def test_package_with_a_broken_header_raises(small: Path, case: str) -> None:
    header, data = parts(small)
    HEADERS[case](header)
    assert refused(assemble(small, header, data))[0] is FormatError


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 5000, b'{"a": 1, "a": 2}'])
def test_package_with_another_header_raises(small: Path, text: bytes) -> None:
    assert refused(assemble(small, text, parts(small)[1]))[0] is FormatError


def test_package_of_a_newer_version_raises(small: Path) -> None:
    header, data = parts(small)
    metadata = json.loads(header["__metadata__"]["covfast"])
    metadata["format_version"] = 2
    header["__metadata__"]["covfast"] = json.dumps(metadata)
    with pytest.raises(FormatError, match="format_version"):
        covfast.load(assemble(small, header, data))


def test_package_changed_after_writing_fails_its_checksum(small: Path) -> None:
    header, data = parts(small)
    metadata = json.loads(header["__metadata__"]["covfast"])
    metadata["licence"] = "MIT"
    header["__metadata__"]["covfast"] = json.dumps(metadata)
    with pytest.raises(WeightsError, match="the file is damaged"):
        covfast.load(assemble(small, header, data))


@pytest.mark.parametrize("kind", ["absent", "empty", "folder", "pipe", "text"])
def test_package_that_is_no_file_of_weights_raises(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "case-of-Jane-Doe" / "m.covfast"
    path.parent.mkdir()
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("a letter" * 100)
    with pytest.raises(FormatError, match=r"m\.covfast") as caught:
        _core.open_network(os.fsencode(path))
    assert "Jane" not in str(caught.value)
    if kind != "pipe":  # opening a pipe for reading waits for its writer, here as everywhere in Python
        with pytest.raises(FormatError, match=r"m\.covfast"):
            package.read_metadata(path)
