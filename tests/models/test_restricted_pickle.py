"""Pickles of others run nothing: names that are not in the table, damaged and hostile files end in a typed error."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from nnunet_folders import (  # noqa: E402
    plans_v1,
    write_v1,
    write_v2,
)

from covfast.errors import CovfastError, FormatError  # noqa: E402
from covfast.models import import_checkpoint  # noqa: E402


class _Runs:
    """Unpickled freely, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_checkpoint_that_names_a_function_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    folder = write_v2(tmp_path / "model", logging={"x": _Runs(trap)})
    with pytest.raises(FormatError, match=r"fold_0: got the name '(posix|nt)\.mkdir'.*nothing was run"):
        import_checkpoint(folder)
    assert not trap.exists()


@pytest.mark.parametrize("old_torch", [False, True])
def test_v1_files_that_name_a_function_are_not_run(tmp_path: Path, old_torch: bool) -> None:
    trap = tmp_path / "trap"
    folder, _ = write_v1(tmp_path / "model", plans_v1(x=_Runs(trap)), old_torch=old_torch)
    with pytest.raises(FormatError, match="mkdir"):
        import_checkpoint(folder)
    folder, _ = write_v1(tmp_path / "other")
    path = folder / "fold_0" / "model_final_checkpoint.model"
    torch.save({"state_dict": {"x": _Runs(trap)}}, path, _use_new_zipfile_serialization=not old_torch)
    with pytest.raises(FormatError, match="mkdir"):
        import_checkpoint(folder)
    assert not trap.exists()


HOSTILE = [
    b"cos\nsystem\n(S'true'\ntR.",
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I9999999999\ntcnumpy\ndtype\n(S'f8'\ntRI00\nS''\ntb.",
    b"cnumpy\ndtype\n(S'V8'\ntR.",
    b"ccollections\nOrderedDict\n(dS'a'\nS'b'\nsb.",
    b"ctorch._utils\n_rebuild_tensor_v2\n.",
    b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",  # a key of a million tuples in each other
    b"\x80\x02c__builtin__\nfrozenset\n])" + b"\x85" * 1_000_000 + b"a\x85R.",
    b"\x80\x04\x8f()" + b"\x85" * 1_000_000 + b"\x90.",
    b"Pouter\n.",
    b"",
    b"(",
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_v1_pickles_with_anything_else_inside_end_in_a_typed_error(tmp_path: Path, content: bytes) -> None:
    folder, _ = write_v1(tmp_path)
    (folder / "fold_0" / "model_final_checkpoint.model.pkl").write_bytes(content)
    with pytest.raises(FormatError):
        import_checkpoint(folder)


def test_storages_that_do_not_fit_their_tensors_raise(tmp_path: Path) -> None:
    """A tensor's pickle claims more elements than its storage has, and a storage more than its file."""
    folder = write_v2(tmp_path)
    path = folder / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    name = next(name for name in entries if name.endswith("/data/0"))
    entries[name] = entries[name][:8]
    with zipfile.ZipFile(path, "w") as file:
        for key, value in entries.items():
            file.writestr(key, value)
    with pytest.raises(FormatError, match="storage"):
        import_checkpoint(folder)


def test_every_truncation_and_flip_of_a_checkpoint_ends_in_a_typed_error_or_a_network(tmp_path: Path) -> None:
    folder, _ = write_v1(tmp_path)
    path = folder / "fold_0" / "model_final_checkpoint.model.pkl"
    content = path.read_bytes()
    for at in range(0, len(content), 37):
        for changed_content in (content[:at], content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :]):
            path.write_bytes(changed_content)
            with contextlib.suppress(CovfastError):
                import_checkpoint(folder)


def test_shared_and_plain_values_of_a_pickle_come_through(tmp_path: Path) -> None:
    import numpy as np

    from covfast.models import restricted_pickle

    row = [1, 2]
    held = {"a": row, "b": row, "array": np.arange(6, dtype=">i2").reshape(2, 3), "scalar": np.float64(1.5)}
    held |= {"set": {1, 2}, "flag": np.bool_(True), "objects": np.array([None, "x"], dtype=object), "bytes": b"\0\xff"}
    for protocol in range(6):
        path = tmp_path / "plans.pkl"
        path.write_bytes(pickle.dumps(held, protocol))
        with path.open("rb") as file:
            found = restricted_pickle.load(file, "plans.pkl")
        assert found["a"] is found["b"]
        assert found["array"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert (found["scalar"], found["flag"], found["objects"]) == (1.5, True, [None, "x"])
        assert (found["set"], found["bytes"]) == ({1, 2}, b"\0\xff")
