"""The run folder: what is written comes back, and what is damaged is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from svqvae.files import FORMAT_VERSION, RUN, TENSORS, read_run, write_run, write_whole, writing_whole

ARRAYS = {
    "codes": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "y": np.array([1, 2], dtype=np.int64),
    "is_seen": np.array([True, False]),
    "empty": np.empty((0, 4), dtype=np.float32),
}
FACTS = {"classes": ["T cell", "größer", "β"], "seed": 3, "nothing": None, "nested": {"a": [1.5, True]}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", ARRAYS, FACTS)
    return tmp_path / "run"


def test_what_was_written_is_read_again(run: Path) -> None:
    tensors, facts = read_run(run)
    assert facts == {"format_version": FORMAT_VERSION, **FACTS}
    assert set(tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_a_scalar_keeps_its_shape(tmp_path: Path) -> None:
    write_run(tmp_path, {"scalar": np.array(3.0)}, {})
    assert read_run(tmp_path)[0]["scalar"].shape == ()


def test_the_folder_may_be_text_and_nested_and_hold_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_run(str(folder), ARRAYS, FACTS)
    (folder / "report.html").write_text("kept")
    write_run(folder, ARRAYS, {"seed": 4})
    assert read_run(str(folder))[1]["seed"] == 4
    assert sorted(path.name for path in folder.iterdir()) == sorted([RUN, TENSORS, "report.html"])


@pytest.mark.parametrize("name", [RUN, TENSORS])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"`folder` must be a run folder .* has no {name}\. `svqvae fit`"):
        read_run(run)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`folder` must be a run folder .*nowhere has no run.json"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, None, str(FORMAT_VERSION)])
def test_another_format_version_is_refused(run: Path, version: object) -> None:
    (run / RUN).write_text(json.dumps({"format_version": version}))
    with pytest.raises(ValueError, match=rf"run.json must have format version {FORMAT_VERSION}; got {version!r}"):
        read_run(run)


def test_json_that_is_no_run_is_refused(run: Path) -> None:
    (run / RUN).write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"run.json must have format version 1; got None"):
        read_run(run)


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1', b"\xff\xfe\x00"])
def test_damaged_json_is_refused(run: Path, content: bytes) -> None:
    (run / RUN).write_bytes(content)
    with pytest.raises(ValueError, match=r"run.json must be JSON; it is damaged: .* Fit the model anew"):
        read_run(run)


@pytest.mark.parametrize("n_kept", [0, 5, 40, -1])
def test_damaged_safetensors_are_refused(run: Path, n_kept: int) -> None:
    (run / TENSORS).write_bytes((run / TENSORS).read_bytes()[:n_kept])
    with pytest.raises(ValueError, match=r"model.safetensors must be a safetensors file; it is damaged"):
        read_run(run)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"`folder` must be a folder; got the file .*run\. Give another name"):
        write_run(tmp_path / "run", ARRAYS, FACTS)
    assert (tmp_path / "run").read_text() == "mine"


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


def test_facts_that_json_cannot_hold_leave_the_old_run_as_it_was(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_run(run, {"codes": np.ones(3)}, {"seed": object()})
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_folder_holds_no_pickle(run: Path) -> None:
    for path in run.iterdir():
        assert b"numpy" not in path.read_bytes()
        assert not path.read_bytes().startswith(b"\x80")


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with writing_whole(tmp_path / "a.csv") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert not list(tmp_path.iterdir())
