"""A small table, a run fitted on it, and the command line as a function."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae import cli

Run = Callable[..., int]


@pytest.fixture(scope="session")
def run() -> Run:
    """Return the function that runs a command and returns its exit status."""

    def run_command(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        return int(stop.value.code or 0)

    return run_command


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
    assert run("fit", table, "--label", "kind", "--epochs", 5, "--out", out, "--quiet") == 0
    return out
