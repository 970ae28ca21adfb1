"""Any network over a whole volume, window after window: in place of MONAI's and nnU-Net's sliding windows.

    window = covfast.SlidingWindow((56, 192, 160), mirror_axes=(0, 1, 2))
    labels = window(volume, network)            # (D, H, W) uint8
    logits = window.averages(volume, network)   # (C, D, H, W) float32, if they are wanted

Labels are found while the windows come in: beyond the volume and the labels only as many planes of sums are held as a
window is deep, whatever the depth of the volume.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from covfast import _core, torch_threads
from covfast import sliding_arguments as arguments
from covfast.errors import Cancelled, DTypeError, MemoryLimitError, ShapeError, ValueRangeError, describe

PLACEMENTS = ("fixed", "even")
IMPORTANCES = ("constant", "gaussian", "gaussian_centred")
ACCUMULATES = ("float32", "nnunet")

Floats = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], object]
_Flip = tuple[bool, bool, bool]


class _Volume(NamedTuple):
    """A volume in host memory, and what its network takes."""

    array: Floats  # (C, D, H, W)
    is_flat: bool  # the network takes and gives (N, C, H, W)
    is_image: bool  # the volume itself is (C, H, W)
    device: Any  # of the tensors that the network takes; None: it takes arrays


def _as_array(x: Any) -> npt.NDArray[Any]:
    """A tensor of torch, or what NumPy can read, as an array, without a copy where its memory is the host's."""
    if hasattr(x, "detach") and hasattr(x, "cpu"):
        x = x.detach().cpu()
        x = x.float() if "bfloat16" in str(x.dtype) else x
    return np.asarray(x)


def _floats(x: Any, name: str) -> Floats:
    """Raises: DTypeError."""
    got, expected = "None" if x is None else f"a {type(x).__name__}", "an array or tensor of numbers"
    try:
        array = _as_array(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DTypeError(describe(name, got, expected)) from error
    if array.dtype.kind not in "fiub":
        raise DTypeError(describe(name, f"{got} of {x.dtype}" if hasattr(x, "dtype") else got, expected))
    return array.astype(np.float32, copy=False)


def _new_floats(shape: Sequence[int], name: str) -> Floats:
    """Raises: MemoryLimitError."""
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError) as error:
        got = f"no memory for {name} of shape {tuple(shape)}"
        raise MemoryLimitError(describe("memory", got, "enough; take a smaller window or batch")) from error


def _device_of(x: Any, network: Any) -> Any:
    """Where the tensors are that the network takes: x's device, or that of a torch module; None for arrays."""
    if hasattr(x, "detach") and hasattr(x, "device"):
        return x.device
    if hasattr(network, "state_dict") and hasattr(network, "forward"):
        return next((str(weight.device) for weight in network.parameters()), "cpu")
    return None


def _tensor(array: Floats) -> Any:
    """A tensor of torch in the array's memory that counts what is written into it, also where inference goes on."""
    import torch

    with torch.inference_mode(False):
        return torch.from_numpy(array)


def _threads_beside(volume: _Volume) -> contextlib.AbstractContextManager[None]:
    """Beside a network of torch on the CPU, the threads of its own loops."""
    return torch_threads.team() if str(volume.device) == "cpu" else contextlib.nullcontext()


class SlidingWindow:
    """Runs a network window by window over a volume and puts its outputs together.

    An average voxel is ``sum_w importance * network(x_w) / sum_w importance`` over the windows w that cover it and
    their mirrorings. `docs/sliding-window.md` names the settings that do as MONAI and nnU-Net do.

    Args:
        window: size (d, h, w), or (h, w) for a network of two axes; volumes with a third are then taken slice by slice.
        step: distance between windows as part of the window, in (0, 1]; one number, or one for each axis; None for a
            half.
        overlap: 1 - step, instead of `step`.
        placement: "even": as few windows as the step allows, spread evenly (nnU-Net); "fixed": one every step, the last
            moved back to the end (MONAI).
        importance: "gaussian", around voxel window // 2 (nnU-Net); "gaussian_centred", around the middle (MONAI); both
            with standard deviations of an eighth of the window, MONAI's no less than 1e-3; or "constant".
        mirror_axes: axes of the window; the network also sees it mirrored along all combinations of them.
        batch: how many windows the network takes at once.
        fill: the value around volumes that are smaller than the window, which lie in its middle.
        accumulate: "float32"; or "nnunet": half precision rounded after each window, as nnU-Net v2 does on a CPU, which
            has the importance "gaussian".
        threads: CPU threads beside the network's own; None for all that the process may use. The result does not depend
            on it.
    Raises: DTypeError, ShapeError, ValueRangeError for settings that are none.
    Source: nnU-Net, Isensee et al. 2021, doi 10.1038/s41592-020-01008-z; MONAI, arXiv 2211.02701.
    """

    def __init__(
        self,
        window: Sequence[int],
        *,
        step: float | Sequence[float] | None = None,
        overlap: float | Sequence[float] | None = None,
        placement: str = "even",
        importance: str = "gaussian",
        mirror_axes: Sequence[int] = (),
        batch: int = 1,
        fill: float = 0.0,
        accumulate: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.window = arguments.sizes("window", window, (2, 3))
        self.step = arguments.steps(len(self.window), step, overlap)
        self.placement = arguments.one_of("placement", placement, PLACEMENTS)
        self.importance = arguments.one_of("importance", importance, IMPORTANCES)
        self.accumulate = arguments.one_of("accumulate", accumulate, ACCUMULATES)
        if accumulate == "nnunet" and importance != "gaussian":
            raise ValueRangeError(describe("importance", repr(importance), "'gaussian' where accumulate is 'nnunet'"))
        self.mirror_axes = arguments.mirrored_axes(len(self.window), mirror_axes)
        self.batch, self.fill = arguments.whole("batch", batch), arguments.number("fill", fill)
        self.threads = 0 if threads is None else arguments.whole("threads", threads)
        self._idle: dict[str, _core.WindowStitcher] = {}  # of the last call: memory once taken is kept

    def __getstate__(self) -> dict[str, Any]:
        """Settings, without memory: for copies and other processes."""
        return {**self.__dict__, "_idle": {}}

    def __repr__(self) -> str:
        names = ("step", "placement", "importance", "mirror_axes", "batch", "fill", "accumulate")
        return f"SlidingWindow({self.window}, " + ", ".join(f"{n}={getattr(self, n)!r}" for n in names) + ")"

    def starts(self, size: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """First voxels of the windows along each axis of a volume of `size`; negative where the volume is smaller.

        Args:
            size: one size for each axis of the window, each at least 1.
        Raises: DTypeError, ShapeError.
        """
        rank = len(self.window)
        full = (1,) * (3 - rank) + arguments.sizes("size", size, (rank,))
        return tuple(tuple(axis) for axis in self._plan(full).starts[3 - rank :])

    def workspace_bytes(self, size: Sequence[int], channels: int) -> int:
        """Memory for the sums of a volume of `size` (D, H, W) or (H, W) and so many outputs; constant in D.

        Raises: DTypeError, ShapeError, ValueRangeError.
        """
        given = arguments.sizes("size", size, (2, 3) if len(self.window) == 2 else (3,))
        outputs, full = arguments.whole("channels", channels), (1,) * (3 - len(given)) + given
        return self._plan(full).workspace_bytes(outputs, self.accumulate == "nnunet", len(self._flips()))

    def __call__(
        self,
        x: Any,
        network: Callable[[Any], Any],
        *,
        values: Sequence[int] | None = None,
        regions: bool = False,
        progress: Progress | None = None,
        cancel: Any = None,
    ) -> npt.NDArray[np.uint8]:
        """Labels of a volume: the channel with the greatest average, the first of equals.

        Args:
            x: (C, D, H, W), or (C, H, W) for a window of two axes: numbers, an array or a tensor of torch; contiguous
                float32 is read where it lies.
            network: takes (N, C, *window) and gives (N, C', *window), a logit for each class. It gets arrays of
                float32 that are read-only, as they may be views of x. Where x is a tensor it gets tensors on x's
                device; where x is none, a torch.nn.Module gets tensors on the device of its weights. It may use a
                window only until it returns.
            values: label of each channel, 0 to 255; None for the channel's number, of at most 256 channels.
            regions: channels are logits of regions that may overlap: each voxel takes the label of the last channel
                above 0 (a probability above a half), 0 where there is none.
            progress: called with ("windows", done, total).
            cancel: an object with is_set(), asked before each batch.
        Returns: (D, H, W) or (H, W) uint8.
        Raises: ShapeError: another rank or number of values, or outputs of another shape; DTypeError: no numbers, no
            function; ValueRangeError: outputs that are NaN or infinite where they decide; Cancelled; MemoryLimitError.
        """
        arguments.check_callables(network, progress, cancel)
        volume, given = self._volume(x, network), arguments.labels_of(values)
        labels = np.zeros(volume.array.shape[1:], np.uint8)

        def write(stitcher: _core.WindowStitcher, channels: int) -> None:
            if given is None and channels > 256:
                expected = "at most 256, whose numbers are labels from 0 to 255"
                raise ValueRangeError(describe("values", f"None for {channels} channels", expected, "use `averages`"))
            stitcher.write_labels(labels, list(range(channels)) if given is None else given, regions)

        with _threads_beside(volume):
            self._run(volume, network, write, progress, cancel)
        return labels[0] if volume.is_image else labels

    def averages(
        self, x: Any, network: Callable[[Any], Any], *, progress: Progress | None = None, cancel: Any = None
    ) -> Floats:
        """The averaged outputs of the network, such as logits or an image; arguments and errors as for a call.

        Returns: (C', D, H, W) or (C', H, W) float32.
        """
        arguments.check_callables(network, progress, cancel)
        volume = self._volume(x, network)
        result: list[Floats] = []

        def write(stitcher: _core.WindowStitcher, channels: int) -> None:
            result.append(_new_floats((channels, *volume.array.shape[1:]), "averages"))
            stitcher.write_averages(result[0])

        with _threads_beside(volume):
            self._run(volume, network, write, progress, cancel)
        return result[0][:, 0] if volume.is_image else result[0]

    def _volume(self, x: Any, network: Any) -> _Volume:
        array, rank = _floats(x, "x"), len(self.window)
        if array.ndim not in ({3, 4} if rank == 2 else {4}) or 0 in array.shape:
            hint = "(C, H, W) or (C, D, H, W)" if rank == 2 else "(C, D, H, W)"
            raise ShapeError(describe("x", f"shape {array.shape}", f"{hint}, one volume, nothing empty"))
        is_image = array.ndim == 3
        return _Volume(array[:, None] if is_image else array, rank == 2, is_image, _device_of(x, network))

    def _plan(self, size: Sequence[int]) -> _core.WindowPlan:
        d, h, w = size
        rank = len(self.window)
        window, step = (1,) * (3 - rank) + self.window, (1.0,) * (3 - rank) + self.step
        is_even, kind = self.placement == "even", IMPORTANCES.index(self.importance)
        return _core.WindowPlan((d, h, w), window, step, is_even, kind)

    def _stitcher(self, plan: _core.WindowPlan, channels: int) -> _core.WindowStitcher:
        nnunet = self.accumulate == "nnunet"
        return _core.WindowStitcher(plan, channels, nnunet, len(self._flips()), self.threads)

    def _flips(self) -> list[_Flip]:
        """All combinations of the mirrored axes in nnU-Net's order, none first."""
        axes = [axis + 3 - len(self.window) for axis in self.mirror_axes]
        chosen = [set(some) for n in range(len(axes) + 1) for some in combinations(axes, n)]
        return [(0 in some, 1 in some, 2 in some) for some in chosen]

    def _run(
        self,
        volume: _Volume,
        network: Callable[[Any], Any],
        write: Callable[[_core.WindowStitcher, int], None],
        progress: Progress | None,
        cancel: Any,
    ) -> None:
        size, flips = volume.array.shape[1:], self._flips()
        plan = self._plan(size)
        total = plan.count * len(flips)
        windows = _Windows(self, volume, plan)
        stitcher: _core.WindowStitcher | None = None
        for first in range(0, total, self.batch):
            if cancel is not None and cancel.is_set():
                raise Cancelled(describe("cancel", "a request to stop in stage 'windows'", "none"))
            if progress is not None:
                progress("windows", first, total)
            group = [(at // len(flips), at % len(flips)) for at in range(first, min(first + self.batch, total))]
            y = windows.through(network, [(index, flips[mirror]) for index, mirror in group])
            if stitcher is None:
                key = f"{self!r} {self.threads} threads, {y.shape[1]} channels of {size}"
                stitcher = self._idle.pop(key, None) or self._stitcher(plan, y.shape[1])
                write(stitcher, y.shape[1])
            for scores, (index, mirror) in zip(y, group, strict=True):
                stitcher.add(index, mirror, scores, flips[mirror])
        assert stitcher is not None  # a plan has at least one window
        stitcher.finish()
        self._idle = {key: stitcher}
        if progress is not None:
            progress("windows", total, total)


class _Windows:
    """Cuts windows out of a volume and has the network see them: views of the volume where they can be, else copies.

    Arrays are read-only. Tensors cannot be: a network that writes into its first window, a copy, gets copies.
    """

    def __init__(self, settings: SlidingWindow, volume: _Volume, plan: _core.WindowPlan) -> None:
        self._settings, self._volume, self._plan = settings, volume, plan
        self._size = (1,) * (3 - len(settings.window)) + settings.window
        self._room: Floats | None = None
        self._whole: Any = None  # the volume as a tensor, once the network may see views of it
        self._is_first = True
        self._channels: int | None = None  # of the outputs: those of the first

    def through(self, network: Callable[[Any], Any], group: Sequence[tuple[int, _Flip]]) -> Floats:
        """Outputs (n, C', d, h, w) for windows (index, flip). Raises: ShapeError, DTypeError, ValueRangeError."""
        of_arrays = self._volume.device is None
        y = _floats(self._arrays(network, group) if of_arrays else self._tensors(network, group), "network")
        expected = (len(group), self._channels or "C'", *self._settings.window)
        is_same = y.ndim == len(expected) and y.shape[0] == len(group) and y.shape[2:] == expected[2:]
        channels = self._channels or (y.shape[1] if is_same else None)
        if not is_same or y.shape[1] != channels or channels == 0:
            raise ShapeError(describe("network", f"outputs of shape {y.shape}", f"({', '.join(map(str, expected))})"))
        self._channels = channels
        return y[:, :, None] if self._volume.is_flat else y

    def _arrays(self, network: Callable[[Any], Any], group: Sequence[tuple[int, _Flip]]) -> Any:
        part = self._part(group)
        x = self._copies(group) if part is None else self._volume.array[part][None]
        x = self._as_network_takes(x)
        x.flags.writeable = False
        return network(x)

    def _tensors(self, network: Callable[[Any], Any], group: Sequence[tuple[int, _Flip]]) -> Any:
        part = None if self._whole is None else self._part(group)
        if part is not None:
            before = self._whole._version
            try:
                y = network(self._as_network_takes(self._whole[part][None]))
            except RuntimeError:
                self._whole = None  # perhaps the network wants its window in one piece of memory: again with a copy
            else:
                if self._whole._version != before:
                    got = "a window written to after the first, and with it the volume"
                    raise ValueRangeError(describe("network", got, "all windows written to, or none"))
                return y
        copies = _tensor(self._as_network_takes(self._copies(group)))
        y = network(copies.to(self._volume.device))
        array = self._volume.array
        can_share = array.flags.writeable and min(array.strides) >= 0 and str(self._volume.device) == "cpu"
        if self._is_first and can_share and copies._version == 0:
            self._whole = _tensor(array)
        self._is_first = False
        return y

    def _as_network_takes(self, x: Any) -> Any:
        return x[:, :, 0] if self._volume.is_flat else x

    def _part(self, group: Sequence[tuple[int, _Flip]]) -> tuple[slice, ...] | None:
        """Where in the volume the group's only window lies, as it is; None if it is none."""
        if len(group) > 1 or any(group[0][1]):
            return None
        origin = self._plan.origin(group[0][0])
        ends = [at + n for at, n in zip(origin, self._size, strict=True)]
        if min(origin) < 0 or any(e > n for e, n in zip(ends, self._volume.array.shape[1:], strict=True)):
            return None
        return (slice(None), *map(slice, origin, ends))

    def _copies(self, group: Sequence[tuple[int, _Flip]]) -> Floats:
        volume = self._volume.array
        if self._room is None:
            shape = (len(group), len(volume), *self._size)  # no later group is larger
            self._room = _new_floats(shape, "windows")
        for (index, flip), room in zip(group, self._room, strict=False):
            origin = self._plan.origin(index)
            _core.gather_into(volume, origin, flip, self._settings.fill, room, self._settings.threads)
        return self._room[: len(group)]
