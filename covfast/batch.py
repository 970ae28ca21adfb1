"""Many cases, one after the other, while the next is read and the last is written: threads, no child processes.

    reading      | 1 | 2 | 3 |   4 |     a thread; zlib and GDCM work outside the interpreter's lock
    segmenting       | 1   | 2   | 3     a thread; all threads of the engine work on one case
    the caller             | 1 |   | 2   writes or measures what `next` gave

At most three cases are in memory: the caller's, the one that is segmented, and one that is read ahead.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from covfast.cancellation import cancelled_by
from covfast.errors import Cancelled, ValueRangeError, describe

if TYPE_CHECKING:
    from covfast.pipeline import Result, Segmenter

_AHEAD = 2
"""Cases that are begun behind the one that the caller holds: one is segmented, one is read."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one case.

    Attributes:
        image: what was asked for.
        source: the volume or channels that were read from it; None if they could not be.
        result: what was found; None if it failed.
        error: why it failed, or None.
        read_ms: milliseconds of reading.
    """

    image: Any
    source: Any = None
    result: Result | None = None
    error: Exception | None = None
    read_ms: float = 0.0


class _Flag:
    """Set when the batch is closed, or by the caller's own flag."""

    def __init__(self, other: Any) -> None:
        self._closed = threading.Event()
        self._other = other

    def set(self) -> None:
        self._closed.set()

    def is_set(self) -> bool:
        return self._closed.is_set() or (self._other is not None and bool(self._other.is_set()))


class Outcomes(Iterator[Outcome]):
    """The outcome of each case, in the order of the images; see `map_cases`. A context manager that stops the work.

    `begun` is called as the work on each case begins, from another thread.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        images: Iterable[Any],
        *,
        on_geometry: str = "error",
        input_window: tuple[float, float] | None = None,
        probabilities: bool = False,
        progress: Any = None,
        cancel: Any = None,
        begun: Callable[[], None] | None = None,
    ) -> None:
        if cancel is not None and not hasattr(cancel, "is_set"):
            expected = "an object with is_set(), such as threading.Event"
            raise ValueRangeError(describe("cancel", type(cancel).__name__, expected))
        self._flag = _Flag(cancel)
        self._begun = begun
        self._segmenter = segmenter
        self._read_options: dict[str, Any] = {"on_geometry": on_geometry, "input_window": input_window}
        self._run_options = {"probabilities": probabilities, "progress": progress, "cancel": self._flag}
        self._images = _iterator(images)
        self._waiting: deque[Future[Outcome]] = deque()
        self._broken: BaseException | None = None  # what taking the next image raised
        self._is_closed = False
        # A limit is that of one case: beside it nothing is read ahead.
        self._ahead = _AHEAD if segmenter.memory_limit is None else 0
        self._reader = ThreadPoolExecutor(1, "covfast-read")
        self._runner = ThreadPoolExecutor(1, "covfast-segment")

    def __next__(self) -> Outcome:
        if self._is_closed:
            raise StopIteration
        try:
            self._begin(max(self._ahead, 1))
            if not self._waiting:
                self.close()
                if self._broken is not None:
                    raise self._broken
                raise StopIteration
            outcome = self._waiting.popleft().result()
            self._begin(self._ahead)
        except StopIteration:
            raise
        except BaseException:  # Ctrl-C, or a bug: nothing goes on behind the caller's back
            self.close()
            raise
        if isinstance(outcome.error, Cancelled):
            self.close()
            raise outcome.error
        return outcome

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the work after the tile or slice that is under way; further calls of `next` end."""
        self._is_closed = True
        self._flag.set()
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._reader.shutdown(cancel_futures=True)
        self._runner.shutdown(cancel_futures=True)

    def _begin(self, count: int) -> None:
        """Takes images until `count` cases are under way. They are taken in the caller's thread."""
        while self._broken is None and len(self._waiting) < count:
            try:
                image = next(self._images)
            except StopIteration:
                return
            except BaseException as error:  # raised once the cases before it are done
                self._broken = error
                return
            reading = self._reader.submit(self._read, image)
            self._waiting.append(self._runner.submit(self._run, reading))

    def _read(self, image: Any) -> Outcome:
        start = time.perf_counter()
        try:
            with cancelled_by(self._flag):
                source = self._segmenter.read(image, **self._read_options)
        except Exception as error:
            return Outcome(image, error=error)
        return Outcome(image, source, read_ms=(time.perf_counter() - start) * 1e3)

    def _run(self, reading: Future[Outcome]) -> Outcome:
        if self._begun is not None:
            self._begun()
        read = reading.result()
        if read.error is not None:
            return read
        try:
            result = self._segmenter(read.source, **self._run_options)
        except Exception as error:
            return replace(read, error=error)
        stages = {**result.run["stages_ms"], "read": round(read.read_ms, 3)}
        return replace(read, result=replace(result, run={**result.run, "stages_ms": stages}))


class Results(Iterator[Any]):
    """The `Result` of each case, or its error, in the order of the images; see `map_cases`.

    A context manager that stops the work at its end.
    """

    def __init__(self, outcomes: Outcomes, errors: str) -> None:
        self._outcomes = outcomes
        self._does_raise = errors == "raise"

    def __next__(self) -> Result | Exception:
        outcome = next(self._outcomes)
        if outcome.error is None:
            assert outcome.result is not None
            return outcome.result
        if self._does_raise:
            raise outcome.error
        return outcome.error

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:  # a loop that was left; the threads hold `Outcomes`, never this
        if hasattr(self, "_outcomes"):
            self._outcomes.close()

    def close(self) -> None:
        """Stops the work; further calls of `next` end."""
        self._outcomes.close()


def _iterator(images: Any) -> Iterator[Any]:
    if not isinstance(images, (str, bytes, os.PathLike)):
        try:
            return iter(images)
        except TypeError:
            pass
    expected = "a list of images, or another iterable"
    raise ValueRangeError(describe("images", type(images).__name__, expected, "covfast.io.cases lists a folder"))


def map_cases(segmenter: Segmenter, images: Iterable[Any], *, errors: str = "raise", **options: Any) -> Results:
    """Segments many cases; the next is read and segmented while the caller works on the last.

    Results come in the order of the images, however long each takes. A case that fails never stops the others: with
    `errors="raise"` its error is raised in its place, as by an executor's `map`, but unlike that one the iterator lives
    on and the next call of `next` gives the next case; with `errors="return"` the error itself stands in its place,
    which suits a `for` loop. Nothing starts before the first `next`; leaving the loop, `close` or Ctrl-C stop the work
    after the tile or slice that is under way.

    Args:
        segmenter: a `Segmenter`. With a `memory_limit` cases run strictly one after the other, since the limit is that
            of one case; results that the caller keeps come on top.
        images: what `Segmenter` takes, one each; taken one by one in the caller's thread, at most two ahead.
        errors: "raise" or "return".
        options: `on_geometry`, `input_window`, `probabilities`, `progress` (called from another thread) and `cancel`,
            as of `Segmenter`. A cancel flag raises `Cancelled`, which ends the iteration, whatever `errors` says.
    Raises: ValueRangeError: another `errors`, or a wrong option.
    """
    if errors not in ("raise", "return"):
        raise ValueRangeError(describe("errors", repr(errors), "'raise' or 'return'"))
    return Results(Outcomes(segmenter, images, **options), errors)
