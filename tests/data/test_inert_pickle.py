"""Pickles read without unpickling: plain values, tensors, and what is refused."""

import io
import pickle
import pickletools
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

from svqvae.data.inert_pickle import Name, Tensor, read_value, show

OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


def read(content: bytes) -> Any:
    return read_value(io.BytesIO(content), {})


def read_tensor(tensor: torch.Tensor) -> tuple[Any, dict[str, int]]:
    """Return what the fourth pickle of a tensor saved by PyTorch holds, and the lengths of its storages."""
    stream, lengths = io.BytesIO(), {}
    torch.save(tensor, stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    return [read_value(stream, lengths) for _ in range(4)][-1], lengths


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        2**70,
        0.1,
        "größe",
        [],
        (),
        {},
        (1,),
        (1, 2, 3, 4, 5),
        [[1, (2.5, None)], "a"],
        {"a": [1, {"b": False}], "c": ()},
        list(range(2000)),
    ],
)
def test_plain_values_are_those_of_pickle(value: object) -> None:
    found = read(pickle.dumps(value, 2))
    assert found == value
    assert type(found) is type(value)


def test_values_that_stand_twice_are_one() -> None:
    part = ["a"]
    first, second = read(pickle.dumps([part, part], 2))
    assert first is second


def test_a_stream_of_pickles_is_read_one_by_one() -> None:
    stream = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2) + b"rest")
    assert [read_value(stream, {}), read_value(stream, {})] == [1, "two"]
    assert stream.read() == b"rest"


def test_a_tensor_is_a_place_in_its_storage() -> None:
    found, lengths = read_tensor(torch.arange(12.0).reshape(4, 3)[1:3])
    assert isinstance(found, Tensor)
    assert (found.start, found.shape) == (3, (2, 3))
    assert lengths == {found.key: 12}


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.arange(6.0).reshape(2, 3).T, "tensors must lie in one piece, row by row"),
        (torch.arange(6), r"the name 'torch\.LongStorage' stands"),
        (torch.zeros(1, 1, 1, 1, 1), "whole numbers of at least 0, in at most 4 dimensions"),
    ],
)
def test_tensors_of_other_kinds_are_refused(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tensor(tensor)


@pytest.mark.parametrize("value", [np.arange(3), io.BytesIO, pickle.Pickler, b"bytes", 1 + 2j])
@pytest.mark.parametrize("protocol", range(6))
def test_what_names_a_function_or_holds_bytes_is_refused(value: object, protocol: int) -> None:
    with pytest.raises(ValueError, match="stands, which a network has no use for"):
        read(pickle.dumps(value, protocol))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_pickles_raise_nothing_but_a_value_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sound = pickle.dumps({"a": [1, 2.5, ("b", None)], "c": {"d": True}}, 2)
    for _ in range(50):
        content = bytearray(sound)
        for place in rng.integers(0, len(content), 2):
            content[place : place + 1] = OPCODES[rng.integers(len(OPCODES))]
        with suppress(ValueError):
            read(bytes(content))


@pytest.mark.parametrize("n", range(1, 10))
def test_a_pickle_that_ends_early_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(pickle.dumps([1, (2, 3)], 2)[:-n])


def test_messages_show_no_more_than_the_kind_of_what_may_be_large() -> None:
    assert show(Name("os system")) == "os.system"
    assert show(7) == "7"
    assert [show(value) for value in (10**12, "x" * 10**6, [1], None)] == ["a int", "a str", "a list", "a NoneType"]
