"""Broken model packages: each opens or ends in a typed error, never in a crash. Some always, for a minute if slow."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine.broken_packages import corpus

from covfast import CovfastError, _core, package

SHORT, SECONDS = 12_000, 60.0  # files, and seconds of the slow run
WHOLE = 3  # packages of the corpus that are not broken
NUMBERS = (b"0", b"-1", b"1", b"3", b"64", b"65535", b"2147483648", b"9223372036854775807", b"1e308", b"null", b"[]")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return corpus(tmp_path_factory.mktemp("corpus"))


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with some bytes flipped, a number of its header replaced, a part of it repeated, or its end cut off."""
    kind = rng.integers(5)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        numbers = list(re.finditer(rb"-?\d+", data[8:20_000]))
        if numbers:
            match = numbers[rng.integers(len(numbers))]
            text = NUMBERS[rng.integers(len(NUMBERS))].ljust(match.end() - match.start())
            return data[: 8 + match.start()] + text[: match.end() - match.start()] + data[8 + match.end() :]
    if kind == 2:  # the bytes of one place also at another
        first, to, count = (int(n) for n in rng.integers(8, max(9, len(data) - 64), 3))
        part = data[first : first + count % 64]
        return data[:to] + part + data[to + len(part) :]
    broken = bytearray(data)
    header = max(1, min(int.from_bytes(data[:8], "little"), len(data) - 8))
    for _ in range(int(rng.integers(1, 8))):
        broken[rng.integers(8 if kind == 3 else len(broken))] ^= 1 << rng.integers(8)
        broken[min(8 + rng.integers(header), len(broken) - 1)] = int(rng.integers(32, 127))
    return bytes(broken)


def read(path: Path) -> bool:
    """Whether the C++ reader took a package; then the summary must show it or say what is wrong."""
    try:
        _core.open_network(os.fsencode(path))
    except CovfastError:
        return False
    with contextlib.suppress(CovfastError):
        package.summary(path)
    return True


def files(seeds: dict[str, bytes]) -> Iterator[bytes]:
    """Mutations without end, of whole packages and of those broken already in turns."""
    rng, held = np.random.default_rng(0), list(seeds.values())
    while True:
        for data in (*held[:WHOLE], held[rng.integers(len(held))]):
            yield mutate(data, rng)


def fuzz(folder: Path, seeds: dict[str, bytes], most: int, seconds: float) -> None:
    path, tried, taken, end = folder / "broken.covfast", 0, 0, time.monotonic() + seconds
    for data in files(seeds):
        if tried == most or time.monotonic() > end:
            break
        path.write_bytes(data)
        tried += 1
        taken += read(path)
    assert tried > 1000
    assert taken < tried // 2


def test_package_of_the_corpus_is_read_or_refused(seeds: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "seed.covfast"
    taken = []
    for name, data in seeds.items():
        path.write_bytes(data)
        if read(path):
            taken.append(name)
    assert {"small", "wide", "recipe"} <= set(taken)
    assert not [name for name in taken if name.startswith(("graph", "header", "first"))]


def test_package_fuzzed_gives_only_typed_errors(seeds: dict[str, bytes], tmp_path: Path) -> None:
    fuzz(tmp_path, seeds, SHORT, SECONDS)


@pytest.mark.slow
def test_package_fuzzed_for_a_minute_gives_only_typed_errors(seeds: dict[str, bytes], tmp_path: Path) -> None:
    fuzz(tmp_path, seeds, 1 << 62, SECONDS)
