"""Where model packages are found: the `covfast-weights` distribution, the user's own folder, or a path."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covfast import package
from covfast.errors import OutputError, ValueRangeError, WeightsError, describe, file_name

SUFFIX = ".covfast"
DEFAULT_MODEL = "miniseg-infection"


@dataclass(frozen=True)
class ModelEntry:
    """A model package that is installed.

    Attributes:
        name: what `Segmenter` and `--model` take.
        path: the package file.
        source: "covfast-weights" or "user".
    """

    name: str
    path: Path
    source: str

    def metadata(self) -> dict[str, Any]:
        """The package's metadata. Raises: FormatError if the file is not a model package."""
        return package.read_metadata(self.path)


def user_folder() -> Path | None:
    """Folder of the packages that `models add` installed: `covfast/models` in the user's data folder (XDG).

    None for a user without a home folder.
    """
    base = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "share") / "covfast" / "models"
    except RuntimeError:  # no HOME and no entry in the user database, as in some containers
        return None


def _weights_folder() -> Path | None:
    """Folder of the `covfast-weights` distribution; None where it is not installed."""
    try:
        import covfast_weights
    except ModuleNotFoundError as error:
        if error.name != "covfast_weights":
            raise
        return None  # a distribution of its own; `find` says what to install
    file: str | None = getattr(covfast_weights, "__file__", None)  # None: a mere folder of that name
    return None if file is None else Path(file).parent


def entries() -> tuple[ModelEntry, ...]:
    """All installed packages by name; the user's own come before those of `covfast-weights`."""
    found: dict[str, ModelEntry] = {}
    for source, folder in (("user", user_folder()), ("covfast-weights", _weights_folder())):
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder is not None and folder.is_dir() else ():
            if path.is_file():
                found.setdefault(path.stem, ModelEntry(path.stem, path, source))
    return tuple(found[name] for name in sorted(found))


def find(model: str | os.PathLike[str]) -> Path:
    """The package file of a model, by name or path.

    Raises: WeightsError if there is no such file or no model of this name.
    """
    text = os.fspath(model)
    if text.endswith(SUFFIX) or os.sep in text:
        path = Path(text)
        if not path.is_file():
            raise WeightsError(describe("model", repr(file_name(path)), "an existing model package"))
        return path
    installed = {entry.name: entry.path for entry in entries()}
    if text not in installed:
        names = ", ".join(installed) or "none"
        hint = f"installed: {names}; the trained models come with `pip install covfast-weights`, from `weights/`"
        raise WeightsError(
            describe("model", repr(text), "the name of an installed model or the path of a package", hint)
        )
    return installed[text]


def add(path: str | os.PathLike[str], name: str | None = None, overwrite: bool = False) -> ModelEntry:
    """Installs a package file for this user; what is installed is verified and opened first.

    Args:
        path: a `.covfast` file.
        name: the name to install it under; the file's own by default.
        overwrite: replace a model of the same name.
    Raises: ValueRangeError if the name is no plain file name; WeightsError if the file is absent or fails its
        checksum; FormatError if it is no package that runs; OutputError if the name is taken or the copy cannot be
        written.
    """
    source = Path(path)
    stem = name if name is not None else source.name.removesuffix(SUFFIX)
    if not stem or stem != os.path.basename(stem) or stem.startswith(".") or not stem.isprintable():
        raise ValueRangeError(describe("name", ascii(stem), "a plain file name"))
    if not source.is_file():
        raise WeightsError(describe("model", repr(file_name(path)), "an existing model package"))
    folder = user_folder()
    if folder is None:
        raise OutputError(describe("model", "a user without a home folder", "a folder for models", "set XDG_DATA_HOME"))
    target = folder / f"{stem}{SUFFIX}"
    if target.exists() and not overwrite:
        raise OutputError(describe("name", repr(stem), "a name not in use", "pass --overwrite to replace it"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as given:
            package.write_whole(target, lambda file: shutil.copyfileobj(given, file), _require_sound)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(describe("model", error.strerror, "a file to read and a folder to write")) from error
    return ModelEntry(stem, target, "user")


def _require_sound(path: Path) -> None:
    """Raise WeightsError or FormatError for a package that is damaged or would not open."""
    package.verify(path)
    package.summary(path)
