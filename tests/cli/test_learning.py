"""Commands that train: what they write, and what they say."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae.evaluation.quality import Quality
from svqvae.fitting.run_folder import read_run

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]
CheckFiles = Callable[[dict[str, Any], Path], None]
COLUMNS = [f"g{i}" for i in range(8)]


def test_fit_writes_a_run_folder(batches_run: Path) -> None:
    names = {path.name for path in batches_run.iterdir()}
    model = {"model.safetensors", "atlas.safetensors", "run.json", "history.csv"}
    assert names == model | {"metrics.json", "report.html", "report.json"}
    run_json = read_run(batches_run)
    assert run_json["feature_names"] == COLUMNS
    assert run_json["classes"]["values"] == ["a", "b"]
    assert len(pd.read_csv(batches_run / "history.csv")) == 5
    assert 0.9 <= json.loads((batches_run / "metrics.json").read_text())["training"]["accuracy"] <= 1


def test_a_run_keeps_the_columns_and_the_command_by_which_it_is_made_again(batches: Path, batches_run: Path) -> None:
    made_of = read_run(batches_run)["data"]
    assert (made_of["label"], made_of["group"]) == ("kind", "batch")
    assert made_of["command"] == (
        f"svqvae fit {batches} --label kind --group batch --epochs 5 --out {batches_run} --quiet"
    )


def test_fit_tells_of_the_samples_that_it_held_out(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--label", "kind", "--ignore", "batch", "--epochs", 2, "--hold-out", 0.3, "--out", tmp_path / "run"]
    assert run("fit", batches, *given, "--no-report") == 0
    assert "Samples held out to watch training (24 samples)" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["held_out"]["n_samples"] == 24


def test_fit_tells_what_it_leaves_out_and_what_it_replaces(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv(batches).assign(site="here").to_csv(tmp_path / "t.csv", index=False)
    call = ("fit", tmp_path / "t.csv", "--label", "kind", "--group", "batch", "--epochs", 3, "--no-report")
    call = (*call, "--out", tmp_path / "run")
    assert run(*call) == 0
    out = capsys.readouterr().out
    assert "Columns of text, which are no features: 'site'" in out
    assert "and --group batch was of no use" in out
    assert "holds a run" not in out
    assert run(*call) == 0
    assert "holds a run, which the new one will replace." in capsys.readouterr().out.replace("\n", " ")


def test_quiet_prints_nothing_and_loud_prints_the_table(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fit", batches, "--label", "kind", "--epochs", "2", "--out"]
    run(*arguments, tmp_path / "quiet", "--quiet")
    assert capsys.readouterr().out == ""
    run(*arguments, tmp_path / "loud")
    out = capsys.readouterr().out
    assert "80 samples, 2 classes, 2 epochs." in out
    assert "9 features: 'batch', 'g0'" in out
    assert "No samples were held out" in out
    assert "nearest class mean" in out
    assert f"Report: {tmp_path / 'loud' / 'report.html'}" in out


def test_ignored_columns_are_no_features(run: Run, batches: Path, tmp_path: Path) -> None:
    given = ["--label", "kind", "--ignore", "batch", "--ignore", "g3", "--epochs", 1, "--no-report"]
    assert run("fit", batches, *given, "--out", tmp_path / "run", "-q") == 0
    assert read_run(tmp_path / "run")["feature_names"] == [name for name in COLUMNS if name != "g3"]


def test_a_page_that_is_not_asked_for_is_not_written(
    document: Document, check_files: CheckFiles, table: Path, tmp_path: Path
) -> None:
    found = document("fit", table, "--label", "kind", "--epochs", 1, "--no-report", "--out", tmp_path / "run")
    check_files(found, tmp_path / "run")
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.filterwarnings("always::UserWarning")
def test_ctrl_c_leaves_a_usable_run(
    run: Run, batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def impatient(is_shown: bool) -> Iterator[Callable[..., None]]:
        def on_epoch(epoch: int, n_epochs: int, row: object) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        yield on_epoch

    monkeypatch.setattr("svqvae.estimator.epoch_bar", impatient)
    given = ["--label", "kind", "--epochs", 8, "--out", tmp_path / "run"]
    assert run("fit", batches, *given, "-q") == 0
    assert "svqvae: warning: Training was interrupted after epoch 3" in capsys.readouterr().err
    assert run("annotate", tmp_path / "run", batches, "--out", tmp_path / "out.csv", "-q") == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 80
    monkeypatch.undo()
    assert run("fit", batches, *given, "--resume", "--no-report", "-q") == 0
    assert read_run(tmp_path / "run")["n_iter"] == 8


def test_a_folder_of_images_is_fitted_with_convolutions(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8), (np.arange(40) % 2).astype(np.uint8)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        (tmp_path / name).write_bytes(header + array.tobytes())
    assert run("fit", tmp_path, "--label", "label", "--epochs", "2", "--out", tmp_path / "run", "-q") == 0
    assert read_run(tmp_path / "run")["parameters"]["architecture"] == "conv"


def test_unlabelled_samples_need_a_column_of_what_should_be_alike(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [batches, "--label", "kind", "--unlabelled", batches, "--out", tmp_path / "out"]
    for command in ("fit", "evaluate"):
        assert run(command, *given) == 2
        assert "`--group` must be given with `--unlabelled`: it says which" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_evaluate_says_who_is_the_more_accurate(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--label", "kind", "--group", "batch", "--folds", 4, "--seeds", 2, "--epochs", 2]
    assert run("evaluate", batches, *given, "--out", tmp_path / "deep" / "quality.json") == 0
    printed = capsys.readouterr().out
    assert "80 samples held out in 4 folds, each batch on one side" in printed
    assert "accurate" in printed.splitlines()[-2]
    assert printed.splitlines()[-1] == f"Figures: {tmp_path / 'deep' / 'quality.json'}"


def test_evaluate_takes_a_fold_for_each_of_a_few_groups(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = pd.read_csv(batches)
    samples["batch"] %= 3
    samples.to_csv(tmp_path / "t.csv", index=False)
    few = ["--label", "kind", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    assert run("evaluate", tmp_path / "t.csv", "--group", "batch", *few) == 0
    assert "in 3 folds, each batch on one side" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "t.csv", *few) == 0
    assert "in 5 folds" in capsys.readouterr().out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return the file of 40 images of two classes."""
    values = np.random.default_rng(0).random((40, 64)).astype(np.float32)
    adata = anndata.AnnData(values, obs=pd.DataFrame({"kind": ["a", "b"] * 20}, index=[f"s{i}" for i in range(40)]))
    adata.uns["image_shape"] = np.array([8, 8])
    adata.write_h5ad(tmp_path / "images.h5ad")
    return tmp_path / "images.h5ad"


def test_evaluate_takes_images(run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--folds", 2, "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    assert run("evaluate", images, "--label", "kind", *few, "--quiet") == 0
    assert capsys.readouterr().out == ""
    content = json.loads((tmp_path / "q.json").read_text())
    assert content["settings"]["architecture"] == "conv"
    assert content["methods"]["svqvae"]["accuracy"]["std"] is content["classes"][0]["n_groups"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--group", "donor"], "`--group` must be a column of"),
        (["--seeds", 0], "`--seeds` must be 1 or more; got 0"),
        (["--jobs", 0], "`--jobs` must be 1 or more, or -1 for one for each core; got 0"),
        (["--folds", 1], "must be a whole number from 2 to 20"),
        (["--architecture", "convolutional"], "`--architecture` must be one of"),
    ],
)
def test_mistakes_in_what_is_asked_of_evaluate_are_told(
    run: Run, images: Path, tmp_path: Path, arguments: list[object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none.json"
    assert run("evaluate", images, "--label", "kind", *arguments, "--out", out, "--quiet") == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()


def test_cells_without_a_number_are_told_by_their_place(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).random((40, 64)).astype(np.float32)
    values[3, 5] = np.nan
    pd.DataFrame(values).add_prefix("g").assign(kind=["a", "b"] * 20).to_csv(tmp_path / "holes.csv", index=False)
    given = [tmp_path / "holes.csv", "--label", "kind", "--out", tmp_path / "none", "--quiet"]
    for command in ("fit", "evaluate"):
        assert run(command, *given) == 2
        expected = "`DATA` must be finite; got 1 NaN or infinite cells, the first (nan) in row 3, feature 'g5'"
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_training_tells_files_sizes_and_figures(
    document: Document, check_files: CheckFiles, table: Path, tmp_path: Path
) -> None:
    found = document("fit", table, "--label", "kind", "--epochs", 2, "--out", tmp_path / "run")
    check_files(found, tmp_path / "run")
    assert [found[key] for key in ("n_samples", "n_features", "n_classes", "n_epochs")] == [60, 20, 3, 2]
    assert found["metrics"] == json.loads((tmp_path / "run" / "metrics.json").read_text())
    few = ["--folds", 2, "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    found = document("evaluate", table, "--label", "kind", *few)
    check_files(found, tmp_path / "q.json")
    assert found["methods"] == json.loads((tmp_path / "q.json").read_text())["methods"]
    assert "accurate" in found["verdict"]


def test_the_demonstration_tells_files_figures_and_verdict(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality, page = Quality(0.9, 0.8, 0.1, 0.2, float("nan"), 7), SimpleNamespace(verdict=("Better than means.",))
    asked: dict[str, Any] = {}
    monkeypatch.setattr("svqvae.jobs.demo.run_demo", lambda *_, **given: asked.update(given) or (quality, page))
    found = document("demo", "--out", tmp_path)
    assert found["files"][-1] == str(tmp_path / "digits.png")
    assert found["verdict"] == ["Better than means."]
    assert found["held_out"] == {**quality.to_dict(), "sample_reconstruction": None}
    assert asked["command"] == f"svqvae demo --out {tmp_path} --json"
