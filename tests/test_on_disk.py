"""Models of data that stay on disk against models of the same data in memory."""

import json
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from svqvae import SVQVAE, cli
from svqvae.data import gctx
from svqvae.data.rows import StoredRows, stored_rows
from svqvae.data.simulate import plant_classes
from svqvae.data.stored import open_table
from svqvae.evaluation.cross_validation import cross_validate
from svqvae.evaluation.quality import held_out_quality
from svqvae.model.disk_batches import DiskBatches

K, P = 6, 20


def signatures(**changes: object) -> anndata.AnnData:
    """About 500 easy samples, sorted by class."""
    planted = plant_classes(K, P, sizes=(50, 150), between_variance=4.0, within_variance=1.0)
    order = np.argsort(planted.y, kind="stable")
    obs = pd.DataFrame({"kind": planted.y[order].astype(str)}, index=[f"s{k}" for k in range(len(order))])
    var = pd.DataFrame(index=[f"g{k}" for k in range(P)])
    return anndata.AnnData(**({"X": planted.X[order], "obs": obs, "var": var} | changes))


def model(**changes: object) -> SVQVAE:
    return SVQVAE(**({"n_epochs": 8, "latent_dim": 8, "hidden": (16,), "random_state": 0} | changes))


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> anndata.AnnData:
    """Samples on disk that may not be read whole."""
    gctx.write(signatures(), tmp_path / "data.gctx")
    monkeypatch.delattr(StoredRows, "toarray")
    return open_table(tmp_path / "data.gctx", label="kind", on_disk=True)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold 64 rows of 20 features at a time, read in pieces of 4."""
    monkeypatch.setattr("svqvae.model.disk_batches.PIECE", 4 * 4 * P)
    monkeypatch.setattr("svqvae.fitting.reading.DiskBatches", partial(DiskBatches, memory=64 * 4 * P))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.mark.filterwarnings("ignore:Some codes do not stand")
@pytest.mark.parametrize("changes", [{"early_stopping": True}, {"objective": "vqvae"}])
def test_data_of_one_buffer_give_the_model_of_data_in_memory(stored: anndata.AnnData, changes: dict) -> None:
    found, same = model(**changes).fit(stored, label="kind"), model(**changes).fit(signatures(), label="kind")
    # Whitened in batches of other sizes, which processors may round otherwise.
    np.testing.assert_allclose(found.codebook_, same.codebook_, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.atlas_.means, same.atlas_.means)
    np.testing.assert_allclose(found.fitted_.noise, same.fitted_.noise, rtol=1e-4)
    pd.testing.assert_frame_equal(found.health_, same.health_, rtol=1e-3)
    assert found.fitted_.origin == same.fitted_.origin


@pytest.mark.usefixtures("small_buffers")
def test_many_buffers_of_a_sorted_file_train_as_well(stored: anndata.AnnData) -> None:
    found, same = model().fit(stored, label="kind"), model().fit(signatures(), label="kind")
    y = stored.obs["kind"].to_numpy()
    right, right_in_memory = ((each.predict(signatures()) == y).mean() for each in (found, same))
    assert right > 0.95
    assert right == pytest.approx(right_in_memory, abs=0.03)
    latents = found.transform(stored)
    means = np.stack([latents[y == name].mean(0, dtype=np.float64) for name in found.classes_])
    np.testing.assert_allclose(found.codebook_, means, atol=1e-5)
    np.testing.assert_allclose(found.atlas_.means, same.atlas_.means, atol=1e-6)
    assert found.fitted_.origin == same.fitted_.origin
    again = model().fit(stored, label="kind")
    np.testing.assert_array_equal(found.codebook_, again.codebook_)


@pytest.mark.usefixtures("small_buffers")
def test_two_processes_read_what_one_does(stored: anndata.AnnData) -> None:
    one, two = (model(n_epochs=3, devices=n, accelerator="cpu").fit(stored, label="kind") for n in (1, 2))
    np.testing.assert_allclose(two.codebook_, one.codebook_, atol=1e-5)
    np.testing.assert_array_equal(two.predict(stored), one.predict(stored))


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_counts_on_disk_train_as_well(tmp_path: Path, form: type) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["B", "T"], 100)
    X = rng.poisson(1 + 4 * ((y[:, None] == "T") == (np.arange(P) < 10))).astype(np.float32)
    cells = anndata.AnnData(form(X), pd.DataFrame({"kind": y}, index=[f"c{k}" for k in range(200)]))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = model(likelihood="negative_binomial").fit(backed, label="kind")
    same = model(likelihood="negative_binomial").fit(cells, label="kind")
    assert (found.predict(backed) == y).mean() > 0.95
    np.testing.assert_allclose(found.atlas_.means, same.atlas_.means, atol=1e-5)
    assert found.fitted_.units.to_dict() == same.fitted_.units.to_dict()
    assert found.fitted_.origin == same.fitted_.origin
    backed.file.close()


def test_rows_on_disk_are_predicted_as_in_memory(stored: anndata.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = signatures()
    fitted = model(n_epochs=2).fit(whole, label="kind")
    monkeypatch.setattr("svqvae.data.samples.MAX_BYTES", 1)
    for method in ("predict", "predict_proba", "transform", "reconstruct"):
        np.testing.assert_array_equal(getattr(fitted, method)(stored), getattr(fitted, method)(whole))
    y = whole.obs["kind"].to_numpy()
    rows = StoredRows(stored.X, whole.var_names.to_numpy())
    found, same = (held_out_quality(fitted, X, y, X, y).to_dict() for X in (rows, whole.to_df()))
    assert found == pytest.approx(same, rel=1e-9)


def test_what_is_wrong_on_disk_is_told_as_in_memory(tmp_path: Path) -> None:
    for row, value, changes, rule in (
        (300, np.nan, {}, r"`X` must be finite; got 1 .* the first \(nan\) in row 300, feature 'g3'"),
        (300, -20, {"likelihood": "bounded", "output_scale": 10.0}, "`X` must lie in"),
        (300, -1, {"likelihood": "negative_binomial"}, "`X` must hold counts"),
    ):
        wrong = signatures()
        wrong.X[row, 3] = value
        gctx.write(wrong, tmp_path / "wrong.gctx")
        for adata in (wrong, open_table(tmp_path / "wrong.gctx", on_disk=True)):
            with pytest.raises(ValueError, match=rule):
                model(**changes).fit(adata, label="kind")
    with pytest.raises(ValueError, match="the first"):
        model(n_epochs=1).fit(signatures(), label="kind").predict(_nan_on_disk(tmp_path))


def _nan_on_disk(folder: Path) -> anndata.AnnData:
    wrong = signatures()
    wrong.X[7, 3] = np.inf
    wrong.write_h5ad(folder / "wrong.h5ad")
    return open_table(folder / "wrong.h5ad", on_disk=True)


@pytest.mark.usefixtures("small_buffers")
def test_the_commands_take_files_that_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = signatures()
    gctx.write(whole, tmp_path / "data.gctx")
    monkeypatch.delattr(StoredRows, "toarray")
    fit = ("fit", tmp_path / "data.gctx", "--label", "kind", "--out", tmp_path / "run", "--epochs", 8, "--quiet")
    assert run(*fit, "--ignore", "g4", "--on-disk") == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["accuracy"] > 0.95
    assert (tmp_path / "run" / "report.html").is_file()
    monkeypatch.setattr("svqvae.data.stored.LARGE", 0)
    turned = whole[:, ::-1].copy()
    turned.write_h5ad(tmp_path / "new.h5ad")
    assert run("annotate", tmp_path / "run", tmp_path / "new.h5ad", "--out", tmp_path / "new.csv", "--quiet") == 0
    names = pd.read_csv(tmp_path / "new.csv")["class"].astype(str)
    assert (names.to_numpy() == whole.obs["kind"].to_numpy()).mean() > 0.95
    assert run("annotate", tmp_path / "run", tmp_path / "new.h5ad", "--out", tmp_path / "out.h5ad", "--quiet") == 0
    out = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(out.X, turned.X)
    assert out.obsm["X_svqvae"].shape[0] == len(whole)
    assert out.obs["svqvae_class"].astype(str).tolist() == names.tolist()


def test_a_sparse_matrix_on_disk_is_written_sparse(tmp_path: Path) -> None:
    from svqvae.data.stored import write_h5ad

    X = sparse.random(3000, 9, 0.3, format="csr", dtype=np.float32, random_state=0)
    anndata.AnnData(X).write_h5ad(tmp_path / "a.h5ad")
    write_h5ad(open_table(tmp_path / "a.h5ad", on_disk=True), tmp_path / "b.h5ad")
    found = anndata.read_h5ad(tmp_path / "b.h5ad").X
    assert sparse.issparse(found)
    assert (found != X).nnz == 0


def test_the_commands_take_an_annotated_file_of_an_old_layout(tmp_path: Path, real_file) -> None:
    cells = real_file("pbmc68k_reduced.h5ad")
    fit = ("fit", cells, "--label", "bulk_labels", "--out", tmp_path / "run", "--epochs", 1, "--quiet", "--no-report")
    assert run(*fit) == 0
    assert run("annotate", tmp_path / "run", cells, "--out", tmp_path / "cells.h5ad", "--quiet") == 0
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").obsm["X_svqvae"].shape[0] == 700
    with pytest.raises(ValueError, match=r"whose layout is that of anndata before 0\.7\. Rewrite it"):
        open_table(cells, label="bulk_labels", on_disk=True)


@pytest.mark.filterwarnings("ignore:Some codes do not stand")
def test_cross_validation_on_disk_has_the_figures_of_one_in_memory(stored: anndata.AnnData) -> None:
    y, settings = stored.obs["kind"].to_numpy(), {"n_folds": 3, "seeds": [0, 1]}
    models = {"svqvae": model(n_epochs=2)}
    found = cross_validate(stored_rows(stored), y, models, **settings)
    same = cross_validate(signatures().X, y, models, **settings)
    assert found.n_plain is None
    pd.testing.assert_frame_equal(found.runs, same.runs, rtol=0.02)
    methods = [name for name in found.runs["method"].unique() if name != "svqvae"]
    pd.testing.assert_frame_equal(found.predictions[methods], same.predictions[methods])


def test_plain_classifiers_are_fitted_on_some_of_many_samples_on_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gctx.write(signatures(), tmp_path / "data.gctx")
    monkeypatch.setattr("svqvae.evaluation.folding.MAX_NUMBERS", 100 * P)
    monkeypatch.delattr(StoredRows, "toarray")
    arguments = ("--label", "kind", "--epochs", 4, "--folds", 2, "--seeds", 1, "--jobs", 2, "--on-disk")
    assert run("evaluate", tmp_path / "data.gctx", *arguments, "--out", tmp_path / "out.json") == 0
    assert "fitted on 100 training samples, drawn at random" in capsys.readouterr().out
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["n_plain"] == 100
    assert content["methods"]["nearest class mean"]["accuracy"]["mean"] > 0.9
    assert content["methods"]["nearest class mean"]["profile_error"]["mean"] < 0.1


def test_a_fit_goes_on_wherever_its_data_stand(stored: anndata.AnnData, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise RuntimeError("killed")

    whole = model().fit(stored, label="kind")
    for first, second in ((stored, signatures()), (signatures(), stored)):
        path = tmp_path / "fit.safetensors"
        with pytest.raises(RuntimeError, match="killed"):
            model().fit(first, label="kind", checkpoint=path, on_epoch=stop)
        found = model().fit(second, label="kind", checkpoint=path, resume=True)
        np.testing.assert_allclose(found.codebook_, whole.codebook_, rtol=1e-3, atol=1e-4)
