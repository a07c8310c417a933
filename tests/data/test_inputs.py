"""Wrong input gets one sentence that says what was wrong, what was seen and what to do."""

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE

# Random data have no classes worth a code, and the model says so.
pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

X = np.random.default_rng(0).normal(size=(20, 4))
Y = np.repeat(["a", "b"], 10)


def model(**changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 2, "latent_dim": 3, "hidden": (4,), "random_state": 0, **changes})


def replaced(row: int, column: int, value: float) -> np.ndarray:
    changed = X.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (X[:0], Y[:0], r"Found array with 0 sample\(s\)"),
        (X, np.repeat("a", 20), r"`y` must hold at least 2 classes; got 1 class, .*'a'"),
        (
            replaced(3, 2, np.nan),
            Y,
            r"`X` must be finite; got 1 NaN or infinite cells, the first \(nan\) in row 3, feature 2",
        ),
        (replaced(0, 1, np.inf), Y, r"`X` must be finite; got 1 .* the first \(inf\) in row 0, feature 1"),
        (X.reshape(20, 2, 2), Y, r"`X` must be a table .* got shape \(20, 2, 2\)\. Use architecture='conv'"),
        (X, Y[:19], r"`y` must have a label for each of the 20 samples of `X`; got 19"),
        (X, np.array([*Y[:19], np.nan], dtype=object), r"1 are NaN or infinite, the first in row 19"),
        (X, np.array([*Y[:19], 3], dtype=object), r"`y` must hold labels of one kind; got int and str_?"),
        (X, None, r"requires y to be passed"),
        (
            X,
            np.linspace(0, 1, 20),
            r"Unknown label type: continuous\. `y` must hold classes; got 0\.0 and others\. Name",
        ),
        (X, [f"id{k}" for k in range(20)], r"`y` must have classes of several samples; got 20 classes of one each"),
        (
            pd.DataFrame(replaced(3, 2, np.nan), columns=["a", "b", "c", "d"]).replace({"d": {X[5, 3]: np.inf}}),
            Y,
            r"got 2 NaN or infinite cells, .*, feature 'c'\. 2 features have such cells: 'c', 'd'\. Impute",
        ),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(data: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model().fit(data, labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "paper"}, r"`objective` must be one of 'prototype', .*; got 'paper'"),
        ({"architecture": "deep"}, r"`architecture` must be one of 'dense', 'conv'.*; got 'deep'"),
        ({"likelihood": "normal"}, r"`likelihood` must be one of .*; got 'normal'"),
        ({"geometry": "angle"}, r"`geometry` must be one of 'euclidean', 'cosine'; got 'angle'"),
        ({"precision": "8"}, r"`precision` must be one of .*; got '8'"),
        ({"latent_dim": 0}, r"`latent_dim` must be a whole number of at least 1; got 0"),
        ({"n_epochs": 2.5}, r"`n_epochs` must be a whole number of at least 1 or None; got 2.5"),
        ({"learning_rate": 0}, r"`learning_rate` must be a number above 0 or None; got 0"),
        ({"w_label": -1}, r"`w_label` must be a number of at least 0; got -1"),
        ({"hidden": (4, 0)}, r"`hidden` must hold whole numbers of at least 1; got \(4, 0\)"),
        ({"dropout": 1.0}, r"`dropout` must be at least 0 and below 1; got 1.0"),
        ({"validation_fraction": 1}, r"`validation_fraction` must be at least 0 and below 1; got 1"),
        ({"early_stopping": "yes"}, r"`early_stopping` must be True, False or 'auto'; got 'yes'"),
        ({"early_stopping": True}, r"`validation_fraction` must hold out .* 0.05 of 20 samples holds out none"),
        ({"accelerator": "mps"}, r"`accelerator` must be one of 'auto', .*; got 'mps'"),
        ({"architecture": ("a", "b")}, r"`architecture` must be .* or a tuple of two modules, .*; got a tuple"),
        ({"hidden": 256}, r"`hidden` must be a sequence of widths, such as \(256,\); got 256"),
        ({"image_shape": 8}, r"`image_shape` must be \(height, width\) .*; got 8"),
        ({"devices": 0}, r"`devices` must be a whole number of at least 1; got 0"),
        ({"random_state": -3}, r"`random_state` must be None, .*; got -3"),
        ({"early_stopping": True, "validation_fraction": 0.0}, r"`validation_fraction` must be above 0"),
        ({"output_scale": 10.0}, r"`output_scale` must be None unless likelihood='bounded'; got 10.0"),
        ({"likelihood": "bounded", "output_scale": 0.5}, r"`X` must lie in \[-0.5, 0.5\].* got an absolute value"),
        ({"likelihood": "bernoulli"}, r"`X` must lie in \[0, 1\] for likelihood='bernoulli'; got values from -"),
        ({"likelihood": "negative_binomial"}, r"`X` must hold counts .*; got -"),
        ({"architecture": "conv"}, r"`X` must hold images .* got rows of 4 features"),
        (
            {"objective": "published", "divergence_cost": 0.25},
            r"`divergence_cost` must be below `commitment_cost`.* got 0.25 and 0.25",
        ),
        (
            {"objective": "published", "geometry": "cosine"},
            r"`geometry` must be 'euclidean' with objective='published'",
        ),
    ],
)
def test_settings_that_break_a_rule_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**changes).fit(X, Y)


def test_fractional_counts_and_empty_samples_are_refused() -> None:
    counts = np.arange(80.0).reshape(20, 4)
    with pytest.raises(ValueError, match=r"`X` must hold whole counts .*; got 0.5"):
        model(likelihood="negative_binomial").fit(counts + 0.5, Y)
    counts[7] = 0
    with pytest.raises(ValueError, match=r"at least one count in each sample; 1 have none, the first in row 7"):
        model(likelihood="negative_binomial").fit(counts, Y)


def test_features_in_another_order_or_number_are_refused() -> None:
    frame = pd.DataFrame(X, columns=["g0", "g1", "g2", "g3"])
    fitted = model().fit(frame, Y)
    with pytest.raises(ValueError, match=r"features in the order of the fit; feature 0 is 'g1', was 'g0'"):
        fitted.predict(frame[["g1", "g0", "g2", "g3"]])
    with pytest.raises(ValueError, match=r"the 4 features of the fit; missing: 'g3'; not known: 'h'"):
        fitted.predict(frame.rename(columns={"g3": "h"}))
    with pytest.raises(ValueError, match="X has 3 features, but SVQVAE is expecting 4 features"):
        model().fit(X, Y).predict(X[:, :3])


def test_images_of_another_shape_are_refused() -> None:
    images = np.random.default_rng(0).normal(size=(20, 8, 8))
    fitted = model(architecture="conv").fit(images, Y)
    with pytest.raises(ValueError, match=r"samples of shape \(8, 8\), as in the fit; got shape \(4, 16\)"):
        fitted.predict(images.reshape(20, 4, 16))
    with pytest.raises(ValueError, match=r"`image_shape` must be .* of 64 pixels in all; got \(8, 9\)"):
        model(architecture="conv", image_shape=(8, 9)).fit(images.reshape(20, 64), Y)


def test_a_label_column_that_does_not_exist_is_named() -> None:
    adata = anndata.AnnData(X.astype(np.float32), obs=pd.DataFrame({"kind": Y}, index=[str(i) for i in range(20)]))
    with pytest.raises(ValueError, match=r"`label` must be a column of .*; got 'knd'.*kind"):
        model().fit(adata, label="knd")
    with pytest.raises(TypeError, match=r"`label` and `layer` go with AnnData; got a ndarray"):
        model().fit(X, Y, label="kind")


def test_an_unknown_class_is_answered_with_the_closest_names() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of 2 classes; got 'c'. The closest are a, b"):
        model().fit(X, Y).sample("c")


def test_a_run_of_another_format_version_is_refused(tmp_path: Path) -> None:
    model().fit(X, Y).save(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(run | {"format_version": 99}))
    with pytest.raises(ValueError, match=r"must have format version 1; got 99"):
        SVQVAE.load(tmp_path)


def test_a_run_whose_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    model().fit(X, Y).save(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    run["parameters"]["hidden"] = [5]
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match=r"must hold the weights that its run.json describes"):
        SVQVAE.load(tmp_path)


def test_a_run_with_half_its_facts_is_refused(tmp_path: Path) -> None:
    model().fit(X, Y).save(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    for lacking in ("parameters", "classes"):
        (tmp_path / "run.json").write_text(json.dumps({name: run[name] for name in run if name != lacking}))
        with pytest.raises(ValueError, match=rf"must be a whole run; its run.json has no '{lacking}'"):
            SVQVAE.load(tmp_path)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_a_number_of_samples_that_is_none_is_refused(n: Any) -> None:
    with pytest.raises(ValueError, match=r"`n` must be a whole number of at least 1; got"):
        model().fit(X, Y).sample("a", n)


def test_labels_twice_or_of_an_odd_type_are_refused() -> None:
    adata = anndata.AnnData(X.astype(np.float32), obs=pd.DataFrame({"kind": Y}, index=[str(i) for i in range(20)]))
    with pytest.raises(TypeError, match=r"`label` and `y` cannot both be given; got label='kind' and 20 labels"):
        model().fit(adata, Y, label="kind")
