"""Read whole networks saved by PyTorch before 1.6 as plain arrays: nothing in the file is run.

Such a file has five pickles, for a magic number, a version, properties of the machine, the network and the names of the
storages, followed by the length and the values of each storage. See :mod:`svqvae.data.inert_pickle` for the pickles.
"""

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svqvae.data.inert_pickle import Module, Tensor, read_value, show

# Of PyTorch's old format.
MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Bytes of a file (256 MiB), parameters or layers of a layer, and levels of nesting: a guard against small files that
# take much memory by repeating one thing. Chosen by hand, above what such networks have.
MAX_BYTES, MAX_PARTS, MAX_DEPTH = 1 << 28, 16, 2


def read_module(path: Path | str) -> Module:
    """Read a whole network in PyTorch's old format.

    Parameters
    ----------
    path
        A .pth file.

    Returns
    -------
    Module
        The network, with its parameters as float32 arrays.

    Raises
    ------
    ValueError
        The file has another format, is damaged, or has a name or an instruction that such a network does not need.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "layer.pth"
    ...     torch.save(torch.nn.Linear(3, 2), path, _use_new_zipfile_serialization=False)
    ...     layer = read_module(path)
    >>> layer.kind, layer.tensors["weight"].shape
    ('Linear', (2, 3))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a saved network; {path} is no file. Check the name and the folder.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"`path` must be a saved network of at most {MAX_BYTES >> 20} MiB; {path} is larger.")
    content = path.read_bytes()
    if content[:2] == b"PK":
        raise ValueError(
            f"`path` must be a network as PyTorch before 1.6 saved it; {path} is a zip file, as later versions save "
            "it. Save it with torch.save(module, path, _use_new_zipfile_serialization=False)."
        )
    try:
        return _File(content).read()
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        reason = str(error)[:300].rstrip(".")
        raise ValueError(
            f"`path` must be a network as PyTorch before 1.6 saved it; got {path}, where {reason}. Nothing of it "
            "was run."
        ) from None


class _File:
    """The content of a file, read from its beginning."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.stream = io.BytesIO(content)
        # Number of values of each storage, by its name.
        self.lengths: dict[str, int] = {}

    def read(self) -> Module:
        if not self.size:
            raise ValueError("there is nothing: it is empty")
        if self._next_value("magic number") != MAGIC_NUMBER:
            raise ValueError("the magic number of such files is missing")
        if (version := self._next_value("version")) != PROTOCOL:
            raise ValueError(f"the version must be {PROTOCOL}; got {show(version)}")
        machine = self._next_value("description of the machine")
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("numbers must be little endian, and are not said to be")
        module = self._next_value("network")
        if not isinstance(module, Module):
            raise ValueError(f"a network must come fourth; got {show(module)}")
        _attach(module, self._read_storages(self._next_value("list of storages")))
        return module

    def _next_value(self, what: str) -> Any:
        """Return the value of the next pickle."""
        try:
            return read_value(self.stream, self.lengths)
        except ValueError as error:
            raise ValueError(f"the {what} cannot be read: {error}") from None

    def _read_storages(self, keys: Any) -> dict[str, NDArray[np.float32]]:
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("the list of storages must hold their names")
        if sorted(keys) != sorted(self.lengths):
            raise ValueError(
                f"the storages listed, {len(keys)}, must be the {len(self.lengths)} of the network's tensors"
            )
        storages = {}
        for number, key in enumerate(keys, 1):
            head = self.stream.read(8)
            length = struct.unpack("<q", head)[0] if len(head) == 8 else 0
            if length != self.lengths[key]:
                raise ValueError(
                    f"storage {number} must have {self.lengths[key]} values, as the network says; got {length}"
                )
            if 4 * length > self.size - self.stream.tell():
                raise ValueError(f"storage {number} must have {4 * length} bytes; the file ends before")
            storages[key] = np.frombuffer(self.stream.read(4 * length), dtype="<f4")
        if self.stream.tell() != self.size:
            raise ValueError(f"{self.size - self.stream.tell()} bytes follow the last storage")
        return storages


def _attach(module: Module, storages: dict[str, NDArray[np.float32]], depth: int = 0) -> None:
    """Attach to a layer, and to those within it, their arrays, in place."""
    parameters, children = module.state.get("_parameters", {}), module.state.get("_modules", {})
    if not isinstance(parameters, dict) or not isinstance(children, dict):
        raise ValueError("a layer's parameters and layers must be dicts")
    if depth > MAX_DEPTH or not all(isinstance(child, Module) for child in children.values()):
        raise ValueError(f"only layers may lie within layers, at most {MAX_DEPTH} deep")
    if len(parameters) > MAX_PARTS or len(children) > MAX_PARTS:
        raise ValueError(f"a layer may have at most {MAX_PARTS} parameters and layers within it")
    for name, tensor in parameters.items():
        if isinstance(tensor, Tensor):
            values = storages[tensor.key][tensor.start : tensor.start + math.prod(tensor.shape)]
            module.tensors[name] = values.reshape(tensor.shape).astype(np.float32)
        elif tensor is not None:
            raise ValueError(f"the parameter {name[:50]!r} must be a tensor; got {show(tensor)}")
    module.children = tuple(children.values())
    for child in module.children:
        _attach(child, storages, depth + 1)
