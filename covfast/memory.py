"""Bytes: how a limit is written, what a process takes, and what it has taken."""

from __future__ import annotations

import resource

from covfast.errors import ValueRangeError, describe

BASE_BYTES = 128 << 20
"""Of the process itself with a network and its slice, beside images, label maps and workspace."""

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_bytes(text: str | int) -> int:
    """Bytes of "4GiB", "500 MB" or a plain number. Raises: ValueRangeError if it is none of these or not positive."""
    compact = str(text).replace(" ", "").lower()
    digits = compact.rstrip("bikmg")
    try:
        value = float(digits) * _UNITS[compact[len(digits) :]]
    except (ValueError, KeyError):
        value = 0
    if not 1 <= value < 2**62:
        raise ValueRangeError(describe("memory_limit", repr(text), "a size such as 4GiB, 500MB or a number of bytes"))
    return int(value)


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
