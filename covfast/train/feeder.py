"""Batches made ahead: a thread draws the coming turns while the network works, in the order and with the numbers that
drawing them in the loop would give."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]
Draw = Callable[[int, Any], list[Batch]]


class Feeder:
    """The batches of turns `first` .. `end` - 1, with the state of the generator behind each.

    Args:
        draw: (turn, generator) -> the batches of its optimiser steps.
        first, end: Turns.
        state: Of the generator before turn `first`.
        ahead: Turns made ahead by a thread; 0: each when it is asked for.

    Attributes:
        waited_s: Seconds that `next` has waited so far.
    """

    def __init__(self, draw: Draw, first: int, end: int, state: Tensor, ahead: int) -> None:
        self.waited_s = 0.0
        self._draw, self._turns = draw, range(first, end)
        self._generator = torch.Generator()
        self._generator.set_state(state)
        self._made: queue.Queue[tuple[list[Batch], Tensor] | BaseException] = queue.Queue(max(ahead, 1))
        self._over = threading.Event()
        self._next = first
        self._thread = threading.Thread(target=self._work, name="covfast-feeder", daemon=True) if ahead else None
        if self._thread is not None:
            self._thread.start()

    def next(self) -> tuple[list[Batch], Tensor]:
        """The batches of the next turn and the generator's state behind it. Raises: whatever `draw` raised."""
        start = time.perf_counter()
        if self._thread is None:
            item: Any = self._make(self._next)
        else:
            item = self._made.get()
        self._next += 1
        self.waited_s += time.perf_counter() - start
        if isinstance(item, BaseException):
            raise item
        return item[0], item[1]

    def __enter__(self) -> Feeder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _make(self, turn: int) -> tuple[list[Batch], Tensor]:
        return self._draw(turn, self._generator), self._generator.get_state()

    def _work(self) -> None:
        for turn in self._turns:
            try:
                item: Any = self._make(turn)
            except BaseException as error:
                item = error
            while not self._over.is_set():
                try:
                    self._made.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._over.is_set() or isinstance(item, BaseException):
                return
