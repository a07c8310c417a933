"""With --json a command prints one document: the files it wrote and the main figures."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from svqvae.evaluation.quality import Quality

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]
QUALITY = Quality(0.9, 0.8, 0.1, 0.2, float("nan"), 7)


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


def check_files(found: dict[str, Any], out: Path) -> None:
    written = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    assert sorted(found["files"]) == sorted(map(str, written))


def test_training_tells_files_sizes_and_figures(document: Document, table: Path, tmp_path: Path) -> None:
    found = document("fit", table, "--label", "kind", "--epochs", 2, "--out", tmp_path / "run")
    check_files(found, tmp_path / "run")
    assert [found[key] for key in ("n_samples", "n_features", "n_classes", "n_epochs")] == [60, 20, 3, 2]
    assert found["metrics"] == json.loads((tmp_path / "run" / "metrics.json").read_text())
    few = ["--folds", 2, "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    found = document("evaluate", table, "--label", "kind", *few)
    check_files(found, tmp_path / "q.json")
    assert found["methods"] == json.loads((tmp_path / "q.json").read_text())["methods"]
    assert "accurate" in found["verdict"]


def test_asking_samples_tells_files_and_counts(document: Document, table: Path, folder: Path, tmp_path: Path) -> None:
    found = document("annotate", folder, table, "--out", tmp_path / "a.csv")
    check_files(found, tmp_path / "a.csv")
    counts = pd.read_csv(tmp_path / "a.csv")["class"].value_counts().to_dict()
    assert {entry["class"]: entry["n_samples"] for entry in found["classes"]} == counts
    assert 0 <= found["n_unknown"] <= 60
    assert found["is_calibrated"] is False
    found = document("simulate", folder, "c d", "-n", 4, "--out", tmp_path / "s.h5ad")
    check_files(found, tmp_path / "s.h5ad")
    assert (found["class"], found["n_samples"], found["n_features"]) == ("c d", 4, 20)
    found = document("query", folder, table, "--by", "kind", "--out", tmp_path / "q" / "r.csv")
    check_files(found, tmp_path / "q")
    assert {"query", "class", "rank", "score", "tau"} <= set(found["ranking"][0])
    assert {"group", "class", "rank"} <= set(found["groups"][0])


@pytest.mark.filterwarnings("ignore:Decoded codes miss")
def test_asking_classes_tells_files_and_relations(document: Document, folder: Path, tmp_path: Path) -> None:
    found = document("classes", folder, "--resamples", 5, "--out", tmp_path / "relations")
    check_files(found, tmp_path / "relations")
    nearest = pd.read_csv(tmp_path / "relations" / "nearest.csv")
    assert [entry["nearest"] for entry in found["nearest"]] == nearest["nearest"].tolist()
    assert (found["metric"], found["space"]) == ("mahalanobis", "profile")
    assert 0 <= found["same_nearest_min"] <= found["same_nearest_max"] <= 1
    found = document("profile", folder, "a", "--out", tmp_path / "a.csv")
    check_files(found, tmp_path / "a.csv")
    profile = pd.read_csv(tmp_path / "a.csv")
    assert found["n_up"] == ((profile["q"] <= 0.05) & (profile["t"] > 0)).sum()
    assert (found["class"], found["versus"], found["n_features"]) == ("a", None, 20)


def test_bringing_in_tells_files_and_figures(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = SimpleNamespace(verdict=("Better than the class means.",))
    monkeypatch.setattr("svqvae.jobs.demo.run_demo", lambda *_, **__: (QUALITY, page))
    found = document("demo", "--out", tmp_path)
    assert found["files"][-1] == str(tmp_path / "digits.png")
    assert found["verdict"] == ["Better than the class means."]
    assert found["held_out"] == {**QUALITY.to_dict(), "sample_reconstruction": None}
    monkeypatch.setattr("svqvae.jobs.signatures.prepare_signatures", lambda *_, **__: ["3 taken."])
    found = document("l1000", "a.gctx", "--sig-info", "s.txt", "--pcl", "p.csv", "--out", "é.h5ad")
    assert found == {"files": ["é.h5ad"], "told": ["3 taken."]}
    model = SimpleNamespace(classes_=["a", "b"], n_features_in_=978, latent_dim=1000)
    monkeypatch.setattr("svqvae.jobs.import_published.import_run", lambda *_: (model, None))
    monkeypatch.setattr("svqvae.jobs.report.report_run", lambda *_: page)
    found = document("import-published", "saved", "--names", "n.csv", "--genes", "g.tsv", "--out", tmp_path)
    assert (found["n_classes"], found["n_features"], found["samples"]) == (2, 978, None)
