"""The run folder: safetensors for numbers, JSON for the rest; versioned, checked on load, never a pickle."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

FORMAT_VERSION = 1
TENSORS, RUN = "model.safetensors", "run.json"

Tensors = dict[str, NDArray[Any]]


def write_run(folder: Path | str, tensors: Mapping[str, NDArray[np.generic]], run: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `run.json` into a folder, each whole or not at all.

    Parameters
    ----------
    folder
        Made where it does not exist; other files in it stay.
    tensors
        Arrays by name.
    run
        What JSON can hold; the format version is added.
    """
    folder = Path(folder)
    make_folder(folder, "folder")
    text = json.dumps({"format_version": FORMAT_VERSION, **run}, indent=2, ensure_ascii=False)
    write_whole(folder / TENSORS, save({name: np.require(array, requirements="C") for name, array in tensors.items()}))
    write_whole(folder / RUN, text.encode())


def read_run(folder: Path | str) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_run` wrote.

    Raises
    ------
    FileNotFoundError
        Where the folder or one of its two files is missing.
    ValueError
        Where a file is damaged or the format version is another.
    """
    folder = Path(folder)
    for name in (RUN, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"`folder` must be a run folder with {RUN} and {TENSORS}; {folder} has no {name}. "
                "`svqvae fit` and `model.save` write run folders."
            )
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / RUN} must be JSON; it is damaged: {error}. Fit the model anew.") from None
    version = run.get("format_version") if isinstance(run, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{folder / RUN} must have format version {FORMAT_VERSION}; got {version!r}. "
            "Read it with the version of svqvae that wrote it, or fit the model anew."
        )
    try:
        tensors = load_file(folder / TENSORS)
    except SafetensorError as error:
        raise ValueError(f"{folder / TENSORS} must be a safetensors file; it is damaged: {error}.") from None
    return tensors, run


def check_folder(folder: Path, argument: str = "--out") -> None:
    """Refuse a file in the place of a folder, or of one above it."""
    for place in (folder, *folder.parents):
        if place.is_file():
            raise NotADirectoryError(f"`{argument}` must be a folder; got the file {place}. Give another name.")


def make_folder(folder: Path, argument: str = "--out") -> None:
    """Make a folder and those above it where they do not exist; a file in their place is named."""
    check_folder(folder, argument)
    folder.mkdir(parents=True, exist_ok=True)


def check_file(path: Path) -> None:
    """Refuse a folder where a file is to be written, and make the folder that it goes to."""
    if path.is_dir():
        raise IsADirectoryError(f"`--out` must be a file; got the folder {path}. Give a name in it.")
    make_folder(path.parent)


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


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], kind: str, header: Mapping[str, Any]) -> None:
    """Write one safetensors file of a kind, whole or not at all; the header is JSON in its metadata."""
    text = json.dumps({"format_version": FORMAT_VERSION, **header}, ensure_ascii=False)
    arrays = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    write_whole(path, save(arrays, metadata={kind: text}))


def read_tensors(path: Path, kind: str, what: str) -> tuple[Tensors, dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path
        The file.
    kind
        As it was written.
    what
        What it must be, for messages.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where it is damaged, of another kind, or of another format version.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`folder` must hold {path.name}; {path.parent} does not. "
            "`svqvae fit`, `model.save` and `atlas.save` write it."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(kind)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} must be a safetensors file; it is damaged: {error}.") from None
    if text is None:
        raise ValueError(f"{path} must be {what}; it holds other tensors.")
    header = json.loads(text)
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}; got {header.get('format_version')!r}. Read it with the "
            "version of svqvae that wrote it, or write it anew."
        )
    return tensors, header
