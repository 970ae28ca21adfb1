"""Reading weight files: the format is found, what does not fit ends in a named error."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from covfast.errors import FormatError, ValueRangeError, WeightsError  # noqa: E402
from covfast.models import MiniSeg, import_checkpoint  # noqa: E402


def write(tmp_path: Path, state: object) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    return path


def test_import_of_a_state_dict_finds_the_format_and_loads_it(tmp_path: Path) -> None:
    module = MiniSeg()
    checkpoint = import_checkpoint(write(tmp_path, module.state_dict()))
    assert checkpoint.format == "miniseg"
    assert not checkpoint.module.training
    assert all(torch.equal(a, b) for a, b in zip(checkpoint.module.parameters(), module.parameters(), strict=True))


def test_import_states_what_the_file_does_not_tell(tmp_path: Path) -> None:
    checkpoint = import_checkpoint(write(tmp_path, MiniSeg().state_dict()))
    assert any("mean and standard deviation" in note for note in checkpoint.notes)


def test_import_recipe_names_the_stages_in_order(tmp_path: Path) -> None:
    recipe = import_checkpoint(write(tmp_path, MiniSeg().state_dict())).recipe
    names = [stage["stage"] for stage in recipe["stages"]]
    assert names[:2] == ["orient", "lungs"]
    assert names.index("window") < names.index("normalise") < names.index("network") < names.index("threshold")


@pytest.mark.parametrize("missing", ["pred2.", "pred"])
def test_import_without_auxiliary_heads_is_accepted(tmp_path: Path, missing: str) -> None:
    kept = {k: v for k, v in MiniSeg().state_dict().items() if k.startswith("pred1") or not k.startswith(missing)}
    module = import_checkpoint(write(tmp_path, kept)).module
    assert isinstance(module, MiniSeg)
    assert not module.aux


def test_import_with_wrapping_and_prefix_is_accepted(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in MiniSeg().state_dict().items()}
    assert import_checkpoint(write(tmp_path, {"state_dict": state})).format == "miniseg"


def test_import_of_other_sizes_builds_the_network_that_fits(tmp_path: Path) -> None:
    state = MiniSeg(3, 1, (4, 8, 8, 16), (1, 2, 2, 1)).state_dict()
    module = import_checkpoint(write(tmp_path, state)).module
    assert tuple(module(torch.rand(1, 1, 32, 32)).shape) == (1, 3, 32, 32)


def test_import_with_a_missing_tensor_raises_weights_error(tmp_path: Path) -> None:
    state = MiniSeg().state_dict()
    del state["up4_bn4.running_var"]
    with pytest.raises(WeightsError, match=r"no tensor 'up4_bn4\.running_var'"):
        import_checkpoint(write(tmp_path, state))


def test_import_with_an_extra_tensor_raises_weights_error(tmp_path: Path) -> None:
    state = {**MiniSeg().state_dict(), "extra": torch.zeros(1)}
    with pytest.raises(WeightsError, match="unknown tensor 'extra'"):
        import_checkpoint(write(tmp_path, state))


def test_import_with_a_wrong_shape_raises_weights_error(tmp_path: Path) -> None:
    state = {**MiniSeg().state_dict(), "up4_conv4.bias": torch.zeros(7)}
    with pytest.raises(WeightsError, match=r"up4_conv4.bias: got \(7,\)"):
        import_checkpoint(write(tmp_path, state))


def test_import_with_a_value_that_is_not_finite_raises_weights_error(tmp_path: Path) -> None:
    state = MiniSeg().state_dict()
    state["up4_conv4.bias"][0] = float("nan")
    with pytest.raises(WeightsError, match="finite"):
        import_checkpoint(write(tmp_path, state))


@pytest.mark.parametrize("content", [b"", b"not a file of torch", pickle.dumps(Path("x")), b"PK\x03\x04 cut off"])
def test_import_of_other_bytes_raises_format_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"weights\.pth"):
        import_checkpoint(path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("save", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))])
def test_import_names_what_a_pickle_was_refused_for(tmp_path: Path, save: Callable[[object, Path], None]) -> None:
    path = tmp_path / "weights.pth"
    save({"a": Evil()}, path)
    with pytest.raises(FormatError, match=r"the name 'posix\.system' in its pickle"):
        import_checkpoint(path)


def test_import_of_a_truncated_file_raises_format_error(tmp_path: Path) -> None:
    path = write(tmp_path, MiniSeg().state_dict())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(FormatError, match=r"weights\.pth"):
        import_checkpoint(path)


def test_import_of_another_network_raises_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="formats"):
        import_checkpoint(write(tmp_path, torch.nn.Linear(2, 2).state_dict()))


def test_import_of_a_missing_file_raises_format_error_without_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        import_checkpoint(tmp_path / "absent.pth")
    assert str(tmp_path) not in str(caught.value)


def test_import_with_an_unknown_format_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="format"):
        import_checkpoint(write(tmp_path, MiniSeg().state_dict()), format="onnx")


def test_import_of_the_published_files_loads_all_five(data_dir: Path) -> None:
    for fold in range(1, 6):
        checkpoint = import_checkpoint(data_dir / "miniseg_official" / f"MiniSeg_CrossVal{fold}.pth")
        assert sum(p.numel() for p in checkpoint.module.parameters()) == 82912
