"""Where model packages are found: the `covfast-weights` distribution, the user's own folder, or a path."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covfast import package
from covfast.errors import FormatError, OutputError, WeightsError, describe, file_name

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


def user_folder() -> Path:
    """Folder of the packages that `models add` installed: `covfast/models` in the user's data folder (XDG)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "covfast" / "models"


def entries() -> tuple[ModelEntry, ...]:
    """All installed packages by name; the user's own come before those of `covfast-weights`."""
    folders = [("user", user_folder())]
    try:
        import covfast_weights

        folders.append(("covfast-weights", Path(covfast_weights.__file__).parent))
    except ImportError:
        pass  # the weights are a distribution of their own; `find` says what to install
    found: dict[str, ModelEntry] = {}
    for source, folder in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
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
    """Installs a package file for this user, verified first.

    Args:
        path: a `.covfast` file.
        name: the name to install it under; the file's own by default.
        overwrite: replace a model of the same name.
    Raises: WeightsError if the file is absent or fails its checksum; FormatError if it is not a package;
        OutputError if the name is taken or the copy cannot be written.
    """
    source = Path(path)
    if not source.is_file():
        raise WeightsError(describe("model", repr(file_name(path)), "an existing model package"))
    package.verify(source)
    stem = name if name is not None else source.name.removesuffix(SUFFIX)
    if not stem or stem != os.path.basename(stem) or stem.startswith("."):
        raise FormatError(describe("name", repr(stem), "a plain file name"))
    target = user_folder() / f"{stem}{SUFFIX}"
    if target.exists() and not overwrite:
        raise OutputError(describe("name", repr(stem), "a name not in use", "pass --overwrite to replace it"))
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(describe("model", error.strerror, "a writable folder for models")) from error
    return ModelEntry(stem, target, "user")
