"""A minute of broken model packages: each opens or ends in a typed error, never in a crash (.ci/full runs it)."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from covfast import CovfastError, _core

SECONDS = 60.0
NUMBERS = (b"0", b"-1", b"1", b"3", b"64", b"65535", b"2147483648", b"9223372036854775807", b"1e308", b"null", b"[]")


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with some bytes flipped, a number of its header replaced, or its end cut off."""
    kind = rng.integers(4)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        numbers = list(re.finditer(rb"-?\d+", data[8:20_000]))
        if numbers:
            match = numbers[rng.integers(len(numbers))]
            text = NUMBERS[rng.integers(len(NUMBERS))].ljust(match.end() - match.start())
            return data[: 8 + match.start()] + text[: match.end() - match.start()] + data[8 + match.end() :]
    broken = bytearray(data)
    header = int.from_bytes(data[:8], "little")
    for _ in range(int(rng.integers(1, 8))):
        broken[rng.integers(8 if kind == 2 else len(broken))] ^= 1 << rng.integers(8)
        broken[8 + rng.integers(header)] = int(rng.integers(32, 127))
    return bytes(broken)


@pytest.mark.slow
def test_package_fuzzed_for_a_minute_gives_only_typed_errors(small: Path, wide: Path, tmp_path: Path) -> None:
    whole, rng = [small.read_bytes(), wide.read_bytes()], np.random.default_rng(0)
    path = tmp_path / "broken.covfast"
    end, tried, refused = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end:
        path.write_bytes(mutate(whole[tried % 2], rng))
        tried += 1
        try:
            _core.open_network(os.fsencode(path))
        except CovfastError:
            refused += 1
    assert tried > 1000
    assert refused > tried // 2
