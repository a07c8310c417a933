"""Small tables, runs fitted on them, and the command line as a function."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from svqvae import cli

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return the function that runs a command and returns its exit status."""

    def run_command(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        return int(stop.value.code or 0)

    return run_command


@pytest.fixture
def document(run: Run, capfd: pytest.CaptureFixture[str]) -> Document:
    """Return the function that runs a command with --json and returns what it printed."""

    def call(*arguments: object) -> dict[str, Any]:
        assert run(*arguments, "--json") == 0
        out, err = capfd.readouterr()
        assert err == ""
        read: dict[str, Any] = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        return read

    return call


@pytest.fixture(scope="session")
def check_files() -> Callable[[dict[str, Any], Path], None]:
    """Return the function that holds the files of a document against what was written into a folder, or one file."""

    def check(found: dict[str, Any], out: Path) -> None:
        written = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
        assert sorted(found["files"]) == sorted(map(str, written))

    return check


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV file of 60 samples of three classes."""
    rng = np.random.default_rng(1)
    kind = np.array(["a", "b", "c d"])[np.arange(60) % 3]
    values = pd.DataFrame(rng.normal(size=(60, 20)) + 3 * rng.normal(size=(3, 20))[np.arange(60) % 3])
    values = values.add_prefix("g")
    values.insert(0, "kind", kind)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    values.to_csv(path, index_label="sample")
    return path


@pytest.fixture(scope="session")
def folder(table: Path, run: Run) -> Path:
    """Return a run folder fitted on the table."""
    out = table.parent / "run"
    assert run("fit", table, "--label", "kind", "--epochs", 5, "--out", out, "--no-report", "--quiet") == 0
    return out


@pytest.fixture(scope="session")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV file of 80 samples of two classes in 20 batches, with the features g0 to g7."""
    rng = np.random.default_rng(1)
    kind = rng.choice(["a", "b"], 80)
    values = rng.normal(size=(80, 8)) + 4 * (kind[:, None] == np.repeat(["a", "b"], 4))
    samples = pd.DataFrame(values, columns=[f"g{i}" for i in range(8)])
    samples.insert(0, "kind", kind)
    samples.insert(1, "batch", np.arange(80) // 4)
    path = tmp_path_factory.mktemp("batches") / "t.csv"
    samples.to_csv(path, index_label="sample")
    return path


@pytest.fixture(scope="session")
def batches_run(batches: Path, run: Run) -> Path:
    """Return a run folder fitted on the batches, with its page."""
    out = batches.parent / "run"
    arguments = ["--label", "kind", "--group", "batch", "--epochs", 5, "--out", out, "--quiet"]
    assert run("fit", batches, *arguments) == 0
    return out


@pytest.fixture(scope="session")
def watched_run(batches: Path, run: Run) -> Path:
    """Return a run folder of a fit to the batches that held 24 of the samples out."""
    out = batches.parent / "watched"
    arguments = ["--label", "kind", "--ignore", "batch", "--epochs", 5, "--hold-out", 0.3, "--out", out, "--quiet"]
    assert run("fit", batches, *arguments, "--no-report") == 0
    return out
