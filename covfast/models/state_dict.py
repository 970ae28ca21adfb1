"""Loading tensors of a weight file into a module, with errors that name what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from covfast.errors import WeightsError, describe


def load_checked(module: nn.Module, tensors: Mapping[str, Tensor], name: str, whose: str) -> None:
    """Load tensors, all of them and no others, and put the module in evaluation mode.

    Args:
        module: Whose tensors are replaced.
        tensors: By the names of the module's state dict.
        name: Of the file, for errors.
        whose: What network they are to be of, for errors, such as "a MiniSeg".

    Raises:
        WeightsError: A tensor is missing, not wanted, of the wrong shape, or not finite.
    """
    wanted = module.state_dict()
    for what, keys in (("no", wanted.keys() - tensors.keys()), ("an unknown", tensors.keys() - wanted.keys())):
        if keys:
            raise WeightsError(describe(name, f"{what} tensor {min(keys)!r}", f"{len(wanted)} tensors of {whose}"))
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(describe(f"{name}: {key}", tuple(value.shape), f"shape {tuple(wanted[key].shape)}"))
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(describe(f"{name}: {key}", "a value that is not finite", "finite weights"))
    module.load_state_dict(tensors)
    module.eval()


def load_parts(
    module: nn.Module, tensors: Mapping[str, Tensor], parts: Sequence[tuple[str, str]], name: str, whose: str
) -> list[str]:
    """Load parts of another network's tensors into parts of a module, which keeps the rest and its mode.

    Args:
        module: Whose tensors are replaced.
        tensors: By the names of the other network's state dict.
        parts: (beginning of the other network's names, beginning of the module's) of each part, such as
            ("encoder.", "adapted."). A part is loaded as a whole.
        name, whose: As of `load_checked`.

    Returns:
        The module's names of what was loaded.

    Raises:
        WeightsError: A tensor of a part is missing, not wanted, of the wrong shape, or not finite.
    """
    held, mode = module.state_dict(), module.training
    given = {
        target + key.removeprefix(source): value
        for source, target in parts
        for key, value in tensors.items()
        if key.startswith(source)
    }
    targets = tuple(target for _, target in parts)
    kept = {key: value for key, value in held.items() if not key.startswith(targets)}
    load_checked(module, kept | given, name, whose)
    module.train(mode)
    return [key for key in held if key in given]
