"""lungmask's weight files: found, loaded, fused; what does not fit ends in a named error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import covfast  # noqa: E402
from covfast.errors import ValueRangeError, WeightsError  # noqa: E402
from covfast.models import LungUNet, MiniSeg, import_checkpoint  # noqa: E402

CHANNELS = (4, 8, 16)


def write(path: Path, classes: int = 3, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    torch.save(LungUNet(classes, CHANNELS).state_dict(), path)
    return path


def test_import_finds_the_format_and_names_the_labels_in_its_own_order(tmp_path: Path) -> None:
    lungs = import_checkpoint(write(tmp_path / "r.pth"))
    assert lungs.format == "lungmask"
    assert lungs.labels == {1: "right lung", 2: "left lung"}
    assert any("reverse" in note for note in lungs.notes)
    lobes = import_checkpoint(write(tmp_path / "l.pth", 6))
    assert lobes.labels[4] == "right middle lobe"
    assert import_checkpoint(write(tmp_path / "o.pth", 4)).labels == {n: f"label {n}" for n in (1, 2, 3)}


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        module = LungUNet()
    assert sum(parameter.numel() for parameter in module.parameters()) == 28_953_539


def test_import_leaves_unused_entries_out(tmp_path: Path) -> None:
    state = LungUNet(3, CHANNELS).state_dict()
    state["down_path.0.residual_input_conv.weight"] = torch.zeros(4, 1, 1, 1)
    state["up_path.1.conv_block.residual_batchnorm.running_mean"] = torch.zeros(4)
    torch.save(state, tmp_path / "r.pth")
    module = import_checkpoint(tmp_path / "r.pth").module
    assert torch.equal(module.last.weight, state["last.weight"])


def test_import_without_postprocessing_has_no_such_stage(tmp_path: Path) -> None:
    path = write(tmp_path / "r.pth")
    names = [stage["stage"] for stage in import_checkpoint(path).recipe["stages"]]
    assert names == ["orient", "slices", "network", "argmax", "lung_components"]
    plain = import_checkpoint(path, postprocessing=False).recipe
    assert [stage["stage"] for stage in plain["stages"]] == names[:-1]


def test_fused_package_holds_both_networks(tmp_path: Path) -> None:
    lobes, lungs = write(tmp_path / "l.pth", 6, 1), write(tmp_path / "r.pth", 3, 2)
    import_checkpoint(lobes, fill=lungs).export(tmp_path / "f.covfast")
    segmenter = covfast.Segmenter(tmp_path / "f.covfast")
    assert segmenter.names[5] == "right lower lobe"
    hu = np.random.default_rng(0).integers(-1000, 300, (3, 40, 44)).astype(np.int16)
    assert segmenter((hu, (5, 2, 2))).labels.max() <= 5


def test_fuse_of_other_formats_is_refused(tmp_path: Path) -> None:
    torch.save(MiniSeg().state_dict(), tmp_path / "m.pth")
    with pytest.raises(ValueRangeError, match="lungs"):
        import_checkpoint(write(tmp_path / "l.pth", 6), fill=tmp_path / "m.pth")
    with pytest.raises(ValueRangeError, match="postprocessing"):
        import_checkpoint(tmp_path / "m.pth", postprocessing=False)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "nan", "channels"])
def test_tensors_that_do_not_fit_are_a_weights_error(tmp_path: Path, change: str) -> None:
    state = LungUNet(3, CHANNELS).state_dict()
    if change == "missing":
        del state["up_path.1.conv_block.block.3.bias"]
    elif change == "unknown":
        state["down_path.0.extra"] = torch.zeros(1)
    elif change == "shape":
        state["last.weight"] = torch.zeros(3, 5, 1, 1)
    elif change == "nan":
        state["last.weight"][0] = float("nan")
    else:
        state["down_path.1.block.0.weight"] = torch.zeros(9, 4, 3, 3)
    torch.save(state, tmp_path / "r.pth")
    with pytest.raises(WeightsError, match=r"r\.pth"):
        import_checkpoint(tmp_path / "r.pth")
