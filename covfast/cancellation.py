"""A flag that long work in Python looks at between two slices, as the engine does between two tiles.

The flag belongs to the thread that sets it: readers need no argument for it, and other threads go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from covfast.errors import Cancelled, describe

_FLAG: ContextVar[Any] = ContextVar("covfast.cancel", default=None)


@contextmanager
def cancelled_by(flag: Any) -> Iterator[None]:
    """Until the end of the block, `check_cancelled` in this thread raises once `flag.is_set()`; None for never."""
    token = _FLAG.set(flag)
    try:
        yield
    finally:
        _FLAG.reset(token)


def check_cancelled() -> None:
    """Raises: Cancelled if the flag of this thread is set."""
    flag = _FLAG.get()
    if flag is not None and flag.is_set():
        raise Cancelled(describe("cancel", "a request to stop", "none"))
