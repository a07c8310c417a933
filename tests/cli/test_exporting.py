"""Runs handed to others from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.export import onnx_graph

Run = Callable[..., int]


def test_onnx_goes_into_the_run_folder_unless_told(
    run: Run, folder: Path, table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    assert run("export", folder, "--format", "onnx") == 0
    assert capfd.readouterr() == (f"Exported: {folder / 'model.onnx'}\n", "")
    assert run("export", folder, "--format", "onnx", "--out", tmp_path / "m.onnx", "--json") == 0
    assert json.loads(capfd.readouterr().out) == {"files": [str(tmp_path / "m.onnx")], "format": "onnx"}
    X = pd.read_csv(table).filter(regex=r"^g\d").to_numpy(np.float64)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    names = np.array(json.loads(session.get_modelmeta().custom_metadata_map["classes"]))
    expected = SVQVAE.load(folder).predict(pd.read_csv(table).filter(regex=r"^g\d"))
    np.testing.assert_array_equal(names[session.run(["class_index"], {"X": X})[0]], expected)
    (folder / "model.onnx").unlink()


def test_a_hub_folder_loads(run: Run, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("export", folder, "--format", "hub", "--out", tmp_path / "hub", "--license", "mit") == 0
    assert capfd.readouterr() == (f"Exported: {tmp_path / 'hub'}\n", "")
    assert SVQVAE.load(tmp_path / "hub").classes_.tolist() == ["a", "b", "c d"]
    assert (tmp_path / "hub" / "README.md").read_text().startswith('---\nlicense: "mit"\n')
    assert (tmp_path / "hub" / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pickle"], "`--format` must be one of onnx, hub; got 'pickle'."),
        (["--format", "onnx", "--out", "folder"], "`--out` must end in .onnx with --format onnx; got folder."),
        (["--format", "hub"], "`--out` must be given with --format hub"),
        (["--format", "onnx", "--license", "mit"], "`--license` must go with --format hub"),
        ([], "Missing option '--format'"),
    ],
)
def test_mistakes_are_told(
    run: Run, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", folder, *arguments) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_a_sentence_says_what_to_install(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_graph, "find_spec", lambda _: None)
    assert run("export", folder, "--format", "onnx") == 2
    assert 'Run pip install "svqvae[onnx]".' in capsys.readouterr().err
    assert not (folder / "model.onnx").exists()
