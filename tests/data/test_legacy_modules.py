"""Old PyTorch files: the arrays are right, whatever is wrong is refused, and nothing in a file is ever run."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from svqvae.data.legacy_modules import MAGIC_NUMBER, PROTOCOL, read_module

MACHINE = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
HEAD = [pickle.dumps(value, 2) for value in (MAGIC_NUMBER, PROTOCOL, MACHINE)]
LAYER = b"\x80\x02ctorch.nn.modules.activation\nTanh\n)\x81."


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh())


def save(module: nn.Module, path: Path) -> Path:
    torch.save(module, path, _use_new_zipfile_serialization=False)
    return path


class Calls:
    """Unpickled, calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def hostile(kind: str, target: Path) -> bytes:
    """Return a pickle that writes the target when it is unpickled."""
    touch, write = f"touch {target}", f"open({str(target)!r}, 'w').close()"
    return {
        "system": lambda: pickle.dumps(Calls(os.system, touch), 2),
        "system, protocol 0": lambda: pickle.dumps(Calls(os.system, touch), 0),
        "system, protocol 5": lambda: pickle.dumps(Calls(os.system, touch), 5),
        "eval": lambda: pickle.dumps(Calls(eval, write), 2),
        "write": lambda: pickle.dumps(Calls(Path.touch, target), 2),
        "INST": lambda: f"(S{touch!r}\nios\nsystem\n.".encode(),
        "OBJ": lambda: f"(cos\nsystem\nS{touch!r}\no.".encode(),
        "in a list": lambda: b"\x80\x02]" + pickle.dumps(Calls(os.system, touch), 2)[2:-1] + b"a.",
    }[kind]()


KINDS = ["system", "system, protocol 0", "system, protocol 5", "eval", "write", "INST", "OBJ", "in a list"]


def test_arrays_are_those_of_the_network(tmp_path: Path) -> None:
    module = network()
    read = read_module(save(module, tmp_path / "n.pth"))
    assert [child.kind for child in read.children] == ["Linear", "Tanh"]
    np.testing.assert_array_equal(read.children[0].tensors["weight"], module[0].weight.detach().numpy())
    np.testing.assert_array_equal(read.children[0].tensors["bias"], module[0].bias.detach().numpy())
    codes = nn.Embedding(4, 3)
    read = read_module(save(codes, tmp_path / "e.pth"))
    np.testing.assert_array_equal(read.tensors["weight"], codes.weight.detach().numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_what_unpickling_would_run_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "written"
    body = hostile(kind, target)
    pickle.loads(body)
    assert target.exists()
    target.unlink()
    (tmp_path / "sound.pth").write_bytes(b"".join([*HEAD, LAYER, pickle.dumps([], 2)]))
    assert read_module(tmp_path / "sound.pth").kind == "Tanh"
    for place in range(5):
        parts = [*HEAD, LAYER, pickle.dumps([], 2)]
        parts[place] = body
        (tmp_path / "hostile.pth").write_bytes(b"".join(parts))
        with pytest.raises(ValueError, match=r"hostile.pth, where .* cannot be read: the (name|instruction)"):
            read_module(tmp_path / "hostile.pth")
        assert not target.exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cos\nsystem\n.", "the name 'os.system' stands"),
        (b"c__builtin__\neval\n.", "the name '__builtin__.eval' stands"),
        (
            b"c__builtin__\ngetattr\n(ctorch\nFloatStorage\nX\x01\x00\x00\x00xtR.",
            "the name '__builtin__.getattr' stands",
        ),
        (b"ctorch.nn.modules.linear\nLinear.forward\n.", "the name 'torch.nn.modules.linear.Linear.forward' stands"),
        (b"ctorch.nn.modules.linear\nLinear\n)R.", "a call of torch.nn.modules.linear.Linear stands"),
        (b"ctorch\nFloatStorage\nK\x09\x85R.", "a call of torch.FloatStorage stands"),
        (b"K\x01K\x02\x85R.", "a call of 1 stands"),
        (b"ccollections\nOrderedDict\n)\x81.", "only layers may be made anew; got collections.OrderedDict"),
        (b"]}b.", "only a new layer may be given a state"),
        (b"\x82\x01.", "cannot be read"),
        (b"X\x01\x00\x00\x00aQ.", "a reference is neither"),
        (
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00aX\x03\x00\x00\x00cpuJ\xff\xff\xff\xffNtQ.",
            "below 0",
        ),
        (b"}(]K\x01u.", "a dict must be made of pairs of a text and a value"),
        (b"h\x05.", "value 5 is used before it is made"),
        (b"u.", "lacks its mark"),
        (b"R.", "lacks its values"),
        (b"N", "exhausted before seeing STOP"),
        (b"}.", "a network must come fourth; got a dict"),
    ],
)
def test_what_no_network_needs_is_refused_by_name(body: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.pth").write_bytes(b"".join([*HEAD, b"\x80\x02" + body]))
    with pytest.raises(ValueError, match=message):
        read_module(tmp_path / "odd.pth")


def test_other_layers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the name 'torch.nn.modules.conv.Conv2d' stands"):
        read_module(save(nn.Conv2d(1, 1, 1), tmp_path / "n.pth"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"K\x02\x85", b"K\x09\x85", "a tensor of 9 values from 0 on must lie in its storage of 2"),
        (b"K\x03K\x01\x86", b"K\x01K\x02\x86", "tensors must lie in one piece"),
        (b"K\x02K\x03\x86", b"K\x02N\x86", "start, shape and steps of a tensor must be whole numbers"),
        (b"FloatStorage", b"DoubleStorage", "the name 'torch.DoubleStorage' stands"),
        (b"little_endianq\x02\x88", b"little_endianq\x02\x89", "numbers must be little endian"),
        (b"M\xe9\x03.", b"M\xea\x03.", "the version must be 1001; got 1002"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(old: bytes, new: bytes, message: str, tmp_path: Path) -> None:
    path = save(network(), tmp_path / "n.pth")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_module(path)


def test_storages_must_be_as_long_as_said_and_end_the_file(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "n.pth")
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match="4 bytes follow the last storage"):
        read_module(path)
    # The last storage has 6 or 2 values, its length before them.
    at = max(content.rindex(np.int64(n).tobytes()) for n in (2, 6))
    path.write_bytes(content[:at] + np.int64(1 << 40).tobytes() + content[at + 8 :])
    with pytest.raises(ValueError, match=r"storage 2 must have . values, as the network says; got 1099511627776"):
        read_module(path)


def test_every_beginning_of_a_file_is_refused(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "n.pth")
    content = path.read_bytes()
    for size in {*range(0, len(content), 41), *range(len(content) - 40, len(content))}:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"`path` must be a network as PyTorch before 1.6 saved it"):
            read_module(path)


def test_a_changed_byte_gives_a_network_or_a_sentence(tmp_path: Path) -> None:
    path, rng = save(network(), tmp_path / "n.pth"), np.random.default_rng(0)
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    for _ in range(400):
        changed = content.copy()
        changed[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(changed.tobytes())
        try:
            read_module(path)
        except ValueError as error:
            assert "must be a network as PyTorch before 1.6 saved it" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is nothing: it is empty"),
        (b"<!DOCTYPE html>", "the magic number cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "the magic number cannot be read"),
        (pickle.dumps(3, 2), "the magic number of such files is missing"),
        (b"PK\x03\x04", "is a zip file, as later versions save it"),
    ],
)
def test_other_files_are_told_for_what_they_are(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "n.pth").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_module(tmp_path / "n.pth")
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_module(tmp_path)


def test_reading_runs_imports_and_unpickles_nothing(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "n.pth")
    code = (
        "import sys; from svqvae.data.legacy_modules import read_module; seen = []; "
        "sys.addaudithook(lambda event, _: seen.append(event)); "
        f"read_module({str(path)!r}); sys.exit(str(set(seen)) if set(seen) - {{'open'}} else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
