"""The store of model packages: what is found, what is installed, and what a hostile package may not do."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
from engine.conftest import small_graph, small_tensors, write_package

import covfast.cli
from covfast import FormatError, OutputError, ValueRangeError, WeightsError, package
from covfast.models import store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, empty and not yet made."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "covfast" / "models"


def small(path: Path, **fields: object) -> Path:
    return write_package(path, small_graph(), small_tensors(), **fields)


def test_store_added_package_is_found(tmp_path: Path, folder: Path) -> None:
    given = small(tmp_path / "given.covfast")
    entry = store.add(given, "mine")
    assert entry == store.ModelEntry("mine", folder / "mine.covfast", "user")
    assert entry in store.entries()
    assert store.find("mine").read_bytes() == given.read_bytes()
    with pytest.raises(OutputError, match="a name not in use"):
        store.add(given, "mine")
    store.add(given, "mine", overwrite=True)
    assert os.listdir(folder) == ["mine.covfast"]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\x1b[2J", "\ud800"])
def test_store_bad_name_is_a_wrong_value(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(ValueRangeError, match="name: got"):
        store.add(small(tmp_path / "given.covfast"), name)


def test_store_package_that_does_not_open_is_not_installed(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FormatError, match=r"^given\.covfast: channels"):
        store.add(small(tmp_path / "given.covfast", channels=None), "given")
    with pytest.raises(FormatError, match=r"^given\.covfast: version"):
        store.add(small(tmp_path / "given.covfast", recipe={"stages": [1, 2]}))
    data = bytearray(small(tmp_path / "given.covfast").read_bytes())
    data[-1] ^= 1
    (tmp_path / "given.covfast").write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=r"^given\.covfast: got"):
        store.add(tmp_path / "given.covfast")
    assert os.listdir(folder) == []


def test_store_interrupt_leaves_nothing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> str:
        raise KeyboardInterrupt

    given = small(tmp_path / "given.covfast")
    monkeypatch.setattr(package, "verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.add(given)
    assert os.listdir(folder) == []


def test_store_user_without_a_home_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert store.user_folder() is None
    assert all(entry.source != "user" for entry in store.entries())
    with pytest.raises(OutputError, match="set XDG_DATA_HOME"):
        store.add(small(tmp_path / "given.covfast"))


def test_store_folder_named_like_the_weights_is_no_distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "covfast_weights", types.ModuleType("covfast_weights"))  # it has no __file__
    assert store.entries() == ()


def test_models_list_survives_junk_and_prints_no_escapes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "junk.covfast").write_text("a letter")
    os.mkfifo(folder / "pipe.covfast")
    small(folder / "bad.covfast", licence="\ud800 \x1b[2J")
    small(folder / "good.covfast", licence="MIT")
    assert covfast.cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert next(line for line in lines if line.startswith("good")).split() == ["good", "user", "MIT"]
    assert next(line for line in lines if line.startswith("junk")).count("expected a model package") == 1
    assert any(line.startswith("bad") for line in lines)


def test_models_show_prints_no_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small(tmp_path / "m.covfast", name="\x1b[2J\u202ename\nfake line")
    assert covfast.cli.main(["models", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert "name fake line: 168 parameters" in lines[0]
