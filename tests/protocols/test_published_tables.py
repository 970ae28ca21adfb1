"""The published tables: averages that follow from their folds, sources, and our row beside them."""

from __future__ import annotations

import math

import jsonschema
import numpy as np
import pytest
from protocol_folders import SMALL

from covfast.errors import ValueRangeError
from covfast.metrics import CONVENTIONS, evaluate
from covfast.protocols import PROTOCOLS, published, published_rows
from covfast.protocols.comparison import MEAN, comparison_text, differences, to_dict
from covfast.protocols.splits import read_table

ROWS = [row for _, row in published_rows()]
MEANS = [row for row in ROWS if row.fold == MEAN]


def folds_of(mean) -> list:
    return [row for row in ROWS if (row.table, row.setting) == (mean.table, mean.setting) and isinstance(row.fold, int)]


@pytest.mark.parametrize("mean", MEANS, ids=lambda row: f"{row.table}-{row.setting}")
def test_published_averages_are_those_of_their_folds(mean) -> None:
    folds = folds_of(mean)
    for key, figure in mean.figures.items():
        values = [row.figures[key].value for row in folds if key in row.figures]
        if values:
            assert len(values) == 5
            # Both are rounded to four digits; those of T1-Union differ in the source itself.
            allowed = 1.7e-3 if mean.setting == "T1-Union" else 1.01e-4
            assert figure.value == pytest.approx(np.mean(values), abs=allowed)


def test_the_published_sd_is_that_of_all_cases_of_all_folds_together() -> None:
    mean = next(row for row in MEANS if row.setting == "T1-Separate")
    folds = folds_of(mean)
    for key, figure in mean.figures.items():
        values = np.array([row.figures[key].value for row in folds])
        spreads = np.array([row.figures[key].sd for row in folds])
        pooled = np.sqrt(np.sum(15 * spreads**2 + 16 * (values - values.mean()) ** 2) / 79)  # 16 cases a fold, n - 1
        if key != "L-lungDSC":  # whose SD in fold 4 is ten times too large in the source
            assert figure.sd == pytest.approx(pooled, rel=5e-3)


def test_at_least_four_settings_have_folds_and_an_average() -> None:
    assert len({mean.setting for mean in MEANS if folds_of(mean)}) >= 5


def test_the_main_table_rounds_the_averages_of_the_folds() -> None:
    main = {row.setting: row for where, row in published_rows() if row.table == "ctseg-3d" and where == "covid"}
    checked = 0
    for mean in MEANS:
        if mean.table in ("ctseg-task1-folds", "ctseg-task3-folds"):
            for key in mean.figures.keys() & main[mean.setting].figures.keys():
                # T1-Union is not consistent in the source itself: 64.6 stands for 0.6544.
                allowed = 8.5e-3 if mean.setting == "T1-Union" else 1.01e-3
                assert main[mean.setting].figures[key].value == pytest.approx(mean.figures[key].value, abs=allowed)
                checked += 1
    assert checked > 20


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_every_protocol_has_a_published_row_for_its_first_set_with_columns_of_its_script(protocol) -> None:
    tested = protocol.sets[0]
    whole = published(protocol.setting, tested.name)
    one = [row for number in range(len(tested.folds)) for row in published(protocol.setting, tested.name, number)]
    if protocol.name == "task1-82-lung":  # only the joint model's lungs were published
        assert not {"L-lungDSC"} & {key for row in whole + one for key in row.figures}
        return
    assert whole
    truth = np.zeros(SMALL, bool)
    truth[10:20, 10:20] = True
    convention = CONVENTIONS[protocol.convention]
    if protocol.convention == "ctseg":
        labels = dict.fromkeys(tested.targets, 1)
        report = evaluate(truth.astype(np.uint8), truth.astype(np.uint8), (1.0, 1.0), labels, convention="ctseg")
    else:
        report = evaluate(truth, truth, convention=protocol.convention)
    keys = convention.summary([report]).keys()
    for row in whole:
        assert row.figures.keys() & keys
        if protocol.convention != "ctseg":  # that table's rows hold lungs and infection, a protocol has one of them
            assert row.figures.keys() <= keys


def test_figures_are_shares_and_distances_pixels() -> None:
    for row in ROWS:
        for key, figure in row.figures.items():
            if key == "HD":
                assert 1 < figure.value < 512
                assert figure.scale == 1
            else:
                assert 0 <= figure.value <= 1
            assert figure.sd is None or 0 <= figure.sd <= 1


def test_rows_of_a_table_are_as_long_as_its_columns() -> None:
    for entry in read_table("tables.json")["tables"]:
        assert entry["tag"] in read_table("tables.json")["tags"]
        assert entry["source"]
        for row in entry["rows"]:
            assert len(row["values"]) == len(row.get("sd", row["values"]))
            assert len(row["values"]) == len(entry["columns"])


def test_miniseg_rows_are_unverified_and_the_benchmarks_are_not() -> None:
    assert not any(row.is_verified for row in published("miniseg-p9", "test"))
    assert all(row.is_verified for row in published("T1-Separate", "covid"))


def test_our_row_stands_beside_the_published_with_the_differences() -> None:
    rows = [row for row in published("T1-Separate", "covid") if row.table == "ctseg-3d"]
    ours = {"LesionDSC": 0.70, "LesionDSC SD": 0.2, "LesionNSD-3mm": math.nan}
    text = comparison_text(ours, rows, "covfast")
    lines = text.splitlines()
    assert lines[0].split() == ["LesionDSC", "%", "LesionNSD-3mm", "%"]
    assert lines[1].split() == ["covfast", "70.0", "±", "20.0", "-"]
    assert "67.3 ± 22.3" in lines[2]
    assert lines[3].split() == ["difference", "+2.7", "-"]
    assert differences(ours, rows[0])["LesionDSC"] == pytest.approx(0.027)
    hidden = comparison_text(ours, rows, "covfast", is_comparable=False)
    assert "difference" not in hidden
    assert to_dict(rows[0], ours, False)["differences"] is None
    assert to_dict(rows[0], ours, True)["differences"]["LesionNSD-3mm"] is None


def test_unverified_rows_say_so() -> None:
    rows = published("miniseg-ct100", "test")
    ours = {"mIoU": 0.8, "SEN": 0.8, "SPC": 0.9, "DSC": 0.7, "HD": 80.0}
    text = comparison_text(ours, rows, "covfast")
    assert "unverified" in text
    assert "+5.580" in text  # pixels, not percent
    assert to_dict(rows[0], ours, True)["status"] == "unverified"


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueRangeError, match="no figures"):
        comparison_text({}, published("semiseg", "test"), "covfast")


def test_schema_of_the_result_is_valid() -> None:
    import json
    from importlib import resources

    text = resources.files("covfast").joinpath("schemas/benchmark.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"] == {"const": 1}
