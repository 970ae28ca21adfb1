"""Training of covfast's networks. Importing this package costs nothing; torch is imported by `train`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.errors import BackendUnavailable, FormatError, ValueRangeError, describe, file_name
from covfast.train.recipe import Recipe, fold_count, read_recipe, with_fold

if TYPE_CHECKING:
    from covfast.train.loop import Progress

__all__ = ["package", "read_recipe", "train"]


def train(
    recipe: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    set: Mapping[str, Any] | None = None,
    *,
    fold: int | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a recipe; the same call goes on after a kill, to the weights that no kill would have given.

    Under torchrun every process makes this call, and the processes share each batch.

    Args:
        recipe: Name or path, see `read_recipe`.
        data: Folder of the training data; the system's page says what it holds.
        out: Folder for checkpoint, log, record (`run.json`), the weights and, unless `run.package` is false, their
            model package, as `package` writes it.
        set: Changes of the recipe, dotted key -> value.
        fold: One fold of the recipe's cross-validation, in `out/fold_N`, or "all", one after the other.
        progress: Called as (stage, steps done, steps).

    Returns:
        Path of the weights, a state dict; of `out` for all folds.

    Raises:
        BackendUnavailable: torch is not installed.
        DeviceError: `run.device` is absent.
        FormatError: Recipe, data or checkpoint cannot be read; the message names the file.
        OutputError: Something cannot be written, the last good checkpoint is still there; or another training is at
            work in `out`.
        ValueRangeError: An unknown key, a value out of range, no such fold, or `out` holds a run of another recipe or
            of other data.
    """
    table, folder, source = read_recipe(recipe, set), Path(out), Path(data)
    check_device(table)
    if not source.is_dir():
        raise FormatError(describe("data", repr(file_name(source)), "a folder"))
    import torch

    torch.set_num_threads(int(table["threads"]))
    if fold is None:
        return _train_one(table, source, folder, progress)
    if fold == "all":
        for number in range(fold_count(table)):
            _train_one(with_fold(table, number), source, folder / f"fold_{number}", progress)
        return folder
    if not str(fold).isdigit():
        raise ValueRangeError(describe("fold", repr(fold), "a number or all"))
    return _train_one(with_fold(table, int(fold)), source, folder / f"fold_{int(fold)}", progress)


def check_device(table: Recipe) -> None:
    """Refuse a recipe that cannot be trained here, before anything of it is.

    Raises:
        BackendUnavailable: torch is not installed.
        DeviceError: `run.device` is absent.
        ValueRangeError: `run.device` is the name of none.
    """
    try:
        from covfast.train.distributed import choose_device
    except ImportError as error:
        raise BackendUnavailable(describe("train", "no torch", "torch", 'pip install "covfast[train]"')) from error
    choose_device(table["run"]["device"])


def package(run: str | os.PathLike[str]) -> Path:
    """Write the model package RUN/<name>.covfast of a finished training; `train` does so at its end.

    Args:
        run: Folder that `train` wrote; with folds, that of one fold.

    Returns:
        Path of the package, which `covfast.load` opens and, but for a bare network, `covfast.Segmenter` too.

    Raises:
        BackendUnavailable: torch is not installed.
        CovfastError: The native engine differs from torch by more than 1e-4 of the output's range.
        FormatError: The folder holds no finished training, or its record lacks what the network's input depends on.
        OutputError: The package cannot be written.
        WeightsError: The weights are missing, not those of the record, or do not fit.
    """
    from covfast.train.publish import package as write_package

    return write_package(run)


def _train_one(table: Recipe, data: Path, out: Path, progress: Progress | None) -> Path:
    """One training of a resolved recipe; returns the path of its weights."""
    from contextlib import nullcontext

    from covfast.outputs import make_folder
    from covfast.train.distributed import choose_device, joined
    from covfast.train.lock import locked
    from covfast.train.loop import write
    from covfast.train.publish import KINDS
    from covfast.train.record import Record
    from covfast.train.systems import run_system
    from covfast.train.systems.stage import Context

    device = choose_device(table["run"]["device"])
    make_folder(out)
    with joined(device) as share, locked(out) if share.rank == 0 else nullcontext():
        with share.in_turn():
            record = Record(out, table, share.rank == 0)
        module = run_system(Context(table, data, out, device, share, record, progress))
        target = out / f"{table['name']}.pt"
        if share.rank == 0:
            write(module.state_dict(), target)
            record.finish(target)
        is_first = share.rank == 0
    if is_first and table["run"]["package"] and table["system"] in KINDS:
        package(out)
    return target
