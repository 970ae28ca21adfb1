"""The manifest of a batch: what counts as done, who may write, what is left after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_schemas import load

from covfast.errors import FormatError, OutputError, ValueRangeError
from covfast.manifest import CONTINUE, DONE, NAME, NEW, OVERWRITE, Job, Manifest

RUN = {
    "command": "predict",
    "model": {"name": "m", "sha256": "0" * 64},
    "options": {"precision": "fp32", "folds": None},
}


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_text(name)
    return [Job(name, (tmp_path / "in" / name,), (f"{name}.mha",)) for name in "abc"]


def do(manifest: Manifest, job: Job, status: str = DONE) -> None:
    if status == DONE:
        (manifest.folder / job.outputs[0]).write_text("labels")
    manifest.record(job, status, None if status == DONE else "FormatError: x: got y, expected z")


def held(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
    jsonschema.validate(value, load("manifest"))
    return value


def names(todo: list[Job]) -> str:
    return "".join(job.name for job in todo)


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path: Path, jobs: list[Job]) -> None:
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs, NEW)) == "abc"
        do(manifest, jobs[0])
        do(manifest, jobs[1], "failed")
        statuses = {name: case["status"] for name, case in held(tmp_path / "out")["cases"].items()}
        assert statuses == {"a": "ok", "b": "failed", "c": "running"}
    assert sorted(held(tmp_path / "out")["cases"]) == ["a", "b"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.mha", NAME}
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs, CONTINUE)) == "bc"
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs, OVERWRITE)) == "abc"


@pytest.mark.parametrize("change", ["gone", "cut", "input", "more outputs"])
def test_a_case_is_done_again_when_what_it_left_or_its_input_changed(
    tmp_path: Path, jobs: list[Job], change: str
) -> None:
    with Manifest(tmp_path / "out", RUN) as manifest:
        for job in manifest.todo(jobs, NEW):
            do(manifest, job)
    if change == "gone":
        (tmp_path / "out" / "b.mha").unlink()
    elif change == "cut":
        (tmp_path / "out" / "b.mha").write_text("lab")
    elif change == "input":
        (tmp_path / "in" / "b").write_text("another scan")
    else:
        jobs[1] = Job("b", jobs[1].inputs, ("b.npz", "b.mha"))
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs, CONTINUE)) == "b"


def test_another_run_is_refused_and_its_changes_named(tmp_path: Path, jobs: list[Job]) -> None:
    with Manifest(tmp_path / "out", RUN) as manifest:
        for job in manifest.todo(jobs[:2], NEW):
            do(manifest, job)
    other = {**RUN, "options": {"precision": "bf16", "folds": None}}
    with Manifest(tmp_path / "out", other) as manifest:
        with pytest.raises(ValueRangeError, match=r'a, b done with precision "fp32" \(now "bf16"\)'):
            manifest.todo(jobs, CONTINUE)
        assert names(manifest.todo(jobs[2:], CONTINUE)) == "c"  # nothing of these is done
        do(manifest, jobs[2])
    assert len(held(tmp_path / "out")["runs"]) == 2
    with Manifest(tmp_path / "out", RUN) as manifest, pytest.raises(ValueRangeError, match="c done with"):
        manifest.todo(jobs, CONTINUE)
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs[:2], CONTINUE)) == ""


def test_another_run_that_wants_more_outputs_replaces_none(tmp_path: Path, jobs: list[Job]) -> None:
    with Manifest(tmp_path / "out", RUN) as manifest:
        for job in manifest.todo(jobs, NEW):
            do(manifest, job)
    more = [Job(job.name, job.inputs, (f"{job.name}.npz", *job.outputs)) for job in jobs]
    other = {**RUN, "options": {"precision": "bf16", "folds": None}}
    with Manifest(tmp_path / "out", other) as manifest:
        with pytest.raises(ValueRangeError, match="a, b, c done with"):
            manifest.todo(more, CONTINUE)
        for job in jobs:
            (tmp_path / "out" / job.outputs[0]).unlink()
        assert names(manifest.todo(more, CONTINUE)) == "abc"


def test_results_that_are_there_need_a_flag_and_a_manifest(tmp_path: Path, jobs: list[Job]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.mha").write_text("of somebody else")
    with Manifest(tmp_path / "out", RUN) as manifest:
        with pytest.raises(OutputError, match=r"with b.mha.*--continue.*--overwrite"):
            manifest.todo(jobs, NEW)
        with pytest.raises(OutputError, match=r"no manifest.json"):
            manifest.todo(jobs, CONTINUE)
        assert names(manifest.todo(jobs, OVERWRITE)) == "abc"


def test_two_runs_may_share_a_folder_but_no_case(tmp_path: Path, jobs: list[Job]) -> None:
    with Manifest(tmp_path / "out", RUN) as one, Manifest(tmp_path / "out", RUN) as two:
        one.todo(jobs[:2], NEW)
        for mode in (NEW, CONTINUE, OVERWRITE):
            with pytest.raises(OutputError, match="another run is at b"):
                two.todo(jobs[1:], mode)
        assert names(two.todo(jobs[2:], NEW)) == "c"
        do(two, jobs[2])
        do(one, jobs[0])
        do(one, jobs[1])
    assert sorted(held(tmp_path / "out")["cases"]) == ["a", "b", "c"]


def test_many_runs_at_once_lose_no_note(tmp_path: Path) -> None:
    def run(number: int) -> None:
        jobs = [Job(f"{number}_{index}", (), (f"{number}_{index}.mha",)) for index in range(10)]
        with Manifest(tmp_path, RUN) as manifest:
            for job in manifest.todo(jobs, NEW):
                do(manifest, job)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held(tmp_path)["cases"]) == 60
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_cases_of_a_run_that_was_killed_are_free(tmp_path: Path, jobs: list[Job]) -> None:
    code = f"""
import os, time
from pathlib import Path
from covfast.manifest import Job, Manifest
manifest = Manifest(Path({str(tmp_path / "out")!r}), {RUN!r}).__enter__()
manifest.todo([Job(name, (), (name + ".mha",)) for name in "abc"], "new")
print("at work", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    with Manifest(tmp_path / "out", RUN) as manifest, pytest.raises(OutputError, match="another run"):
        manifest.todo(jobs, CONTINUE)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with Manifest(tmp_path / "out", RUN) as manifest:
        assert names(manifest.todo(jobs, CONTINUE)) == "abc"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {NAME}


def text_of(runs: list[Any], **case: Any) -> str:
    whole = {"status": "ok", "error": None, "input_bytes": 1, "outputs": {}, "run": 0, **case}
    return json.dumps({"schema_version": 1, "runs": runs, "cases": {"a": whole}})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            "null",
            '{"schema_version": 2}',
            '{"schema_version": 1, "runs": [], "cases": []}',
            "[" * 100000,
        ),
        *(text_of([]), text_of([{}], input_bytes="x"), text_of([{}], outputs=3), text_of([3])),
        *(text_of([{}], status="running", run_id=run_id) for run_id in ("../../x", 3, None)),
        text_of([{}], status="running"),
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, jobs: list[Job], text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with Manifest(tmp_path, RUN) as manifest, pytest.raises(FormatError, match=r"manifest\.json"):
        manifest.todo(jobs, CONTINUE)
    assert (tmp_path / NAME).read_text(encoding="utf-8") == text


def test_names_that_are_no_text_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n")
    job = Job(name, (), (f"{name}.mha",))
    with Manifest(tmp_path, RUN) as manifest:
        manifest.todo([job], NEW)
        do(manifest, job)
    with Manifest(tmp_path, RUN) as manifest:
        assert manifest.todo([job], CONTINUE) == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match="-o: got"), Manifest(out, RUN):
            pass


def test_a_note_that_found_no_room_is_written_with_the_next(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, fill: object) -> None:
        raise OutputError("manifest.json: got No space left on device, expected a file that can be written")

    with Manifest(tmp_path / "out", RUN) as manifest:
        manifest.todo(jobs, NEW)
        with monkeypatch.context() as patch:
            patch.setattr("covfast.manifest.replace_file", full)
            do(manifest, jobs[0])
            assert manifest.unsaved is not None
            assert held(tmp_path / "out")["cases"]["a"]["status"] == "running"
        do(manifest, jobs[1])
        assert manifest.unsaved is None
        assert [held(tmp_path / "out")["cases"][name]["status"] for name in "ab"] == ["ok", "ok"]
        with monkeypatch.context() as patch:
            patch.setattr("covfast.manifest.replace_file", full)
            do(manifest, jobs[2])
    assert sorted(held(tmp_path / "out")["cases"]) == ["a", "b", "c"]
