"""Several processes, one training: torchrun and DistributedDataParallel.

The recipe's batch is the batch of all processes together. Every process makes the same draws and takes its part, and
the gradients are averaged, so that a recipe means the same for any number of processes: two with half the batch each
take the steps of one with the whole batch (to rounding, and where nothing is computed over the batch: instance norm,
losses that are means over samples; batch norm becomes SyncBatchNorm on CUDA).
"""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from covfast.errors import DeviceError, ValueRangeError, describe

PATIENCE = timedelta(days=7)
"""How long processes wait for each other: one may prepare volumes or validate while the others stand by. Of a process
that dies torchrun ends the others at once."""


QUIET_S = 0.2
"""Behind the end of a group. DistributedDataParallel keeps gloo's threads alive beyond it (torch 2.13); one that still
lets go of a tensor of Python's last collective while the interpreter ends aborts the process: 6 of 28 did without."""


@dataclass(frozen=True)
class Share:
    """The part of one process in the batch.

    Attributes:
        rank: of this process, 0 .. world - 1; rank 0 alone writes files.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    def of(self, values: Tensor) -> Tensor:
        """This process's part of (N, ...), N a multiple of `world`.

        Raises:
            ValueRangeError: N is not.
        """
        if self.world == 1:
            return values
        count = len(values)
        if count % self.world:
            raise ValueRangeError(
                describe("optimisation.batch", str(count), f"a multiple of the {self.world} processes")
            )
        part = count // self.world
        return values[self.rank * part : (self.rank + 1) * part]

    def dealt(self, values: Tensor) -> Tensor:
        """This process's part of (N, ...) for any N >= 1: parts differ by one at most; the first row instead of none.

        `weight` goes with it.
        """
        start, end = self._span(len(values))
        return values[start:end] if end > start else values[:1]

    def weight(self, count: int) -> Tensor:
        """() float32 factor of the loss of a part that `dealt` gave: part * world / N, so that all samples count alike.

        Args:
            count: N of the whole batch.
        """
        start, end = self._span(count)
        return torch.tensor((end - start) * self.world / count)

    def _span(self, count: int) -> tuple[int, int]:
        return self.rank * count // self.world, (self.rank + 1) * count // self.world

    def gather(self, value: Any) -> list[Any]:
        """`value` of every process, by rank."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def first(self, value: Any) -> Any:
        """`value` of rank 0 on every process."""
        if self.world == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Rank 0 runs the block first, the others after it: what it leaves on disk is there for them."""
        if self.world > 1 and self.rank > 0:
            torch.distributed.barrier()
        yield
        if self.world > 1 and self.rank == 0:
            torch.distributed.barrier()


def choose_device(name: str) -> torch.device:
    """The device of a recipe: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: CUDA is asked for and absent.
        ValueRangeError: Another name.
    """
    kind, _, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise ValueRangeError(describe("run.device", repr(name), "auto, cpu, cuda or cuda:N"))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or (kind == "auto" and not count):
        return torch.device("cpu")
    number = int(index or os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        got = f"{name} on a machine with {count} CUDA devices"
        expected, hint = "a device that is there", "auto takes the CPU where there is none"
        raise DeviceError(describe("run.device", got, expected, hint))
    return torch.device("cuda", number)


@contextmanager
def joined(device: torch.device) -> Iterator[Share]:
    """The share of this process, joined to the others that torchrun started; alone where there are none.

    Raises:
        DeviceError: The processes did not find each other.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Share()
        return
    if torch.distributed.is_initialized():
        yield Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return
    try:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(describe("torchrun", str(error).splitlines()[0], f"{world} processes")) from error
    try:
        yield Share(torch.distributed.get_rank(), world)
    finally:
        torch.distributed.destroy_process_group()
        time.sleep(QUIET_S)


def spread(module: nn.Module, share: Share, device: torch.device, has_unused: bool) -> Any:
    """The module as the loop calls it: itself, or wrapped so that gradients are averaged over the processes.

    Args:
        module: On its device.
        share: Of this process.
        device: Of the module.
        has_unused: Whether a step may leave parameters without a gradient.
    """
    if share.world == 1:
        return module
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(module, device_ids=ids, find_unused_parameters=has_unused)
