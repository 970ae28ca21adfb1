"""Files of torch.save, opened by the restricted unpickler: tensors stay in the file until somebody asks for one.

Both layouts are read: the zip file of torch 1.6 and later, and the row of pickles with the raw storages behind them of
earlier versions. A checkpoint of training holds the optimiser's state beside the weights, twice their size or more;
it is never read.
"""

# torch is not followed by the type checker: its classes and functions are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from typing import Any, BinaryIO

import torch
from torch import Tensor

from covfast.errors import FormatError, describe
from covfast.models import restricted_pickle
from covfast.models.restricted_pickle import STORAGES, TORCH_GLOBALS, StoredTensor

_MAGIC = 0x1950A86A20F9469CFC6C  # of the old layout, after which come its version and the machine's sizes
_VERSION = 1001
_PICKLE_LIMIT = 256 << 20
_EXPECTED = "a file of torch.save"


class TorchArchive:
    """An open file of torch.save.

    Args:
        file: stands at its beginning; it is seekable and stays open while tensors are read.
        name: for messages.

    Attributes:
        content: what was saved, with `StoredTensor` in the place of tensors.

    Raises:
        FormatError: another file, a damaged one, or a pickle that names something that is not allowed.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._zip: zipfile.ZipFile | None = None
        self._root = ""
        self._begins: dict[str, int] = {}  # storage of the old layout -> place of its data
        self.content: Any = None
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        try:
            self._open_zip() if is_zip else self._open_old()
        except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError) as error:
            raise FormatError(describe(name, f"{type(error).__name__}", _EXPECTED)) from error

    def _open_zip(self) -> None:
        self._zip = zipfile.ZipFile(self._file)
        names = [entry for entry in self._zip.namelist() if entry.split("/")[1:] == ["data.pkl"]]
        if len(names) != 1:
            raise FormatError(describe(self._name, "a zip file without one data.pkl", _EXPECTED))
        self._root = names[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        if order in self._zip.namelist() and self._entry(order, 16) != b"little":
            raise FormatError(describe(self._name, "numbers of another byte order", "little endian"))
        pickled = BytesIO(self._entry(names[0], _PICKLE_LIMIT))
        self.content = restricted_pickle.load(pickled, self._name, TORCH_GLOBALS)

    def _entry(self, name: str, most: int) -> bytes:
        """The bytes of one entry, which must lie uncompressed."""
        assert self._zip is not None
        info = self._zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
            raise FormatError(describe(self._name, f"an entry of {info.file_size} bytes", "stored entries that fit"))
        return self._zip.read(info)

    def _open_old(self) -> None:
        if restricted_pickle.load(self._file, self._name) != _MAGIC:
            raise FormatError(describe(self._name, "another file", _EXPECTED))
        if restricted_pickle.load(self._file, self._name) != _VERSION:
            raise FormatError(describe(self._name, "another version", _EXPECTED))
        system = restricted_pickle.load(self._file, self._name)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise FormatError(describe(self._name, "numbers of another byte order", "little endian"))
        self.content = restricted_pickle.load(self._file, self._name, TORCH_GLOBALS)
        keys = restricted_pickle.load(self._file, self._name)
        kinds = {held.storage: held.kind for held in _tensors(self.content)}
        begin, end = self._file.tell(), self._file.seek(0, os.SEEK_END)
        self._file.seek(begin)
        for key in keys if isinstance(keys, list) else []:
            count = int.from_bytes(self._file.read(8), "little", signed=True)
            size = count * _dtype(kinds[key]).itemsize
            self._begins[key] = self._file.tell()
            if count < 0 or self._begins[key] + size > end:
                raise FormatError(describe(self._name, "a storage that is cut short", _EXPECTED))
            self._file.seek(size, os.SEEK_CUR)

    def read(self, stored: StoredTensor) -> Tensor:
        """A tensor of the file, contiguous. Raises: FormatError: its storage is missing or of another size."""
        dtype = _dtype(stored.kind)
        try:
            if self._zip is not None:
                data = self._entry(f"{self._root}data/{stored.storage}", stored.numel * dtype.itemsize)
            else:
                self._file.seek(self._begins[stored.storage])
                data = self._file.read(stored.numel * dtype.itemsize)
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FormatError(describe(self._name, "a storage that cannot be read", _EXPECTED)) from error
        if len(data) < stored.numel * dtype.itemsize:
            raise FormatError(describe(self._name, "a storage that is cut short", _EXPECTED))
        if not data:
            return torch.zeros(stored.shape, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype)
        return torch.as_strided(flat, stored.shape, stored.strides, stored.first).clone()


def _dtype(kind: str) -> torch.dtype:
    return getattr(torch, STORAGES[kind])


def _tensors(held: Any) -> list[StoredTensor]:
    """Every tensor in the containers, each container once."""
    found, seen, open_ = [], set(), [held]
    while open_:
        value = open_.pop()
        if isinstance(value, StoredTensor):
            found.append(value)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            open_.extend(value.values() if isinstance(value, dict) else value)
    return found
