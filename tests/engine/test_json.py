"""The JSON reader of the engine: what it prints is what Python reads; broken texts end in FormatError."""

from __future__ import annotations

import json

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
    "[0, -0, 1e308, 9223372036854775807, -9223372036854775808, 1234567890123456789012e-3]",
    "[" * 64 + "]" * 64,
]


@pytest.mark.parametrize("text", VALUES)
def test_json_valid_text_is_read_as_python_reads_it(text: str) -> None:
    assert json.loads(_core.reprint_json(text.encode())) == json.loads(text)


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
def test_json_broken_text_raises(text: str) -> None:
    with pytest.raises(FormatError, match=r"JSON: got .*, expected"):
        _core.reprint_json(text.encode())


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]
)
def test_json_text_that_is_no_utf8_raises(data: bytes) -> None:
    with pytest.raises(FormatError, match="expected UTF-8"):
        _core.reprint_json(b'"' + data + b'"')


def test_json_key_given_twice_raises() -> None:
    with pytest.raises(FormatError, match="expected each key once"):
        _core.reprint_json(b'{"a": 1, "a": 2}')


def test_json_every_cut_and_every_changed_byte_of_a_text_ends_well() -> None:
    text = '{"a": [1, 2.5, "b\\u00e9", null], "c": {"d": true}}'
    for at in range(len(text)):
        with pytest.raises(FormatError):
            _core.reprint_json(text[:at].encode())
        for replacement in '"\\{}[],:0e':
            try:
                _core.reprint_json((text[:at] + replacement + text[at + 1 :]).encode())
            except FormatError as error:
                assert "JSON: got" in str(error)  # noqa: PT017 - either a value or this error
