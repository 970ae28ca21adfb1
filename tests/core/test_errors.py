"""errors.def feeds C++ and Python: the lists must match."""

from __future__ import annotations

import builtins

from covfast import _core, errors


def test_errors_python_classes_match_the_native_list() -> None:
    for _, exit_code, python_class, python_base in _core.error_list():
        cls = getattr(errors, python_class)
        assert issubclass(cls, errors.CovfastError)
        assert issubclass(cls, getattr(builtins, python_base))
        assert cls.exit_code == exit_code


def test_errors_every_python_class_is_in_the_native_list() -> None:
    native = {python_class for _, _, python_class, _ in _core.error_list()}
    python = {name for name, cls in vars(errors).items() if isinstance(cls, type)}
    assert python == native


def test_describe_gives_the_message_grammar() -> None:
    assert errors.describe("x", 1, "2", "try 2") == "x: got 1, expected 2; try 2"
    assert errors.describe("x", 1, "2") == "x: got 1, expected 2"


def test_file_name_drops_folders() -> None:
    assert errors.file_name("/a/Jane Doe/ct.nii.gz") == "ct.nii.gz"
    assert errors.file_name("/a/case/") == "case"
