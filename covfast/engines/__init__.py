"""Engines: a model package, opened, answers ``y = net(x)``. `native` is the default; `torch` is the reference.

``x`` and ``y`` are float32 numpy arrays (N, C, [D,] H, W).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from covfast import _core, package
from covfast.errors import BackendUnavailable, DTypeError, ShapeError, ValueRangeError, describe

ENGINES = ("native", "torch")
PRECISIONS = ("fp32", "bf16", "int8")
MOST_THREADS = 256
_NUMBERS = "biuf"  # kinds of dtypes: bool, integers, real floats

Floats = npt.NDArray[np.float32]


class Cancel(Protocol):
    """What stops a call from another thread, such as threading.Event."""

    def is_set(self) -> bool:
        """Whether to stop."""


class Network(ABC):
    """A network of a model package, ready to run. May be called by several threads at once.

    Attributes:
        metadata: of the package.
        engine, precision: as asked for.
        device: that runs it, such as "cpu"; never "auto".
        backend: that runs it, such as "avx2".
    """

    def __init__(self, path: str | os.PathLike[str], precision: str, exact: bool) -> None:
        contents = package.read_verified(path)
        self._network = _core.open_network(
            os.fsencode(path), precision, exact
        )  # checks graph, input contract and recipe
        self.metadata: dict[str, Any] = contents.metadata
        self.engine = ""
        self.backend = ""
        self.device = ""
        self.precision = precision
        self._contents = contents

    @property
    def rank(self) -> int:
        """Spatial axes: 2 or 3."""
        return self._network.rank

    def summary(self, size: Sequence[int] | None = None) -> str:
        """What the network is, its layers for one size of input, and what runs it.

        Args:
            size: ([D,] H, W); None for the package's own, else the least multiple of at least 256 (2-D) or 64 (3-D).
        Raises: ShapeError: a size that the network does not take.
        """
        return f"{self._contents.summary(size)}\nengine      {self.engine} on {self.backend}, {self.precision}"

    def __call__(
        self,
        x: npt.ArrayLike,
        *,
        progress: Callable[[str, int, int], object] | None = None,
        cancel: Cancel | None = None,
    ) -> Floats:
        """First output of the network.

        Args:
            x: (N, C, [D,] H, W) float32.
            progress: called with (stage, done, total) at most every 50 ms.
            cancel: asked every 50 ms.
        Returns: (N, C', [D',] H', W') float32.
        Raises: ShapeError: axes, channels or sizes that the network does not take; DTypeError: no array of numbers;
            ValueRangeError: NaN or infinity for "int8", `progress` or `cancel` of another kind; Cancelled;
            MemoryLimitError.
        """
        return self._run(self._checked(x), progress, cancel)

    def _checked(self, x: npt.ArrayLike, name: str = "x") -> Floats:
        """The batch `x`, an argument of that name, as contiguous float32; a wrong one is refused before it is copied.

        Raises: ShapeError, DTypeError.
        """
        try:
            array = np.asarray(x)
        except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors that need a gradient or a GPU
            reason = str(error).strip().splitlines()
            got = reason[0] if reason else type(x).__name__
            raise DTypeError(describe(name, got, "an array of numbers in the CPU's memory")) from error
        if array.dtype.kind not in _NUMBERS:
            raise DTypeError(describe(name, f"{type(x).__name__} of {array.dtype}", "float32, or other real numbers"))
        channels = self._network.in_channels
        if array.ndim != self.rank + 2 or array.shape[1] != channels:
            axes = "D, H, W" if self.rank == 3 else "H, W"
            raise ShapeError(describe(name, f"shape {array.shape}", f"(N, {channels}, {axes})"))
        return np.ascontiguousarray(array, dtype=np.float32)

    @abstractmethod
    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        """Output of the checked, contiguous batch `x`."""


def check_threads(threads: object) -> None:
    """Refuse what is neither None nor a whole number from 1 to `MOST_THREADS`. Raises: ValueRangeError."""
    is_count = isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= MOST_THREADS
    if threads is not None and not is_count:
        raise ValueRangeError(describe("threads", repr(threads), f"a whole number from 1 to {MOST_THREADS}"))


def load(
    path: str | os.PathLike[str],
    engine: str = "native",
    device: str = "auto",
    threads: int | None = None,
    precision: str = "fp32",
    exact: bool = False,
    calibration: npt.ArrayLike | None = None,
) -> Network:
    """A model package, opened.

    The file stays mapped: replace a package in use by renaming another one over it, as `covfast.export` does. One that
    is overwritten in place changes the weights of networks that run, and one that is cut short ends the process.

    Args:
        path: of the package.
        engine: "native", or "torch" for the reference.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads, 1 to 256; None for all that the process may use, or COVFAST_NUM_THREADS of them. The
            result does not depend on it.
        precision: "fp32": within 1e-4 of the output's range of torch, within 5e-4 where Winograd's algorithm with its
            fewer products pays. "bf16": values and weights of a network of many channels (U-Nets) are bfloat16 with 8
            bits, sums float32, statistics of norms float32; each value within 2^-9 of itself, outputs within some
            percent of their range. "int8": what convolutions read is 8 bits, one scale a value, set by the greatest
            magnitude on `calibration`: what lies beyond it saturates; weights 8 bits, one scale an output channel;
            sums exact; the rest as bf16. Its error depends on network and data: `error` of the result has that on
            `calibration`. Networks of few channels (MiniSeg) stay float32 in every precision, which is faster there.
            NaN and infinity are kept by "fp32" and "bf16"; "int8", which cannot hold them, refuses inputs with them.
        exact: never an algorithm with fewer products than the definition; for "fp32" alone.
        calibration: (N, C, [D,] H, W) float32 inputs as the network will get, for "int8" alone.
    Raises: FormatError, WeightsError: the package; ValueRangeError: threads, a device that is no text, `exact` with
        another precision, a calibration that is missing, of no use (empty, only zeros, NaN or infinity) or not for
        "int8"; ShapeError, DTypeError: the calibration; DeviceError: a device that is unknown or absent;
        BackendUnavailable: an engine or precision that does not exist, a backend that lacks an op, torch where it is
        not installed.
    """
    check_threads(threads)
    if not isinstance(device, str):
        raise ValueRangeError(describe("device", repr(device), "'auto', 'cpu', 'cuda' or 'cuda:N'"))
    if engine not in ENGINES:
        raise BackendUnavailable(describe("engine", repr(engine), f"one of {ENGINES}"))
    if precision not in PRECISIONS:
        raise BackendUnavailable(describe("precision", repr(precision), f"one of {PRECISIONS}"))
    if (precision == "int8") != (calibration is not None):
        got = "none" if calibration is None else "some"
        raise ValueRangeError(describe("calibration", got, "inputs with precision='int8', and with no other"))
    if exact and precision != "fp32":
        raise ValueRangeError(describe("exact", f"True with precision={precision!r}", "True with 'fp32' alone"))
    if engine == "torch":
        from covfast.engines.torch import TorchNetwork

        return TorchNetwork(path, device, threads, precision, exact)
    from covfast.engines.native import NativeNetwork

    return NativeNetwork(path, device, threads, precision, exact, calibration)


__all__ = ["ENGINES", "MOST_THREADS", "PRECISIONS", "Network", "check_threads", "load"]
