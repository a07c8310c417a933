"""Read a network from a pickle without unpickling: nothing that the pickle names is run.

Unpickling calls whatever a file names, so that a malicious file can take over a computer. Here `pickletools.genops`
only lists the instructions, and the few that a saved network needs act on a stack of text, numbers, lists, dicts and
the four inert records below. A name in the file is only compared, as text, with the names listed here; it never leads
to an import, an attribute access or a call.
"""

import io
import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Classes of layers that may be created, as a pickle names them.
MODULES = {
    f"torch.nn.modules.{name}"
    for name in ("container Sequential", "linear Linear", "activation Tanh", "sparse Embedding")
}
# Functions that may be called, by what their result is replaced with; the list has older and newer names.
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
    """A permitted name as text: module, space, attribute."""

    text: str


@dataclass(frozen=True, eq=False)
class Storage:
    """A one-dimensional array of float32 values after the pickles: its name and its number of values."""

    key: str
    length: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A contiguous tensor in row-major order: its storage, first value and shape."""

    key: str
    start: int
    shape: tuple[int, ...]


@dataclass(eq=False)
class Module:
    """A layer or a sequence of layers.

    Attributes
    ----------
    kind
        Name of its class: "Sequential", "Linear", "Tanh" or "Embedding".
    state
        Its attributes in the file, by name.
    tensors
        Its own parameters, by name.
    children
        The layers within it, in order.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    children: tuple["Module", ...] = ()


def read_value(stream: io.BytesIO, lengths: dict[str, int]) -> Any:
    r"""Read one pickle at the position of a stream, which is left at its end.

    Parameters
    ----------
    stream
        The bytes of the file.
    lengths
        Number of values of each storage, by its name; storages that the pickle refers to are added in place.

    Raises
    ------
    ValueError
        The pickle is damaged, or has an instruction or a name that is not listed here.

    Examples
    --------
    >>> import io
    >>> read_value(io.BytesIO(b"\x80\x02K\x07K\x08\x86."), {})
    (7, 8)
    >>> read_value(io.BytesIO(b"cos\nsystem\n."), {})
    Traceback (most recent call last):
    ValueError: the name 'os.system' stands, which a network has no use for
    """
    stack = _Stack(lengths)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                break
            stack.act(opcode.name, argument)
    except (IndexError, OverflowError, struct.error) as error:
        raise ValueError(str(error)) from None
    return stack.last()


class _Stack:
    """The stack on which the instructions of one pickle act. It holds inert values only and never calls them."""

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
        """Carry out one instruction; refuse any that is not listed."""
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
        """Remove and return the last n values."""
        if len(self.values) - (self.marks[-1] if self.marks else 0) < n:
            raise ValueError("an instruction lacks its values")
        taken = tuple(self.values[len(self.values) - n :])
        del self.values[len(self.values) - n :]
        return taken

    def pop_to_mark(self) -> tuple[Any, ...]:
        """Remove the last mark, and remove and return the values after it."""
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
            raise ValueError(f"only layers may be made anew; got {show(kind)}")
        self.values.append(Module(kind.text.split()[-1]))

    def fill_module(self) -> None:
        module, state = self.pop(2)
        if not isinstance(module, Module) or not isinstance(state, dict) or module.state:
            raise ValueError(f"only a new layer may be given a state, a dict; got {show(module)} and {show(state)}")
        module.state.update(state)
        self.values.append(module)

    def call(self) -> None:
        """Push the inert result of a call of one of `CALLS`."""
        name, arguments = self.pop(2)
        meaning = CALLS.get(name.text) if isinstance(name, Name) else None
        if meaning is None or not isinstance(arguments, tuple):
            raise ValueError(f"a call of {show(name)} stands, which a network has no use for")
        if meaning == "tensor":
            self.values.append(_tensor(arguments))
        elif meaning == "parameter":
            if not arguments or not isinstance(arguments[0], Tensor):
                raise ValueError("a parameter must be made of a tensor")
            self.values.append(arguments[0])
        elif meaning == "dict":
            self.values.append(_pairs(arguments[0] if arguments else []))
        else:
            self.values.append(None)

    def look_up(self) -> None:
        """Push what a persistent identifier refers to: the class of a layer, without its source code, or a storage."""
        (identifier,) = self.pop(1)
        match identifier:
            case ("module", Name() as kind, _, _):
                self.values.append(kind)
            case ("storage", Name(text=text), str(key), str(), int(length), None) if text == STORAGE:
                if self.lengths.setdefault(key, length) != length or length < 0 or isinstance(length, bool):
                    raise ValueError("the same storage has two lengths, or one below 0")
                self.values.append(Storage(key, length))
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
    """Return pairs as a dict, whose keys must be text, since others could be made slow to compare."""
    pairs: list[tuple[Any, ...]] = [()]
    if isinstance(items, list):
        pairs = [tuple(item) if isinstance(item, list | tuple) else () for item in items]
    if not all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise ValueError("a dict must be made of pairs of a text and a value")
    return {str(pair[0]): pair[1] for pair in pairs}


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """Return the tensor that PyTorch would rebuild from a storage, a start, a shape and strides."""
    match arguments[:4]:
        case (Storage(key=key, length=length), int(start), tuple(shape), tuple(steps)):
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


def show(value: Any) -> str:
    """Return a short description of a value for messages: of what could be large, just its type."""
    if isinstance(value, Name):
        return ".".join(value.text.split(" "))
    return repr(value) if isinstance(value, int) and abs(value) < 10**9 else f"a {type(value).__name__}"
