"""Files: what is written comes back, whole or not at all, alone and several together; what is damaged is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from svqvae.files import (
    READY,
    REMOVED,
    check_file,
    check_folder,
    current,
    make_folder,
    read_safetensors,
    read_tensors,
    to_bytes,
    write_tensors,
    write_together,
    write_whole,
    writing_whole,
)

ARRAYS = {
    "codes": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "y": np.array([1, 2], dtype=np.int64),
    "is_seen": np.array([True, False]),
    "empty": np.empty((0, 4), dtype=np.float32),
    "scalar": np.array(3.0),
}
HEADER = {"classes": ["T cell", "größer", "β"], "seed": 3, "nothing": None, "nested": {"a": [1.5, True]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "a.safetensors", ARRAYS, "some_kind", HEADER, version=4)
    return tmp_path / "a.safetensors"


def test_what_was_written_is_read_again(path: Path) -> None:
    tensors, header = read_tensors(path, "some_kind", "such a file", version=4)
    assert header == {"format_version": 4, **HEADER}
    assert set(tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(tensors[name], array)


def test_the_bytes_of_tensors_are_the_file_and_any_reader_of_safetensors_reads_them(path: Path) -> None:
    content = to_bytes(ARRAYS, "some_kind", HEADER, version=4)
    assert content == path.read_bytes()
    assert not content.startswith(b"\x80")
    assert b"numpy" not in content
    np.testing.assert_array_equal(load(content)["transposed"], ARRAYS["transposed"])


def test_tensors_of_another_kind_are_read_without_a_header(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.safetensors must be an atlas; it holds other tensors"):
        read_tensors(path, "other_kind", "an atlas", version=4)
    save_file({"codes": ARRAYS["codes"]}, tmp_path / "plain.safetensors")
    for file, kind in ((path, "other_kind"), (tmp_path / "plain.safetensors", "some_kind")):
        tensors, text = read_safetensors(file, kind)
        assert text is None
        np.testing.assert_array_equal(tensors["codes"], ARRAYS["codes"])


def test_another_format_version_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.safetensors must have format version 5; got 4\. Read it with the version"):
        read_tensors(path, "some_kind", "such a file", version=5)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold b.safetensors; .* does not\. `svqvae fit`"):
        read_tensors(tmp_path / "b.safetensors", "some_kind", "such a file")


@pytest.mark.parametrize("n_kept", [0, 5, 40, -1])
def test_damaged_safetensors_are_refused(path: Path, n_kept: int) -> None:
    path.write_bytes(path.read_bytes()[:n_kept])
    with pytest.raises(ValueError, match=r"a.safetensors must be a safetensors file; it is damaged"):
        read_safetensors(path, "some_kind")


def test_a_header_that_json_cannot_hold_leaves_the_old_file_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_tensors(path, ARRAYS, "some_kind", {"seed": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("refuse", [check_folder, make_folder, lambda folder: check_file(folder / "a.csv")])
@pytest.mark.parametrize("place", ["mine", "mine/deep/deeper"])
def test_a_folder_that_is_a_file_is_refused(refuse: Callable[[Path], None], place: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(NotADirectoryError, match=r"`out` must be a folder; got the file .*mine\. Give another name"):
        refuse(tmp_path / place)
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_file_that_is_a_folder_is_refused_and_its_own_folder_made(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"`out` must be a file; got the folder .*\. Give a name in it"):
        check_file(tmp_path)
    check_file(tmp_path / "a" / "b" / "c.csv")
    assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b" / "c.csv").exists()


def test_messages_name_the_argument(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(IsADirectoryError, match=r"`--out` must be a file"):
        check_file(tmp_path, "--out")
    for refuse in (check_folder, make_folder):
        with pytest.raises(NotADirectoryError, match=r"`checkpoint` must be a folder"):
            refuse(tmp_path / "mine", "checkpoint")


@pytest.mark.parametrize("step", ["chmod", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_whole_and_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("no space left")

    write_whole(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(error, match="no space left"):
        write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with writing_whole(tmp_path / "a.csv") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert not list(tmp_path.iterdir())


def contents(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_together_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_together(folder, {"one": b"1", "two": b"2"})
    (folder / "notes.txt").write_bytes(b"mine")
    (folder / "figures").write_bytes(b"old")
    write_together(folder, {"one": b"11"}, removed=["figures", "page"])
    assert contents(folder) == {"one": b"11", "two": b"2", "notes.txt": b"mine"}
    assert (folder / "one").stat().st_mode & 0o777 == 0o644
    assert current(folder, "one") == folder / "one"


def test_files_that_count_but_were_not_moved_yet_are_found_and_moved_by_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_together(tmp_path, {"one": b"1", "two": b"2", "figures": b"old"})
    with monkeypatch.context() as patch:
        patch.setattr("svqvae.files._move_ready", lambda folder: None)
        write_together(tmp_path, {"one": b"11", "new": b"n"}, removed=["figures"])
    found = {name: current(tmp_path, name) for name in ("one", "two", "new", "figures", "none")}
    assert [found[name].read_bytes() for name in ("one", "two", "new")] == [b"11", b"2", b"n"]
    assert not found["figures"].exists()
    assert not found["none"].exists()
    assert (tmp_path / READY / REMOVED).is_file()
    write_together(tmp_path, {"two": b"22"})
    assert contents(tmp_path) == {"one": b"11", "new": b"n", "two": b"22"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_files_that_cannot_all_be_written_leave_the_old_ones_and_nothing_behind(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("no space left")

    write_together(tmp_path, {"one": b"1", "two": b"2"})
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(error, match="no space left"):
        write_together(tmp_path, {"one": b"11", "two": b"22"}, removed=["two"])
    assert contents(tmp_path) == {"one": b"1", "two": b"2"}


def test_what_a_killed_write_had_not_finished_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".staged.abc").mkdir()
    (tmp_path / ".staged.abc" / "one").write_bytes(b"half")
    write_together(tmp_path, {"one": b"1"})
    assert contents(tmp_path) == {"one": b"1"}


def test_a_folder_for_files_together_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"`folder` must be a folder; got the file .*run\. Give another name"):
        write_together(tmp_path / "run", {"one": b"1"})
    assert (tmp_path / "run").read_text() == "mine"


def test_texts_keep_their_letters(path: Path) -> None:
    text = read_safetensors(path, "some_kind")[1]
    assert text is not None
    assert "größer" in text
    assert json.loads(text)["nested"] == HEADER["nested"]
