"""`export`: a torch module becomes a model package, checked against torch through the native engine.

Both ``covfast.export(...)`` and ``from covfast.export import export`` work, whichever came first: this module can be
called.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from covfast import _core, package
from covfast.errors import BackendUnavailable, CovfastError, ShapeError, ValueRangeError, describe
from covfast.shapes import TENSORS

TOLERANCE = 1e-4
"""Largest difference to torch, of the output's range."""

_HINT = "give multiple= where it needs one"
_COMPARED_VOXELS = 64 * 64 * 64  # of a 3-D input; a large U-Net takes seconds for them
_SAMPLE_BATCH = 2  # a batch of 1 would be traced as the number 1


@dataclass(frozen=True)
class Member:
    """A further network of a package whose inputs are not those of the first.

    Attributes:
        module, input_shape, multiple: as of `export`.
    """

    module: Any
    input_shape: Sequence[int]
    multiple: int | Sequence[int] | None = None


def export(
    module: Any,
    path: str | os.PathLike[str],
    input_shape: Sequence[int],
    *,
    name: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    labels: Mapping[int, str] | None = None,
    licence: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    multiple: int | Sequence[int] | None = None,
    members: Mapping[str, Any] | None = None,
    member: str | None = None,
) -> Path:
    """Write a torch module as a model package that `covfast.load` and `covfast.Segmenter` open.

    The module is traced in evaluation mode without decomposition, lowered to the closed list of ops of
    `covfast.package`, and made smaller by exact algebra (`covfast.simplify`), such as BatchNorm folded into
    convolutions. Batch and sizes stay free: resizes are kept as a factor or as the size of another tensor. The package
    is then compared with torch on two other sizes, which are kept small for 3-D networks.

    Args:
        module: torch.nn.Module with one (N, C, [D,] H, W) float32 input; of several outputs the first is kept. The
            training mode of each of its parts is restored.
        path: of the package; an existing file is replaced by renaming, so that networks that run keep theirs.
        input_shape: (N, C, [D,] H, W), a typical one.
        name: of the model; the file's name without its ending if None.
        recipe: stages from a CT volume to labels; None for a bare network.
        labels: value -> name.
        licence: of the weights; "unspecified" if None.
        provenance: where the weights come from.
        multiple: what each size must be a multiple of: one number, or one per axis; 1 if None.
        members: further networks by name that the recipe uses with the first, such as the folds of an ensemble: modules
            for inputs of the same kind, or `Member` where the channels or multiples are others.
        member: the name of the first among them.
    Returns: the path.
    Raises:
        BackendUnavailable: torch is not installed.
        ShapeError: `input_shape` or `multiple` does not fit.
        ValueRangeError: an op outside the list, with its place; a module that cannot be traced, or gives no tensor;
            `recipe`, `labels` or `provenance` of another kind, members that the recipe does not know.
        CovfastError: the native engine differs from torch by more than 1e-4 of the output's range.
    """
    path = Path(path)
    shape, steps = _sizes(input_shape, multiple)
    facts: dict[str, Any] = {
        "recipe": recipe,
        "labels": {} if labels is None else labels,
        "licence": licence or "unspecified",
        "provenance": {} if provenance is None else provenance,
        "name": name or path.stem,
    }
    _check_facts(facts)
    fields = _lower_checked(Member(module, shape, steps), path.name)
    if member is not None or members:
        parts = {
            other: _lower_checked(_member(held, shape, steps), path.name) for other, held in (members or {}).items()
        }
        facts |= {"member": member, "members": [_with_prefix(fields, other, part) for other, part in parts.items()]}
        _check_members(facts)
    return package.write(path, **fields, **facts, check=_open)


def _member(held: Any, shape: Sequence[int], steps: Sequence[int]) -> Member:
    """What was given for a member, checked; a bare module has the first network's sizes."""
    given = held if isinstance(held, Member) else Member(held, shape, steps)
    if len(given.input_shape) != len(shape):
        got = f"an input of {len(given.input_shape)} axes"
        raise ShapeError(describe("members", got, f"{len(shape)}, as the first network's"))
    return given


def _lower_checked(given: Member, name: str) -> dict[str, Any]:
    """Tensors, graph and input contract of one network, which the native engine ran as torch does."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise BackendUnavailable(describe("export", "no torch", "torch", 'pip install "covfast[train]"')) from error
    module, (shape, steps) = given.module, _sizes(given.input_shape, given.multiple)
    if not isinstance(module, torch.nn.Module):
        raise ValueRangeError(describe("module", type(module).__name__, "a torch.nn.Module"))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    bare: dict[str, Any] = {"recipe": None, "labels": {}, "licence": "", "provenance": {}, "name": ""}
    try:
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            fields = _lower(module, shape, steps)
            _compare(module, package.write(Path(folder) / name, **fields, **bare), shape, steps)
            return fields
    finally:
        for part, was_training in modes:  # not module.train, which would thaw the norms that its owner froze
            part.training = was_training


def _with_prefix(main: dict[str, Any], name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """A member of the package; its tensors go to the first network's, behind its name."""
    nodes = [
        {key: f"{name}/{value}" if key in TENSORS and isinstance(value, str) else value for key, value in node.items()}
        for node in part["graph"]["nodes"]
    ]
    main["tensors"] |= {f"{name}/{key}": tensor for key, tensor in part["tensors"].items()}
    return {"name": name, "graph": {**part["graph"], "nodes": nodes}, "input": part["input_contract"]}


def _open(path: Path) -> None:
    """Raise FormatError for a package that would not open, such as one whose recipe is wrong."""
    _core.open_network(os.fsencode(path))


def _sizes(input_shape: Any, multiple: Any) -> tuple[list[int], list[int]]:
    """The two arguments as lists of numbers, checked."""
    try:
        shape = [operator.index(n) for n in input_shape]
    except TypeError as error:
        raise ShapeError(describe("input_shape", repr(input_shape), "(N, C, [D,] H, W), whole numbers")) from error
    if len(shape) not in (4, 5) or min(shape) < 1:
        raise ShapeError(describe("input_shape", tuple(shape), "(N, C, [D,] H, W), each at least 1"))
    given = multiple if isinstance(multiple, Sequence) else [multiple or 1] * (len(shape) - 2)
    expected = f"one number or one per axis that divides {tuple(shape[2:])}"
    try:
        steps = [operator.index(m) for m in given]
    except TypeError as error:
        raise ShapeError(describe("multiple", repr(multiple), expected)) from error
    if len(steps) != len(shape) - 2 or min(steps) < 1 or any(n % m for n, m in zip(shape[2:], steps, strict=True)):
        raise ShapeError(describe("multiple", multiple, expected))
    return shape, steps


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse what a package cannot say about a model. Raises: ValueRangeError."""
    for key in ("recipe", "labels", "provenance"):
        if not isinstance(facts[key], Mapping) and not (key == "recipe" and facts[key] is None):
            raise ValueRangeError(describe(key, type(facts[key]).__name__, "a dict, or None"))
    for key in ("name", "licence"):
        if not isinstance(facts[key], str):
            raise ValueRangeError(describe(key, type(facts[key]).__name__, "text, or None"))
    for value, label in facts["labels"].items():
        is_number = hasattr(value, "__index__") and not isinstance(value, bool)
        if not is_number or not isinstance(label, str):
            raise ValueRangeError(describe("labels", f"{{{value!r}: {label!r}}}", "whole numbers -> names"))


def _check_members(facts: Mapping[str, Any]) -> None:
    """Refuse a recipe that uses networks which are not there. Raises: ValueRangeError."""
    names = {facts["member"], *(one["name"] for one in facts["members"])}
    open_ = list((facts["recipe"] or {}).get("stages", []))
    while open_:
        stage = open_.pop()
        unknown = set(stage.get("members", [])) - names if isinstance(stage, Mapping) else set()
        if unknown:
            expected = f"members of the package: {', '.join(sorted(map(str, names)))}"
            raise ValueRangeError(describe("recipe", f"the member {min(unknown)!r}", expected))
        open_ += stage.get("stages", []) if isinstance(stage, Mapping) else []


def _lower(module: Any, shape: Sequence[int], steps: Sequence[int]) -> dict[str, Any]:
    """Tensors, graph and input contract of the module, as `package.write` takes them."""
    from covfast.lowering import Lowering
    from covfast.lowering_ops import OPS
    from covfast.simplify import simplify

    low = Lowering(_trace(module, shape, steps), OPS)
    rank = len(steps)
    given = {"name": low.input_name, "channels": shape[1], "rank": rank}
    lowered = {"inputs": [given], "outputs": [low.output_name], "nodes": low.nodes}
    graph, tensors = simplify(lowered, low.tensors, shape[2:])
    contract = {"channels": shape[1], "rank": rank, "multiple": list(steps), "size": None}
    return {"tensors": tensors, "graph": graph, "input_contract": contract}


def _trace(module: Any, shape: Sequence[int], steps: Sequence[int]) -> Any:
    """torch.export of the module with free batch and sizes."""
    import torch

    sample = torch.zeros(_SAMPLE_BATCH, *shape[1:], device=_device(module))
    free: dict[int, Any] = {0: torch.export.Dim.AUTO}
    for axis, step in enumerate(steps):
        free[axis + 2] = torch.export.Dim.AUTO if step == 1 else step * torch.export.Dim(f"size_{axis}", max=1 << 16)
    try:
        program = torch.export.export(module, (sample,), dynamic_shapes=(free,), strict=False)
    except Exception as error:  # torch raises many kinds, without one base of their own
        reason = str(error).strip().splitlines()
        raise ValueRangeError(
            describe("module", reason[0] if reason else type(error).__name__, "one that torch.export traces")
        ) from error
    if not program.graph_signature.user_outputs:
        raise ValueRangeError(describe("module", "no output", "a tensor"))
    traced = next(node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    fixed = [n for n in traced.meta["val"].shape[2:] if isinstance(n, int)]
    if fixed:
        raise ValueRangeError(describe("module", f"code for sizes {fixed} only", "free sizes", _HINT))
    return program


def _device(module: Any) -> Any:
    """Where the module's parameters lie, or its buffers, or the CPU."""
    held = itertools.chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in held), "cpu")


def _compare(module: Any, path: Path, shape: Sequence[int], steps: Sequence[int]) -> None:
    """Compare the package with torch on two further sizes and batches."""
    import torch

    from covfast.engines import load

    net = load(path, device="cpu", exact=True)
    rng = np.random.default_rng(0)
    for batch, share in ((2, 0.5), (1, 0.75)):
        sizes = _compared_size(shape[2:], steps, share)
        x = rng.standard_normal((batch, shape[1], *sizes), dtype=np.float32)
        try:
            expected = module(torch.from_numpy(x).to(_device(module)))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueRangeError(describe("module", f"{reason} at a size of {sizes}", "free sizes", _HINT)) from error
        while isinstance(expected, (tuple, list)):
            expected = expected[0]
        if not isinstance(expected, torch.Tensor):
            raise ValueRangeError(describe("module", f"an output of type {type(expected).__name__}", "a tensor"))
        try:
            truth, got = expected.cpu().numpy(), net(x)
        except ShapeError as error:
            raise ValueRangeError(describe("module", f"({error}) at a size of {sizes}", "free sizes", _HINT)) from error
        if truth.shape != got.shape:
            raise CovfastError(describe("export", f"an output of {got.shape}", f"{truth.shape}, that of torch"))
        difference, span = float(np.abs(truth - got).max()), float(truth.max() - truth.min())
        if not difference <= TOLERANCE * max(span, 1e-6):
            raise CovfastError(
                describe("export", f"a difference of {difference:.3g} at {sizes}", f"at most {TOLERANCE} of {span:.3g}")
            )


def _compared_size(size: Sequence[int], steps: Sequence[int], share: float) -> list[int]:
    """A size with which to compare: a share of the typical one, no more than seconds of work in 3-D."""
    counts = [max(1, round(n * share / step) + axis) for axis, (n, step) in enumerate(zip(size, steps, strict=True))]
    sizes = [count * step for count, step in zip(counts, steps, strict=True)]
    while (
        len(sizes) == 3
        and math.prod(sizes) > _COMPARED_VOXELS
        and any(n > m for n, m in zip(sizes, steps, strict=True))
    ):
        axis = max((n - m, axis) for axis, (n, m) in enumerate(zip(sizes, steps, strict=True)))[1]
        sizes[axis] -= steps[axis]
    return sizes


class _CallableModule(ModuleType):
    """Lets `covfast.export(...)` work after `import covfast.export`, which binds that name to this module."""

    def __call__(self, *args: Any, **kwargs: Any) -> Path:
        return export(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
