"""The JSON reader of the engine, as the header of a package: it reads what Python reads, or ends in FormatError."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import pytest

from covfast import FormatError, _core

VALUES = [
    "null",
    "true",
    "[]",
    "{}",
    ' [ 1 , -2.5e-3 , "a" , { "b" : [ false ] } ] ',
    r'"\u00e9\ud83d\ude00\n\t\"\\\/"',
    '"é😀"',
    '{"": 1, "a": {"": 2}}',
    "[0, -0, 1e308, 9223372036854775807, -9223372036854775808]",
    "1234567890123456789012e-3",
    "[" * 28 + "]" * 28,
]


def refusal(folder: Path, text: bytes) -> str:
    """What the engine says of a package whose header is this text; none of the texts here is a header."""
    text += b" " * (-(len(text) + 8) % 64)
    path = folder / "m.covfast"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(FormatError) as caught:
        _core.open_network(os.fsencode(path))
    return str(caught.value)


@pytest.mark.parametrize("text", VALUES)
def test_json_valid_text_is_read_as_python_reads_it(tmp_path: Path, text: str) -> None:
    quoted = re.fullmatch(r"m\.covfast: header: got (.*), expected an object", refusal(tmp_path, f"[{text}]".encode()))
    assert quoted is not None
    assert json.loads(quoted[1]) == [json.loads(text)]


def test_json_nesting_is_bounded(tmp_path: Path) -> None:
    assert "header: got [[[" in refusal(tmp_path, b"[" * 65 + b"]" * 65)
    assert "expected nesting of at most 64" in refusal(tmp_path, b"[" * 66 + b"]" * 66)


BROKEN = [
    "",
    " ",
    "[",
    "]",
    "[1,]",
    "[1 2]",
    "{",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":1 "b":2}',
    "{1:2}",
    '"a',
    '"\\x"',
    '"\\u12"',
    '"\\ud800"',
    '"\\ud800\\u0041"',
    '"\\udc00"',
    '"\n"',
    "tru",
    "nul",
    "01",
    "1.",
    "1.e5",
    "-0.E1",
    ".5",
    "+1",
    "-",
    "1e",
    "1e999",
    "0x10",
    "NaN",
    "Infinity",
    "1 1",
    "[1]]",
    "'a'",
    "\x00",
    "[" * 66 + "]" * 66,
    "[" * 100_000,
    '{"a":' * 100_000,
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_json_broken_text_raises(tmp_path: Path, text: str) -> None:
    assert re.match(r"m\.covfast: JSON: got .*, expected", refusal(tmp_path, text.encode()))


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]
)
def test_json_text_that_is_no_utf8_raises(tmp_path: Path, data: bytes) -> None:
    assert "expected UTF-8" in refusal(tmp_path, b'"' + data + b'"')


def test_json_key_given_twice_raises(tmp_path: Path) -> None:
    assert "expected each key once" in refusal(tmp_path, b'{"a": 1, "a": 2}')


def test_json_every_cut_and_every_changed_byte_of_a_text_ends_well(tmp_path: Path) -> None:
    text = '[{"a": [1, 2.5, "b\\u00e9", null], "c": {"d": true}}]'
    for at in range(len(text)):
        assert "JSON: got" in refusal(tmp_path, text[:at].encode())
        for replacement in '"\\{}[],:0e':
            said = refusal(tmp_path, (text[:at] + replacement + text[at + 1 :]).encode())
            assert "JSON: got" in said or "header: got" in said
