"""From data to a run folder with its figures and its page."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE, cli
from svqvae.evaluation.beside import HELD_OUT, TRAINING
from svqvae.evaluation.quality import quality_of
from svqvae.fitting.checkpointing import CHECKPOINT_FILE
from svqvae.fitting.run_folder import read_fitted, run_files
from svqvae.jobs import fit
from svqvae.jobs.fit import drop_features, fit_run

TOLD = {"metrics.json", "report.html", "report.json"}
MODEL = {path.name for path in run_files(Path())}


def seen(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_what_was_learnt_is_returned_and_written(folder: Path, cells: anndata.AnnData, short: dict[str, Any]) -> None:
    again = fit_run(cells, "kind", "batch", folder.parent / "again", short, command="svqvae fit cells.h5ad")
    assert seen(folder) == seen(folder.parent / "again") == {*MODEL, "metrics.json"}
    for name in seen(folder) - {"history.csv", "run.json"}:
        assert (folder / name).read_bytes() == (folder.parent / "again" / name).read_bytes()
    found = read_fitted(folder)
    assert found.fingerprint == again.fitted.fingerprint
    assert found.recipe == again.fitted.recipe
    origin = {"label": "kind", "group": "batch", "command": "svqvae fit cells.h5ad", "n_samples": 60}
    assert origin.items() <= found.origin.items()


def test_figures_are_those_of_the_samples_trained_on_and_held_out(
    watched: Path, cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path
) -> None:
    run = fit_run(
        cells, "kind", "batch", tmp_path / "run", {**short, "early_stopping": True, "validation_fraction": 0.3}
    )
    assert list(run.sets) == list(run.qualities) == [TRAINING, HELD_OUT]
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures == json.loads((watched / "metrics.json").read_text())
    model, kept = SVQVAE.load(tmp_path / "run"), np.ones(60, dtype=bool)
    kept[model.held_out_] = False
    for kind, own in ((TRAINING, kept), (HELD_OUT, ~kept)):
        right = model.predict(cells[own]) == cells.obs["kind"][own].to_numpy()
        assert figures[kind]["accuracy"] == pytest.approx(right.mean())
        assert figures[kind]["n_samples"] == len(run.sets[kind]) == own.sum()
    assert not set(cells.obs["batch"][kept]) & set(cells.obs["batch"][~kept])


def test_the_page_has_the_figures_of_the_run(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    run = fit_run(cells, "kind", None, tmp_path, short)
    assert seen(tmp_path) == {*MODEL, "metrics.json"}
    page = run.report(tmp_path)
    assert seen(tmp_path) == MODEL | TOLD
    assert page.summary["quality"] == json.loads((tmp_path / "metrics.json").read_text())
    assert page.summary["accuracy"]["set"] == TRAINING


def test_a_fit_and_its_page_hash_the_data_once(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[int] = []

    class Counted:
        def __init__(self, start: bytes) -> None:
            self.digest = hashlib.sha256(start)
            digests.append(0)

        def update(self, content: Any) -> None:
            digests[-1] += memoryview(content).nbytes
            self.digest.update(content)

        def hexdigest(self) -> str:
            return self.digest.hexdigest()

    monkeypatch.setattr("svqvae.data.samples.hashlib", SimpleNamespace(sha256=Counted))
    watching = {"early_stopping": True, "validation_fraction": 0.3}
    run = fit_run(cells, "kind", "batch", tmp_path, {**short, **watching})
    run.report(tmp_path)
    # The matrix and a class index of 8 bytes each.
    assert digests == [cells.X.nbytes + 8 * 60]
    assert run.fitted.origin["sha256"] == read_fitted(tmp_path).origin["sha256"]


def test_figures_and_page_of_an_earlier_run_go_before_new_ones_are_written(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_run(cells, "kind", "batch", tmp_path, short).report(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    at_measuring: list[set[str]] = []

    def looked(*arguments: Any) -> Any:
        at_measuring.append(seen(tmp_path))
        return quality_of(*arguments)

    monkeypatch.setattr(fit, "quality_of", looked)
    fit_run(cells, "kind", "batch", tmp_path, {**short, "random_state": 1})
    assert at_measuring == [{*MODEL, "notes.txt"}]
    assert seen(tmp_path) == {*MODEL, "notes.txt", "metrics.json"}
    assert read_fitted(tmp_path).seed == 1


def test_parameters_are_refused_before_the_data_are_read_for_labels(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> NoReturn:
        pytest.fail("the data were read")

    monkeypatch.setattr(fit, "read_samples", read)
    for wrong, message in (
        ({"objective": "paper"}, "`objective` must be one of 'prototype', 'published', 'vqvae'; got 'paper'"),
        ({"latent_dim": 0}, "`latent_dim` must be a whole number of at least 1; got 0"),
        ({"geometry": "cosine", "objective": "vqvae"}, "`geometry` must be 'euclidean' with objective='vqvae'"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_run(cells, "nothing", None, tmp_path / "run", {**short, **wrong})
    assert not (tmp_path / "run").exists()


def spoilt(cells: anndata.AnnData) -> anndata.AnnData:
    cells.X[3, 5] = np.nan
    return cells


@pytest.mark.parametrize(
    ("change", "label", "message"),
    [
        (spoilt, "kind", r"`X` must be finite; got 1 NaN or infinite cells, the first \(nan\) in row 3"),
        (lambda cells: cells, "knd", r"`label` must be a column of adata\.obs"),
        (lambda cells: cells[cells.obs["kind"] == "B"], "kind", "`y` must hold at least 2 classes; got 1 class, 'B'"),
    ],
)
def test_a_refused_fit_leaves_no_run_and_touches_no_other(
    change: Callable[[anndata.AnnData], anndata.AnnData],
    label: str,
    message: str,
    folder: Path,
    cells: anndata.AnnData,
    short: dict[str, Any],
    tmp_path: Path,
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for out in (tmp_path / "run", folder):
        with pytest.raises(ValueError, match=message):
            fit_run(change(cells.copy()), label, None, out, short)
    assert not (tmp_path / "run").exists()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_fit_that_breaks_down_leaves_no_run(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="Training broke down in epoch 1: the loss is nan"):
        fit_run(cells, "kind", None, tmp_path / "run", {**short, "learning_rate": 1e30})
    assert not seen(tmp_path / "run") & (MODEL | TOLD)


def test_a_file_in_the_place_of_the_folder_is_refused_first(cells: anndata.AnnData, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match="`out` must be a folder; got the file"):
        fit_run(cells, "kind", None, tmp_path / "run" / "deeper", {"objective": "paper"})


@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_a_checkpoint_stays_where_a_fit_was_interrupted_and_goes_with_its_end(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: SVQVAE, *samples: Any, **given: Any) -> SVQVAE:
        return learn(self, *samples, **given, on_epoch=interrupt)

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    learn = SVQVAE.fit
    with monkeypatch.context() as patch:
        patch.setattr(SVQVAE, "fit", stop)
        fit_run(cells, "kind", None, tmp_path / "run", short)
    assert read_fitted(tmp_path / "run").n_iter == 1
    assert seen(tmp_path / "run") == {*MODEL, "metrics.json", CHECKPOINT_FILE}
    resumed = fit_run(cells, "kind", None, tmp_path / "run", short, resume=True)
    assert seen(tmp_path / "run") == {*MODEL, "metrics.json"}
    whole = fit_run(cells, "kind", None, tmp_path / "whole", short)
    np.testing.assert_array_equal(resumed.fitted.codebook, whole.fitted.codebook)


def test_processes_that_do_not_write_return_no_figures(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "is_first", lambda: False)
    run = fit_run(cells, "kind", None, tmp_path / "run", short)
    assert run.qualities == {}
    assert len(run.sets[TRAINING]) == 60
    assert not seen(tmp_path / "run") & MODEL


def test_samples_without_a_class_are_taken_from_a_file(
    cells: anndata.AnnData, new_cells: anndata.AnnData, tmp_path: Path
) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    others = anndata.AnnData(new_cells.X, new_cells.obs[["batch"]].assign(age=30.0), new_cells.var)
    others.write_h5ad(tmp_path / "others.h5ad")
    given = ["--label", "kind", "--group", "batch", "--unlabelled", tmp_path / "others.h5ad", "--ignore", "gene 8"]
    given += ["--epochs", 2, "--latent-dim", 6, "--out", tmp_path / "run", "--no-report", "--quiet"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", str(tmp_path / "cells.h5ad"), *map(str, given)])
    assert stop.value.code == 0
    found = read_fitted(tmp_path / "run")
    assert (found.origin["n_samples"], found.origin["n_unlabelled"]) == (60, 24)
    assert list(found.feature_names) == [f"gene {k}" for k in range(8)]
    plain = fit_run(drop_features(cells, ["gene 8"]), "kind", "batch", tmp_path / "plain", dict(found.given))
    assert not np.array_equal(plain.fitted.codebook, found.codebook)


def test_features_are_dropped_by_name(cells: anndata.AnnData) -> None:
    assert drop_features(cells, []) is cells
    kept = drop_features(cells, ["gene 8", "gene 2"])
    assert list(kept.var_names) == [f"gene {k}" for k in (0, 1, 3, 4, 5, 6, 7)]
    np.testing.assert_array_equal(kept.X, np.delete(cells.X, [2, 8], axis=1))
    assert cells.n_vars == 9
    message = "`ignore` must name a feature; got 'gnee 1'. The closest names are "
    with pytest.raises(ValueError, match=re.escape(message)):
        drop_features(cells, ["gene 2", "gnee 1"])


def test_backed_anndata_fits_as_one_in_memory(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = fit_run(backed, "kind", "batch", tmp_path / "backed", short)
    same = fit_run(cells, "kind", "batch", tmp_path / "same", short)
    np.testing.assert_allclose(found.fitted.codebook, same.fitted.codebook, rtol=1e-4, atol=1e-5)
    assert found.fitted.origin["sha256"] == same.fitted.origin["sha256"]
    backed.file.close()


def test_labels_may_be_of_any_kind(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    cells.obs["number"] = pd.factorize(cells.obs["kind"])[0]
    run = fit_run(cells, "number", None, tmp_path / "run", short)
    assert run.fitted.classes.tolist() == [0, 1, 2]
    assert read_fitted(tmp_path / "run").classes.dtype.kind == "i"
