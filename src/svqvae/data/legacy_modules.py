"""Networks that PyTorch before 1.6 saved whole, read as plain arrays: nothing of the file is ever run.

Such a file is five pickles and the raw storages: a magic number, a version, facts about the machine, the network, the
storages' names; then each storage, its length first. Unpickling calls whatever a file names, which is how a file takes
over a computer. So nothing here unpickles: the instructions are listed by `pickletools.genops`, which only reads, and the
few that such files need act on a stack of texts, numbers, lists, dicts and the three inert kinds of record below. A name
in the file is text to compare with the names listed here, and never leads to an import, an attribute or a call.
"""

import io
import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# More than any such network has: a small file must not grow large by saying one thing many times.
MAX_BYTES, MAX_PARTS, MAX_DEPTH = 1 << 28, 16, 2
MODULES = {
    f"torch.nn.modules.{name}"
    for name in ("container Sequential", "linear Linear", "activation Tanh", "sparse Embedding")
}
# What a call of each name stands for; older and newer names of the same.
CALLS = {
    "collections OrderedDict": "dict",
    "__builtin__ set": "nothing",
    "torch.nn.backends.thnn _get_thnn_function_backend": "nothing",
    "torch._utils _rebuild_tensor": "tensor",
    "torch._utils _rebuild_tensor_v2": "tensor",
    "torch._utils _rebuild_parameter": "parameter",
    "torch.nn.parameter Parameter": "parameter",
}
STORAGE = "torch FloatStorage"


@dataclass(frozen=True, eq=False)
class Name:
    """A name that the file may hold, as text: module, blank, attribute."""

    text: str


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor that lies in one piece, row by row, in a storage."""

    key: str
    start: int
    shape: tuple[int, ...]


@dataclass(eq=False)
class Module:
    """A layer or a sequence of layers: the last word of its class's name, and its attributes.

    Attributes
    ----------
    kind
        "Sequential", "Linear", "Tanh" or "Embedding".
    state
        What the file says of it, by name.
    tensors
        Its own parameters by name.
    children
        The layers within it, in order.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    children: tuple["Module", ...] = ()


def read_module(path: Path | str) -> Module:
    """Read a network that PyTorch saved whole in its old format.

    Parameters
    ----------
    path
        A .pth file.

    Returns
    -------
    Module
        The network with its parameters as arrays, float32.

    Raises
    ------
    ValueError
        Where the file is of another format, damaged, or holds a name or an instruction that such a network has no use for.
    FileNotFoundError
        Where there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a saved network; {path} is no file. Check the name and the folder.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"`path` must be a saved network of at most {MAX_BYTES >> 20} MiB; {path} is larger.")
    content = path.read_bytes()
    if content[:2] == b"PK":
        raise ValueError(
            f"`path` must be a network as PyTorch before 1.6 saved it; {path} is a zip file, as later versions save it. "
            "Save it with torch.save(module, path, _use_new_zipfile_serialization=False)."
        )
    try:
        return _File(content).read()
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        reason = str(error)[:300].rstrip(".")
        raise ValueError(
            f"`path` must be a network as PyTorch before 1.6 saved it; got {path}, where {reason}. Nothing of it was run."
        ) from None


class _File:
    """The content of a file, read from the front."""

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
            raise ValueError(f"the version must be {PROTOCOL}; got {_show(version)}")
        machine = self._next_value("description of the machine")
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("numbers must be little endian, and are not said to be")
        module = self._next_value("network")
        if not isinstance(module, Module):
            raise ValueError(f"a network must come fourth; got {_show(module)}")
        _attach(module, self._read_storages(self._next_value("list of storages")))
        return module

    def _next_value(self, what: str) -> Any:
        """Return what the next pickle holds."""
        stack = _Stack(self.lengths)
        try:
            for opcode, argument, _ in pickletools.genops(self.stream):
                if opcode.name == "STOP":
                    return stack.last()
                stack.act(opcode.name, argument)
        except (ValueError, IndexError, OverflowError, struct.error) as error:
            raise ValueError(f"the {what} cannot be read: {error or type(error).__name__}") from None
        raise ValueError(f"the {what} has no end")

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


class _Stack:
    """The stack that the instructions of one pickle act on. It holds inert values only, and calls nothing of theirs."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.lengths = lengths
        self.values: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def last(self) -> Any:
        if len(self.values) != 1 or self.marks:
            raise ValueError(f"one value must be left at the end; got {len(self.values)}")
        return self.values[0]

    def act(self, name: str, argument: Any) -> None:
        """Carry out one instruction; one that is not listed is refused."""
        if name in LITERALS:
            self.values.append(argument)
        elif name in CONSTANTS:
            self.values.append(CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.values[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError(f"value {argument} is used before it is made")
            self.values.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.values))
        elif name == "GLOBAL":
            self.values.append(_check_name(argument))
        elif name in ACTIONS:
            ACTIONS[name](self)
        elif name != "PROTO":
            raise ValueError(f"the instruction {name} stands, which a network has no use for")

    def pop(self, n: int) -> tuple[Any, ...]:
        """Take the last n values off."""
        if len(self.values) - (self.marks[-1] if self.marks else 0) < n:
            raise ValueError("an instruction lacks its values")
        taken = tuple(self.values[len(self.values) - n :])
        del self.values[len(self.values) - n :]
        return taken

    def pop_to_mark(self) -> tuple[Any, ...]:
        """Take the values since the last mark off, and the mark."""
        if not self.marks:
            raise ValueError("an instruction lacks its mark")
        taken = self.pop(len(self.values) - self.marks[-1])
        self.marks.pop()
        return taken

    def append(self, items: tuple[Any, ...]) -> None:
        self._target(list).extend(items)

    def set_items(self, items: tuple[Any, ...]) -> None:
        self._target(dict).update(_pairs(list(zip(items[::2], items[1::2], strict=True))))

    def make_module(self) -> None:
        kind, arguments = self.pop(2)
        if not isinstance(kind, Name) or kind.text not in MODULES or arguments != ():
            raise ValueError(f"only layers may be made anew; got {_show(kind)}")
        self.values.append(Module(kind.text.split()[-1]))

    def fill_module(self) -> None:
        module, state = self.pop(2)
        if not isinstance(module, Module) or not isinstance(state, dict) or module.state:
            raise ValueError(f"only a new layer may be given a state, a dict; got {_show(module)} and {_show(state)}")
        module.state.update(state)
        self.values.append(module)

    def call(self) -> None:
        """Put what a call would give, for the few names whose meaning is known here."""
        name, arguments = self.pop(2)
        meaning = CALLS.get(name.text) if isinstance(name, Name) else None
        if meaning is None or not isinstance(arguments, tuple):
            raise ValueError(f"a call of {_show(name)} stands, which a network has no use for")
        if meaning == "tensor":
            self.values.append(_tensor(arguments, self.lengths))
        elif meaning == "parameter":
            if not arguments or not isinstance(arguments[0], Tensor):
                raise ValueError("a parameter must be made of a tensor")
            self.values.append(arguments[0])
        elif meaning == "dict":
            self.values.append(_pairs(arguments[0] if arguments else []))
        else:
            self.values.append(None)

    def look_up(self) -> None:
        """Put what a persistent identifier stands for: a class with its source, which is dropped, or a storage."""
        (identifier,) = self.pop(1)
        match identifier:
            case ("module", Name() as kind, _, _):
                self.values.append(kind)
            case ("storage", Name(STORAGE), str(key), str(), int(length), None):
                if self.lengths.setdefault(key, length) != length or length < 0 or isinstance(length, bool):
                    raise ValueError("the same storage has two lengths, or one below 0")
                self.values.append((key, length))
            case _:
                raise ValueError("a reference is neither to a layer's class nor to a storage of float32 values")

    def _target(self, kind: type) -> Any:
        if not self.values or type(self.values[-1]) is not kind or (self.marks and self.marks[-1] == len(self.values)):
            raise ValueError(f"items must go to a {kind.__name__}")
        return self.values[-1]


LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
ACTIONS: dict[str, Callable[[_Stack], None]] = {
    "TUPLE": lambda stack: stack.values.append(stack.pop_to_mark()),
    "TUPLE1": lambda stack: stack.values.append(stack.pop(1)),
    "TUPLE2": lambda stack: stack.values.append(stack.pop(2)),
    "TUPLE3": lambda stack: stack.values.append(stack.pop(3)),
    "APPEND": lambda stack: stack.append(stack.pop(1)),
    "APPENDS": lambda stack: stack.append(stack.pop_to_mark()),
    "SETITEM": lambda stack: stack.set_items(stack.pop(2)),
    "SETITEMS": lambda stack: stack.set_items(stack.pop_to_mark()),
    "NEWOBJ": _Stack.make_module,
    "BUILD": _Stack.fill_module,
    "REDUCE": _Stack.call,
    "BINPERSID": _Stack.look_up,
}


def _check_name(text: str) -> Name:
    if text not in MODULES and text not in CALLS and text != STORAGE:
        shown = ".".join(text.split(" "))[:100]
        raise ValueError(f"the name {shown!r} stands, which a network has no use for")
    return Name(text)


def _pairs(items: Any) -> dict[str, Any]:
    """Return pairs as a dict, whose keys must be text: those of other kinds could be slow to compare."""
    pairs = (
        [tuple(item) if isinstance(item, list | tuple) else () for item in items] if isinstance(items, list) else [()]
    )
    if not all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise ValueError("a dict must be made of pairs of a text and a value")
    return dict(pairs)


def _tensor(arguments: tuple[Any, ...], lengths: dict[str, int]) -> Tensor:
    """Return the tensor that PyTorch's rebuilders would make: storage, start, shape and steps come first."""
    match arguments[:4]:
        case ((str(key), int(length)), int(start), tuple(shape), tuple(steps)) if key in lengths:
            pass
        case _:
            raise ValueError("a tensor must have a storage, a start, a shape and steps")
    if len(shape) > 4 or not all(type(number) is int and number >= 0 for number in (start, *shape, *steps)):
        raise ValueError(
            "start, shape and steps of a tensor must be whole numbers of at least 0, in at most 4 dimensions"
        )
    if steps != tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
        raise ValueError("tensors must lie in one piece, row by row")
    if start + math.prod(shape) > length:
        raise ValueError(f"a tensor of {math.prod(shape)} values from {start} on must lie in its storage of {length}")
    return Tensor(key, start, shape)


def _attach(module: Module, storages: dict[str, NDArray[np.float32]], depth: int = 0) -> None:
    """Give a layer, and those within it, their arrays."""
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
            raise ValueError(f"the parameter {name[:50]!r} must be a tensor; got {_show(tensor)}")
    module.children = tuple(children.values())
    for child in module.children:
        _attach(child, storages, depth + 1)


def _show(value: Any) -> str:
    """Return a value as a message can hold it: never more than its kind where it could be large."""
    if isinstance(value, Name):
        return ".".join(value.text.split(" "))
    return repr(value) if isinstance(value, int) and abs(value) < 10**9 else f"a {type(value).__name__}"
