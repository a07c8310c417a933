"""Files that are written whole or not at all, one by one and several together, and tensors with a header."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

Tensors = dict[str, NDArray[Any]]

# Within a folder: files that count already but are not in their place yet, the start of the name of those that do not
# count yet, and the list of files that count no more.
READY, STAGED, REMOVED = ".ready", ".staged.", "removed.json"


def check_folder(folder: Path, argument: str = "out") -> None:
    """Refuse a file in the place of a folder, or of one above it."""
    for place in (folder, *folder.parents):
        if place.is_file():
            raise NotADirectoryError(f"`{argument}` must be a folder; got the file {place}. Give another name.")


def make_folder(folder: Path, argument: str = "out") -> None:
    """Make a folder and those above it where they do not exist; a file in their place is named."""
    check_folder(folder, argument)
    folder.mkdir(parents=True, exist_ok=True)


def check_file(path: Path, argument: str = "out") -> None:
    """Refuse a folder where a file is to be written, and make the folder that it goes to."""
    if path.is_dir():
        raise IsADirectoryError(f"`{argument}` must be a file; got the folder {path}. Give a name in it.")
    make_folder(path.parent, argument)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file under a temporary name in its folder and rename it at the end, so that no half of it is seen."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_together(folder: Path, contents: Mapping[str, bytes], removed: Iterable[str] = ()) -> None:
    """Write several files into a folder such that all of them count or none does, whenever the process is killed.

    They are written beside the present ones, into a folder of their own. One rename of that folder makes them count,
    from which moment on `current` finds them; then they move to their places. What a kill left to be moved is moved by
    the next call.

    Parameters
    ----------
    folder
        Made where it does not exist; other files in it stay.
    contents
        By name.
    removed
        Names of files that count no more once the new ones do.
    """
    make_folder(folder, "folder")
    _move_ready(folder)
    for left_over in folder.glob(f"{STAGED}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(dir=folder, prefix=STAGED))
    try:
        for name, content in {**contents, REMOVED: json.dumps(list(removed)).encode()}.items():
            with (stage / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            (stage / name).chmod(0o644)
        stage.rename(folder / READY)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    _move_ready(folder)


def current(folder: Path, name: str) -> Path:
    """Return where the file of that name stands which counts, in a folder that `write_together` wrote."""
    ready = folder / READY
    try:
        removed = json.loads((ready / REMOVED).read_text())
    except FileNotFoundError:
        return folder / name
    return ready / name if (ready / name).is_file() or name in removed else folder / name


def _move_ready(folder: Path) -> None:
    """Move the files that count already to their places; a kill within leaves what `current` and this understand."""
    ready = folder / READY
    if not ready.is_dir():
        return
    names = json.loads((ready / REMOVED).read_text()) if (ready / REMOVED).is_file() else []
    for name in names:
        (folder / name).unlink(missing_ok=True)
    for path in sorted(ready.iterdir()):
        if path.name != REMOVED:
            path.replace(folder / path.name)
    (ready / REMOVED).unlink(missing_ok=True)
    ready.rmdir()


def to_bytes(tensors: Mapping[str, NDArray[Any]], kind: str, header: Mapping[str, Any], version: int = 1) -> bytes:
    """Return one safetensors file of a kind; the header is JSON in its metadata."""
    text = json.dumps({"format_version": version, **header}, ensure_ascii=False)
    arrays = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    return save(arrays, metadata={kind: text})


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], kind: str, header: Mapping[str, Any], version: int = 1
) -> None:
    """Write what `to_bytes` gives, whole or not at all."""
    write_whole(path, to_bytes(tensors, kind, header, version))


def read_tensors(path: Path, kind: str, what: str, version: int = 1) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path
        The file.
    kind
        As it was written.
    what
        What it must be, for messages.
    version
        The format version that it must have.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is damaged, of another kind, or of another format version.
    """
    tensors, text = read_safetensors(path, kind)
    if text is None:
        raise ValueError(f"{path} must be {what}; it holds other tensors.")
    header = json.loads(text)
    if header.get("format_version") != version:
        raise ValueError(
            f"{path} must have format version {version}; got {header.get('format_version')!r}. Read it with the "
            "version of svqvae that wrote it, or write it anew."
        )
    return tensors, header


def read_safetensors(path: Path, kind: str) -> tuple[Tensors, str | None]:
    """Return the arrays of a safetensors file, and the text that its metadata hold under a name.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold {path.name}; {path.parent} does not. "
            "`svqvae fit`, `model.save` and `atlas.save` write it."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(kind)
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file; it is damaged: {error}.") from None
