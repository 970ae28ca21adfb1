"""What a run leaves behind: label maps, statistics, preview and `run.json`, each appearing whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.errors import OutputError, describe, file_name
from covfast.info import versions
from covfast.volume import LABELS, Volume

if TYPE_CHECKING:
    from covfast.io import Channels
    from covfast.pipeline import Result

DISCLAIMER = "Research use only. Not a medical device; not for diagnosis or treatment."
FILES = ("labels.nii.gz", "lungs.nii.gz", "lesion_types.nii.gz", "statistics.json", "preview.png", "run.json")
"""The results; `run.json` is last, because it says that the others are complete."""


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """JSON with an end of line; numbers that JSON does not know (NaN, infinity) are an error of ours."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def refuse_taken(out: Path, overwrite: bool, files: Sequence[str] = FILES) -> None:
    """Before any work: is `out` free for results, which are called `files`?

    Raises: OutputError if results are there and `overwrite` is false, something in `out`'s place is no folder, one of
        the results' names is taken by what is no file, or `out` is named like an image.
    """
    from covfast.io import image_suffix

    if image_suffix(out):
        raise OutputError(describe("out", f"the file name {file_name(out)}", "a folder"))
    try:
        taken = [name for name in files if os.path.lexists(out / name)] if out.is_dir() else []
        in_the_way = [name for name in taken if not (out / name).is_file()]
        is_blocked = out.exists() and not out.is_dir()
    except OSError as error:
        raise OutputError(describe("out", error.strerror, "a folder that can be written")) from error
    if is_blocked or in_the_way:
        got = f"{', '.join(in_the_way)}, no plain file" if in_the_way else f"a file named {file_name(out)}"
        raise OutputError(describe("out", got, "a new or empty folder", "choose another name"))
    if taken and not overwrite:
        got = f"{file_name(out)} with {', '.join(taken)}"
        raise OutputError(describe("out", got, "a new or empty folder", "pass --overwrite to replace the results"))


def place(out: Path, overwrite: bool, fill: Callable[[Path], None], files: Sequence[str] = FILES) -> Path:
    """Fills a hidden folder in `out`'s file system and moves the files into place when all are complete.

    A new `out` appears by one rename. In a folder that is there already (perhaps a mount point, whose parent lies
    elsewhere) the old file that `files` has last (`run.json`) goes first and the new one comes last: a folder with it
    is whole.

    Raises: OutputError as `refuse_taken` does, before and after the filling, or if nothing can be written there.
    """
    refuse_taken(out, overwrite, files)
    partial = None
    try:
        home = out if out.is_dir() else out.parent
        home.mkdir(parents=True, exist_ok=True)
        partial = home / f".covfast-{os.getpid()}-{secrets.token_hex(4)}"
        partial.mkdir()
        fill(partial)
        refuse_taken(out, overwrite, files)  # another run may have finished meanwhile
        if out.is_dir():
            for name in reversed(files):  # run.json first; what this run does not write would contradict it
                (out / name).unlink(missing_ok=True)
            for name in files:
                if (partial / name).exists():
                    os.replace(partial / name, out / name)
        else:
            os.rename(partial, out)
    except OutputError:
        raise
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise OutputError(describe("out", got, "a folder that can be written")) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return out


def run_facts(
    volume: Volume | Channels,
    run: Mapping[str, Any],
    status: str,
    command: str | None,
    ids: str = "hash",
    names: Mapping[int, str] = LABELS,
) -> dict[str, Any]:
    """The content of `run.json`: what ran, on what, for how long, and what was repaired. No names, ids or paths.

    names: label value -> name; of a model with labels of its own, which has no lungs beside them.
    """
    from covfast.io import shown_id
    from covfast.memory import peak_memory_mib

    geometry = volume.geometry
    scan = dict(volume.scan)
    if scan.get("series_uid"):
        scan["series_uid"] = shown_id(scan["series_uid"], ids) or None
    return {
        "schema_version": 1,
        "status": status,
        "disclaimer": DISCLAIMER,
        "versions": versions(),
        **run,
        "peak_memory_mib": round(peak_memory_mib(), 1),
        "input": {
            **scan,
            "shape": list(geometry.shape),
            "spacing_mm": [round(value, 6) for value in geometry.spacing_mm],
            "orientation": geometry.orientation,
        },
        "notes": [dict(note) for note in volume.notes],
        "labels": {name: value for value, name in names.items()},
        **({"lung_labels": {"background": 0, "left lung": 1, "right lung": 2}} if names == LABELS else {}),
        "command": command,
    }


def save(
    result: Result,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: str | None = None,
    ids: str = "hash",
) -> Path:
    """Writes `labels.nii.gz`, `lungs.nii.gz`, `statistics.json`, `preview.png`, `run.json` and, where a model told them
    apart, `lesion_types.nii.gz`.

    Args:
        result: what `Segmenter` returned; of a model with labels of its own, `labels.nii.gz` and `run.json` alone.
        out: folder that does not hold results yet.
        overwrite: replace results that are there.
        command: the command that would repeat the run, for `run.json`.
        ids: "hash" (default), "uid" or "none": how `run.json` names the series.
    Returns: the folder.
    Raises: OutputError; nothing is left half-written.
    """
    from covfast.io import write
    from covfast.preview import preview

    def fill(folder: Path) -> None:
        stages = dict(result.run.get("stages_ms", {}))
        start = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal start
            now = time.perf_counter()
            stages[stage] = round((now - start) * 1e3, 3)
            start = now

        warnings = []
        if isinstance(result.volume, Volume) and result.lungs is not None:
            statistics = result.statistics()
            warnings = statistics["warnings"]
            write_json(folder / "statistics.json", statistics)
            lap("statistics")
            preview(result.volume, result.segmentation, result.lung_segmentation, statistics, folder / "preview.png")
            lap("preview")
            write(folder / "lungs.nii.gz", result.lung_segmentation)
        if result.lesion_types is not None:
            write(folder / "lesion_types.nii.gz", result.lesion_type_segmentation)
        write(folder / "labels.nii.gz", result.segmentation)
        lap("write")
        run = {**result.run, "stages_ms": stages}
        facts = run_facts(result.volume, run, "ok", command, ids, result.names)
        facts["warnings"] = warnings
        write_json(folder / "run.json", facts)

    return place(Path(out), overwrite, fill)


def save_no_lungs(
    volume: Volume,
    run: Mapping[str, Any],
    out: str | os.PathLike[str],
    message: str,
    *,
    overwrite: bool = False,
    command: str | None = None,
    ids: str = "hash",
) -> Path:
    """Writes `run.json` and `statistics.json` of a scan without lungs: infection is null, never 0."""
    from covfast.statistics import no_lungs

    def fill(folder: Path) -> None:
        statistics = no_lungs(volume, message)
        facts = run_facts(volume, run, "no_lungs", command, ids)
        facts["warnings"] = statistics["warnings"]
        write_json(folder / "statistics.json", statistics)
        write_json(folder / "run.json", facts)

    return place(Path(out), overwrite, fill)
