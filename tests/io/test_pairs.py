"""Pairs of label maps by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from covfast.errors import FormatError, ValueRangeError
from covfast.io.pairs import find_pairs, with_maps


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_find_pairs_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    one, other = tmp_path / "r", tmp_path / "p"
    touch(one / "b.nii.gz", one / "a.1.nrrd", one / "z.png", one / "notes.txt", one / ".hidden.nii.gz")
    touch(other / "b.mha", other / "a.1" / "labels.nii.gz", other / "z.PNG", other / "empty" / "run.json")
    found = find_pairs(one, other)
    assert [pair.case for pair in found.found] == ["a.1", "b", "z"]
    assert found.found[0].prediction == other / "a.1" / "labels.nii.gz"
    assert (found.without_prediction, found.without_reference, found.is_single) == ((), (), False)


def test_find_pairs_lists_what_lacks_its_partner(tmp_path: Path) -> None:
    touch(*(tmp_path / "r" / f"{name}.nii" for name in "dab"), *(tmp_path / "p" / f"{name}.nii" for name in "bxc"))
    found = find_pairs(tmp_path / "r", tmp_path / "p")
    assert (found.without_prediction, found.without_reference) == (("a", "d"), ("c", "x"))
    assert [pair.case for pair in find_pairs(tmp_path / "p", tmp_path / "r").found] == ["b"]


def test_find_pairs_two_files_whatever_their_names(tmp_path: Path) -> None:
    touch(tmp_path / "truth.nii.gz", tmp_path / "out" / "labels.nii.gz")
    for prediction in (tmp_path / "out", tmp_path / "out" / "labels.nii.gz"):
        found = find_pairs(tmp_path / "truth.nii.gz", prediction)
        assert found.is_single
        assert [(pair.case, pair.prediction.name) for pair in found.found] == [("truth", "labels.nii.gz")]


def test_find_pairs_refuses_a_file_against_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "x.nii", tmp_path / "p" / "x.nii")
    for pair in ((tmp_path / "x.nii", tmp_path / "p"), (tmp_path / "p", tmp_path / "x.nii")):
        with pytest.raises(ValueRangeError, match="two files, or two folders"):
            find_pairs(*pair)


def test_find_pairs_refuses_nothing_and_two_of_one_name(tmp_path: Path) -> None:
    touch(
        tmp_path / "r" / "x.nii",
        tmp_path / "text" / "notes.txt",
        tmp_path / "two" / "x.nii",
        tmp_path / "two" / "x.mha",
    )
    for other in ("absent", "text", "two"):
        with pytest.raises(FormatError) as caught:
            find_pairs(tmp_path / "r", tmp_path / other)
        assert str(tmp_path) not in str(caught.value)


def test_with_maps_adds_each_cases_map_where_there_is_one(tmp_path: Path) -> None:
    touch(*(tmp_path / folder / f"{name}.nii" for folder in "rp" for name in "ab"), tmp_path / "m" / "b.nii.gz")
    found = with_maps(find_pairs(tmp_path / "r", tmp_path / "p"), tmp_path / "m").found
    assert [pair.probability for pair in found] == [None, tmp_path / "m" / "b.nii.gz"]
    single = find_pairs(tmp_path / "r" / "a.nii", tmp_path / "p" / "a.nii")
    assert with_maps(single, tmp_path / "m" / "b.nii.gz").found[0].probability == tmp_path / "m" / "b.nii.gz"
