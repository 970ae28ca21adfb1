"""Model packages: one file with weights, graph, recipe, labels, input contract, licence and provenance; never pickle.

The file has the safetensors layout: 8 bytes of little-endian header length, a JSON header, data. Spaces pad the header
so that the data begins at a multiple of 64 bytes, and every tensor lies at such a multiple, without holes: fillers are
U8 tensors named ``__pad__.N``. The header's ``__metadata__`` is ``{"format": "covfast", "covfast": <JSON text>}``,
and that text holds::

    format_version  1
    name            of the model
    graph           {"inputs": [{"name", "channels", "rank"}], "outputs": [name], "nodes": [...]}, see below
    recipe          stages from a CT volume to labels, or null
    labels          {"0": "background", ...}
    input           {"channels", "rank", "multiple": one per axis, "size": one per axis or null for any}
    licence         text
    provenance      object
    checksum        "sha256:<hex>"
    member          where there are several networks: the name of this one, such as "fold_0"
    members         the others, [{"name": "fold_1", "graph": {...}, "input": {...}}, ...]; their graphs name their
                    tensors in full, with the member's name and "/" before them

The checksum is the SHA-256 of the data section followed by the UTF-8 text ``canonical({"metadata": m, "tensors": t})``,
where m is the metadata without its checksum, t the header without ``__metadata__``, and ``canonical`` is
``json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)``.

Nodes stand in topological order: ``{"op", "inputs": [names], "output": name, attributes}``. Lists have one entry per
spatial axis; tensors are named, float32. Another attribute is refused, and so is an input contract whose channels or
rank are not the graph's.

=================  ======  ==================================================================================
op                 inputs  attributes
=================  ======  ==================================================================================
conv               1       weight (O, C / groups, kernel), bias (O) or absent, stride, padding, dilation, groups
conv_transpose     1       weight (C, O / groups, kernel), the rest as conv, output_padding
group_norm         1       groups, eps, weight (C) and bias (C) or absent. C groups: an instance norm
avg_pool           1       kernel, stride, padding, ceil_mode, count_include_pad
max_pool           1       kernel, stride, padding, dilation, ceil_mode
adaptive_avg_pool  1       size: what it gives, which divides the input's. Ones: global
adaptive_max_pool  1       as adaptive_avg_pool
resize             1, 2    align_corners; factor, or the second input, whose size it takes. Linear
resize_nearest     1, 2    exact: whether positions count from the middle of samples; factor, or the second input
pad                1       before, after: negative numbers cut; value
prelu              1       slope (C)
leaky_relu         1       slope: a number
relu, sigmoid      1
affine             1       scale (C), shift (C)
softmax            1       over the channels
log_softmax        1       over the channels
add, sub, mul      2, 1    with one input: scalar, and for sub reversed (scalar - x). One channel goes with any number
concat             1..     of the channels
slice              1       first, count: of the channels
=================  ======  ==================================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from covfast import _core, layers
from covfast.errors import (
    DTypeError,
    FormatError,
    OutputError,
    ShapeError,
    ValueRangeError,
    WeightsError,
    describe,
    file_name,
)

FORMAT_VERSION = 1
_ALIGNMENT = 64
_HEADER_LIMIT = 4 << 20  # bytes; csrc/engine/package.cpp has the same
_BLOCK = 1 << 20
_KINDS: dict[str, Any] = {
    "name": str,
    "graph": dict,
    "recipe": (dict, type(None)),
    "labels": dict,
    "input": dict,
    "licence": str,
    "provenance": dict,
    "checksum": str,
}
_OPTIONAL: dict[str, Any] = {"member": str, "members": list}
_MEMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

StrPath = str | os.PathLike[str]


def canonical(value: Any) -> str:
    """The one JSON text of a value, for checksums."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _layout(tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Any], list[bytes]]:
    """Header entries and data of the tensors, fillers included."""
    entries: dict[str, Any] = {}
    blocks: list[bytes] = []
    at = 0
    for number, (name, tensor) in enumerate(tensors.items()):
        if tensor.dtype != np.float32:
            raise DTypeError(describe(f"tensors[{name!r}]", tensor.dtype, "float32"))
        if name.startswith("__"):
            raise ValueRangeError(describe("tensors", repr(name), "names that do not begin with two underscores"))
        data = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        entries[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
        gap = -at % _ALIGNMENT
        if gap:
            entries[f"__pad__.{number}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [at, at + gap]}
        at += gap
        blocks += [data, bytes(gap)]
    return entries, blocks


def _checksum(blocks: Sequence[bytes], metadata: Mapping[str, Any], entries: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    digest.update(_signed_text(metadata, entries))
    return f"sha256:{digest.hexdigest()}"


def _signed_text(metadata: Mapping[str, Any], entries: Mapping[str, Any]) -> bytes:
    signed = {key: value for key, value in metadata.items() if key != "checksum"}
    return canonical({"metadata": signed, "tensors": dict(entries)}).encode()


def write(
    path: StrPath,
    tensors: Mapping[str, npt.NDArray[Any]],
    graph: Mapping[str, Any],
    *,
    recipe: Mapping[str, Any] | None,
    labels: Mapping[int, str],
    input_contract: Mapping[str, Any],
    licence: str,
    provenance: Mapping[str, Any],
    name: str,
    member: str | None = None,
    members: Sequence[Mapping[str, Any]] = (),
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Write a package; it appears whole or not at all.

    Args:
        path: of the package; an existing file is replaced.
        tensors: float32 arrays by name, those of the members among them.
        graph, recipe, input_contract, provenance: JSON objects as this module describes them.
        labels: value -> name.
        licence: its short name or text.
        name: of the model.
        member: name of the network, where there are several.
        members: the others, as this module describes them.
        check: as of `write_whole`.
    Returns: the path.
    Raises: DTypeError, ValueRangeError: something that JSON cannot hold, too much metadata, members without a name of
        their own; OutputError.
    """
    entries, blocks = _layout(tensors)
    metadata: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "graph": dict(graph),
        "recipe": None if recipe is None else dict(recipe),
        "labels": {str(value): label for value, label in labels.items()},
        "input": dict(input_contract),
        "licence": licence,
        "provenance": dict(provenance),
    }
    if member is not None or members:
        metadata |= {"member": member, "members": [dict(one) for one in members]}
        wrong = _wrong_members(metadata)
        if wrong is not None:
            raise ValueRangeError(describe("members", *wrong))
    try:
        metadata = json.loads(canonical(metadata))
        metadata["checksum"] = _checksum(blocks, metadata, entries)
    except (TypeError, ValueError) as error:
        raise ValueRangeError(describe("metadata", error, "what JSON can hold")) from error
    header = json.dumps({"__metadata__": {"format": "covfast", "covfast": canonical(metadata)}, **entries}).encode()
    header += b" " * (-(len(header) + 8) % _ALIGNMENT)
    if len(header) > _HEADER_LIMIT:
        raise ValueRangeError(describe("metadata", f"{len(header)} bytes", f"at most {_HEADER_LIMIT}"))
    lines = [len(header).to_bytes(8, "little"), header, *blocks]
    write_whole(Path(path), lambda file: file.writelines(lines), check)
    return Path(path)


def write_whole(path: Path, fill: Callable[[BinaryIO], object], check: Callable[[Path], object] | None = None) -> None:
    """Write a file in a folder beside `path`, then put it in its place: it appears whole, checked and on the disk.

    Args:
        path: in a folder that exists; an existing file is replaced.
        fill: writes the content into an open file.
        check: looks at the written file, which has its final name, and raises where it must not be put in place.
    Raises: OutputError: not written; what `check` raises. Nothing is left behind then, nor after an interrupt.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".covfast-", ignore_cleanup_errors=True) as folder:
            part = Path(folder) / path.name
            with part.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if check is not None:
                check(part)
            os.replace(part, path)
    except OSError as error:
        raise OutputError(describe("path", f"{file_name(path)}: {error.strerror}", "a file to write")) from error


def _read_header(file: BinaryIO, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metadata, entries) of an open package, which then stands at its data. What is not looked at here, C++ checks."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size - 8):
        got = f"a file that is none, or not a whole one ({size} bytes)"
        raise FormatError(describe(name, got, "a model package", "covfast import makes one of published weights"))
    try:
        entries = json.loads(file.read(length))
        texts = entries.pop("__metadata__")
        metadata = json.loads(texts["covfast"]) if texts["format"] == "covfast" else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(describe(name, f"no header ({type(error).__name__})", "a model package")) from error
    if not isinstance(metadata, dict) or not isinstance(entries, dict):
        raise FormatError(describe(name, "metadata of another kind", "a model package"))
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(describe(name, f"format_version {version}", str(FORMAT_VERSION), "a newer covfast wrote it"))
    for key, kinds in _KINDS.items():
        if not isinstance(metadata.get(key, False), kinds):
            raise FormatError(describe(f"{name}: {key}", type(metadata.get(key)).__name__, f"{kinds} in the metadata"))
    for key, kinds in _OPTIONAL.items():
        if key in metadata and not isinstance(metadata[key], kinds):
            raise FormatError(describe(f"{name}: {key}", type(metadata[key]).__name__, f"{kinds} in the metadata"))
    wrong = _wrong_members(metadata)
    if wrong is not None:
        raise FormatError(describe(f"{name}: members", *wrong))
    return metadata, entries


def _wrong_members(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """(got, expected) of what is wrong with the names and kinds of the members; None: nothing, or there are none."""
    if "member" not in metadata and "members" not in metadata:
        return None
    names = [metadata.get("member")]
    for one in metadata.get("members", []):
        kinds = (("name", str), ("graph", dict), ("input", dict))
        if not isinstance(one, dict) or not all(isinstance(one.get(key), kind) for key, kind in kinds):
            return "a member of another kind", "objects with name, graph and input"
        names.append(one["name"])
    for index, name in enumerate(names):
        if not isinstance(name, str) or not _MEMBER.fullmatch(name):
            return f"the name {name!r}", "1 to 64 letters, digits, '_', '.' and '-'"
        if name in names[:index]:
            return f"the name {name!r} twice", "a name for each"
    return None


def _open(path: StrPath) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise FormatError(describe(file_name(path), error.strerror, "a model package")) from error


def read_metadata(path: StrPath) -> dict[str, Any]:
    """The metadata of a package, as this module describes it. Raises: FormatError."""
    with _open(path) as file:
        return _read_header(file, file_name(path))[0]


@dataclass(frozen=True)
class Contents:
    """What the header of a verified package says.

    Attributes:
        metadata: as this module describes it.
        shapes: of each tensor.
        size_bytes: of the file.
    """

    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    size_bytes: int

    def summary(self, size: Sequence[int] | None = None) -> str:
        """What the package is, and its layers for inputs of one size, for people.

        To be called where `_core.open_network` took the package: its checks cover graph, tensors and input contract.

        Args:
            size: ([D,] H, W); None for the input contract's, else the least multiple of at least 256 (2-D) or 64 (3-D).
        Raises: ShapeError: the network does not take `size`.
        """
        graph, contract = self.metadata["graph"], self.metadata["input"]
        parameters = sum(map(math.prod, self.shapes.values()))
        stages = [str(stage["stage"]) for stage in (self.metadata["recipe"] or {}).get("stages", [])]
        members = [self.metadata.get("member"), *(one["name"] for one in self.metadata.get("members", []))]
        sizes = contract.get("size") or f"multiples of {contract['multiple']}"
        labels = ", ".join(f"{value} {label}" for value, label in self.metadata["labels"].items())
        name, nodes = self.metadata["name"], graph["nodes"]
        lines = [
            f"{name}: {parameters:,} parameters, {len(nodes)} nodes, {self.size_bytes:,} bytes",
            f"input       {contract['channels']} channels, {contract['rank']}-D, size {sizes}",
            *(
                [f"members     {', '.join(members)}; the layers below are those of the first"]
                if len(members) > 1
                else []
            ),
            f"labels      {labels}",
            f"recipe      {' -> '.join(stages) or 'none'}",
            f"licence     {self.metadata['licence']}",
            f"provenance  {json.dumps(self.metadata['provenance'])}",
            f"checksum    {self.metadata['checksum']}",
            "",
            *self._layers(size),
        ]
        return "\n".join(map(plain_text, lines))

    def _layers(self, size: Sequence[int] | None) -> list[str]:
        """The table; where nobody asked for a size and the typical one does not fit, the reason."""
        try:
            return layers.table(self.metadata, self.shapes, size)
        except ShapeError as error:
            if size is not None:
                raise
            return [f"layers      not known at a typical size: {error}"]


def read_verified(path: StrPath) -> Contents:
    """The header of a package, after comparing its checksum with the content.

    Raises: FormatError: not a package; WeightsError: the content is not what was written.
    """
    with _open(path) as file:
        metadata, entries = _read_header(file, file_name(path))
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    try:
        digest.update(_signed_text(metadata, entries))
    except (ValueError, RecursionError) as error:
        raise FormatError(describe(file_name(path), error, "numbers that JSON can hold")) from error
    found = f"sha256:{digest.hexdigest()}"
    if found != metadata.get("checksum"):
        raise WeightsError(
            describe(file_name(path), found, str(metadata.get("checksum")), "the file is damaged; fetch it again")
        )
    try:
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items() if entry["dtype"] == "F32"}
    except (KeyError, TypeError) as error:
        raise FormatError(describe(file_name(path), error, "tensors with dtypes and shapes")) from error
    return Contents(metadata, shapes, size)


def verify(path: StrPath) -> str:
    """The checksum of a package, after comparing it with the content.

    Raises: FormatError: not a package; WeightsError: the content is not what was written.
    """
    return str(read_verified(path).metadata["checksum"])


def read_tensors(path: StrPath) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 tensors of a package, verified and read-only. Raises: FormatError, WeightsError."""
    verify(path)
    with _open(path) as file:
        _, entries = _read_header(file, file_name(path))
        data = file.read()
    tensors = {}
    try:
        for name, entry in entries.items():
            if entry["dtype"] == "F32":
                begin, end = entry["data_offsets"]
                tensors[name] = np.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise FormatError(describe(file_name(path), error, "tensors that fit their shapes")) from error
    return tensors


def plain_text(text: str) -> str:
    """One line that is safe to print, of text from a file: without control, formatting or lone surrogate characters."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def summary(path: StrPath, size: Sequence[int] | None = None) -> str:
    """What a package is, and its layers for one size, as `Contents.summary`.

    Raises: FormatError, WeightsError: the package; ShapeError: the network does not take `size`.
    """
    _core.open_network(os.fsencode(path))
    return read_verified(path).summary(size)
