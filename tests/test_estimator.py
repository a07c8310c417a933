"""The estimator's promises: units, shapes, seeds, containers, saving."""

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svqvae import SVQVAE
from svqvae.atlas.health import CodeHealthWarning

CLASSES = np.array(["alpha", "beta", "gamma"])


@pytest.fixture(scope="module")
def table() -> tuple[pd.DataFrame, NDArray[Any]]:
    rng = np.random.default_rng(0)
    y = rng.choice(CLASSES, 150)
    X = rng.normal(size=(150, 12)) + 3 * (y[:, None] == np.repeat(CLASSES, 4))
    return pd.DataFrame(X, columns=[f"g{i}" for i in range(12)]), y


@pytest.fixture(scope="module")
def fitted(table: tuple[pd.DataFrame, NDArray[Any]]) -> SVQVAE:
    return SVQVAE(n_epochs=20, latent_dim=8, random_state=0).fit(*table)


def tiny(**changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 3, "latent_dim": 4, "hidden": (8,), "random_state": 0, **changes})


def test_separable_classes_are_learnt(table, fitted: SVQVAE) -> None:
    assert fitted.score(*table) > 0.95
    assert fitted.predict_proba(table[0]).argmax(1).tolist() == [
        list(CLASSES).index(c) for c in fitted.predict(table[0])
    ]


def test_codes_are_the_class_means_of_the_latents(table, fitted: SVQVAE) -> None:
    latents = fitted.transform(table[0])
    means = np.stack([latents[table[1] == name].mean(0) for name in CLASSES])
    np.testing.assert_allclose(fitted.codebook_, means, atol=1e-5)


def test_same_seed_gives_the_same_bits(table) -> None:
    first, second = (tiny().fit(*table) for _ in range(2))
    assert (first.codebook_ == second.codebook_).all()
    assert (first.class_profiles() == second.class_profiles()).all()
    assert (first.codebook_ != tiny(random_state=1).fit(*table).codebook_).any()


def test_a_sample_gets_the_same_bits_alone_as_among_others(table, fitted: SVQVAE) -> None:
    together = fitted.predict_proba(table[0])
    alone = np.concatenate([fitted.predict_proba(table[0].iloc[[row]]) for row in range(30)])
    assert (alone == together[:30]).all()


def test_fit_leaves_global_random_states_alone(table) -> None:
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    expected = np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    tiny(random_state=None).fit(*table).sample("beta", 3)
    assert (np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_features_of_any_scale_work_unscaled(table, factor: float) -> None:
    X = table[0].to_numpy() * factor * np.logspace(-2, 2, 12) + 1e3 * factor
    model = SVQVAE(n_epochs=20, latent_dim=8, random_state=0).fit(X, table[1])
    assert model.score(X, table[1]) > 0.95
    means = np.stack([X[table[1] == name].mean(0) for name in CLASSES])
    assert np.abs((model.class_profiles() - means) / X.std(0)).max() < 0.3


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 10)])
def test_images_come_back_in_the_shape_of_x(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 255, (30, *shape), dtype=np.uint8), np.arange(30) % 3
    model = tiny(architecture="conv").fit(X, y)
    assert model.reconstruct(X).shape == X.shape
    assert model.class_profiles().shape == (3, *shape)
    assert model.sample(1, n=5, random_state=0).shape == (5, *shape)
    assert model.class_profiles().min() >= 0
    assert model.class_profiles().max() <= 255


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_flat_rows_with_an_image_shape_equal_images() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 8, 8)), np.arange(30) % 3
    images = tiny(architecture="conv").fit(X, y)
    rows = tiny(architecture="conv", image_shape=(8, 8)).fit(X.reshape(30, 64), y)
    assert (images.class_profiles().reshape(3, 64) == rows.class_profiles()).all()


@pytest.mark.parametrize("labels", [[3, 7, 40], [True, False, True], ["a", "b", "ü"], [1.0, 2.0, 5.0]])
def test_labels_of_any_kind_come_back(table, labels: list[Any]) -> None:
    y = np.array(labels)[np.searchsorted(CLASSES, table[1])]
    model = tiny().fit(table[0], y)
    assert model.classes_.dtype == y.dtype
    assert set(model.predict(table[0])) <= set(labels)


def test_sparse_input_equals_dense_input(table) -> None:
    X = np.where(table[0] > 0, table[0], 0)
    dense, compressed = tiny().fit(X, table[1]), tiny().fit(sparse.csr_matrix(X), table[1])
    np.testing.assert_array_equal(dense.transform(X), compressed.transform(sparse.csr_matrix(X)))


def test_anndata_equals_a_data_frame(table) -> None:
    adata = anndata.AnnData(table[0].set_axis(table[0].index.astype(str)), layers={"raw": table[0].to_numpy() * 2})
    adata.obs["kind"] = pd.Categorical(table[1])
    model = tiny().fit(adata, label="kind")
    np.testing.assert_allclose(model.transform(adata), tiny().fit(*table).transform(table[0]), atol=1e-5)
    assert list(model.feature_names_in_) == list(table[0].columns)
    doubled = tiny().fit(adata, label="kind", layer="raw")
    np.testing.assert_allclose(doubled.class_profiles(), 2 * model.class_profiles(), rtol=1e-4, atol=1e-4)


def test_counts_are_modelled_as_counts() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    X = rng.poisson(
        np.where(y[:, None] == 1, [20, 2, 5, 5, 5], [2, 20, 5, 5, 5]) * rng.uniform(0.5, 2, (200, 1)) + 1e-9
    )
    X[:, 4] += 1
    model = tiny(likelihood="negative_binomial", n_epochs=40).fit(X, y)
    assert model.score(X, y) > 0.95
    np.testing.assert_allclose(model.reconstruct(X).sum(1), X.sum(1), rtol=1e-4)
    drawn = model.sample(1, 500, random_state=0)
    assert (drawn == drawn.round()).all()
    assert drawn[:, 0].mean() > 3 * drawn[:, 1].mean()


def test_bernoulli_draws_zeros_and_ones(table) -> None:
    X = (table[0] > 1.5).astype(float)
    model = tiny(likelihood="bernoulli", n_epochs=20).fit(X, table[1])
    assert set(np.unique(model.sample("beta", 20, random_state=0))) == {0.0, 1.0}


def test_simulated_rows_have_the_mean_and_spread_of_the_class(table, fitted: SVQVAE) -> None:
    real = table[0].to_numpy()[table[1] == "beta"]
    drawn = fitted.sample("beta", 4000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), real.mean(0), atol=0.4)
    np.testing.assert_allclose(drawn.std(0), real.std(0), rtol=0.35)
    assert (drawn == fitted.sample("beta", 4000, random_state=0)).all()


def test_own_networks_are_copied_and_trained(table, tmp_path: Path) -> None:
    pair = (torch.nn.Linear(12, 4), torch.nn.Linear(4, 12))
    before = pair[0].weight.clone()
    model = tiny(architecture=pair, n_epochs=10).fit(*table)
    assert (pair[0].weight == before).all()
    assert model.score(*table) > 0.9
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"`architecture` must be the pair .* got None"):
        SVQVAE.load(tmp_path)
    assert (SVQVAE.load(tmp_path, architecture=pair).predict(table[0]) == model.predict(table[0])).all()


def test_estimator_works_in_a_grid_search_and_a_pipeline(table) -> None:
    search = GridSearchCV(tiny(), {"latent_dim": [2, 4]}, cv=2).fit(*table)
    assert search.best_params_["latent_dim"] in (2, 4)
    assert make_pipeline(StandardScaler(), tiny(n_epochs=20)).fit(*table).score(*table) > 0.9
    assert clone(tiny(geometry="cosine")).geometry == "cosine"
    assert pickle.loads(pickle.dumps(search.best_estimator_)).score(*table) == search.score(*table)


def test_cosine_geometry_compares_directions(table) -> None:
    model = tiny(geometry="cosine", n_epochs=20).fit(*table)
    np.testing.assert_allclose(np.linalg.norm(model.transform(table[0]), axis=1), 1, rtol=1e-5)
    assert model.score(*table) > 0.9


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_vqvae_codes_are_given_to_the_classes_they_serve() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    X = rng.normal(size=(200, 5)) * 0.3 + 4 * y[:, None]
    model = SVQVAE(objective="vqvae", n_epochs=30, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9


def test_saved_model_predicts_the_same_bits_in_a_new_process(table, fitted: SVQVAE, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    table[0].to_parquet(tmp_path / "X.parquet")
    code = (
        "import sys, numpy as np, pandas as pd; from svqvae import SVQVAE; m = SVQVAE.load(sys.argv[1] + '/run');"
        "X = pd.read_parquet(sys.argv[1] + '/X.parquet'); np.savez(sys.argv[1] + '/out.npz', p=m.predict_proba(X),"
        "s=m.sample('beta', 5, random_state=1), r=m.reconstruct(X), f=m.class_profiles());"
        "assert not {'lightning_fabric', 'torch._dynamo'} & set(sys.modules), 'slow to import, and for training only'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    out = np.load(tmp_path / "out.npz")
    assert (out["p"] == fitted.predict_proba(table[0])).all()
    assert (out["s"] == fitted.sample("beta", 5, random_state=1)).all()
    assert (out["r"] == fitted.reconstruct(table[0])).all()
    assert (out["f"] == fitted.class_profiles()).all()


def test_run_folder_says_what_was_trained_on_what(table, fitted: SVQVAE, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["format_version"] == 2
    assert run["classes"]["values"] == list(CLASSES)
    assert run["feature_names"] == list(table[0].columns)
    assert run["data"]["n_samples"] == 150
    assert run["recipe"]["schedule"]["seed"] == 0
    assert run["parameters"]["n_epochs"] == 20
    assert "torch" in run["versions"]
    loaded = SVQVAE.load(tmp_path)
    assert loaded.get_params() == fitted.get_params() | {"random_state": 0}
    pd.testing.assert_frame_equal(loaded.history_, fitted.history_, check_dtype=False)
    pd.testing.assert_frame_equal(loaded.health_, fitted.health_)


def test_early_stopping_holds_samples_out_and_reports_them(table) -> None:
    model = tiny(early_stopping=True, validation_fraction=0.2, n_epochs=4).fit(*table)
    assert len(model.held_out_) == pytest.approx(30, abs=2)
    assert {"validation_loss", "validation_accuracy"} <= set(model.history_)


def test_groups_are_held_out_whole(table) -> None:
    groups = np.arange(150) // 5
    model = tiny(early_stopping=True, validation_fraction=0.2).fit(*table, groups=groups)
    held_out = set(groups[model.held_out_])
    assert held_out
    assert held_out.isdisjoint(np.delete(groups, model.held_out_))


def test_codes_that_do_not_stand_for_their_class_are_named() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 5)), rng.integers(4, size=200)
    with pytest.warns(CodeHealthWarning, match=r"Some codes do not stand for their class \(.*See `model.health_`"):
        model = tiny(objective="published", n_epochs=2).fit(X, y)
    assert (model.health_["n_foreign"] >= model.health_["n_own"]).equals(model.health_["is_outnumbered"])


def test_permuting_the_names_of_classes_permutes_the_codes(table) -> None:
    renamed = pd.Series(table[1]).map({"alpha": "c", "beta": "a", "gamma": "b"}).to_numpy()
    model, other = tiny().fit(*table), tiny().fit(table[0], renamed)
    np.testing.assert_allclose(model.codebook_, other.codebook_[[2, 0, 1]], atol=1e-4)


def test_published_presets_hold_the_published_settings() -> None:
    mnist, lincs = SVQVAE.published("mnist"), SVQVAE.published("lincs", random_state=3)
    assert (mnist.latent_dim, mnist.batch_size, mnist.learning_rate, mnist.n_epochs) == (3200, 256, 1e-3, 25)
    assert (lincs.latent_dim, lincs.batch_size, lincs.learning_rate, lincs.n_epochs) == (1000, 256, 1e-4, 900)
    assert (lincs.output_scale, lincs.divergence_cost, lincs.random_state) == (10.0, 0.1, 3)


def test_published_lincs_takes_z_scores_as_they_are() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-10, 10, (40, 30)), np.arange(40) % 2
    model = SVQVAE.published("lincs", n_epochs=2, latent_dim=10, random_state=0).fit(X, y)
    W, b = (model.module_.decoder[0].get_parameter(name).detach().numpy() for name in ("weight", "bias"))
    np.testing.assert_allclose(model.class_profiles(), 10 * np.tanh(model.codebook_ @ W.T + b), rtol=1e-5)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architecture": "conv", "image_shape": (4, 4)},
        {"objective": "published", "architecture": "conv", "image_shape": (4, 4)},
        {"objective": "vqvae"},
        {"likelihood": "negative_binomial", "early_stopping": True, "validation_fraction": 0.2},
    ],
)
@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_every_precision_is_saved_bit_by_bit(precision: str, changes: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.poisson(5, (60, 16)), np.arange(60) % 3
    model = tiny(precision=precision, accelerator="cpu", **changes).fit(X, y)
    model.save(tmp_path)
    loaded = SVQVAE.load(tmp_path)
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()
    assert (loaded.held_out_ == model.held_out_).all()
    assert (loaded.sample(1, 4, random_state=0) == model.sample(1, 4, random_state=0)).all()


def test_simulated_rows_spread_as_real_ones_where_samples_are_few() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 21)
    X = rng.normal(size=(63, 300)) + 3 * rng.normal(size=(3, 300))[y]
    drawn = SVQVAE(random_state=0, n_epochs=30).fit(X, y).sample(1, 1000, random_state=0)
    assert np.median(drawn.std(0)) == pytest.approx(1, abs=0.1)


def test_simulated_counts_have_totals_like_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    totals = rng.lognormal(7, 0.8, 300)
    X, y = rng.poisson(totals[:, None] * rng.dirichlet(np.ones(20))), np.arange(300) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CodeHealthWarning)
        drawn = tiny(likelihood="negative_binomial").fit(X, y).sample(0, 3000, random_state=0).sum(1)
    assert np.log(drawn).std() == pytest.approx(np.log(X.sum(1)).std(), rel=0.25)
    assert np.median(drawn) == pytest.approx(np.median(X.sum(1)), rel=0.1)


def test_scaling_is_measured_on_the_kept_samples_only(table) -> None:
    model = tiny(early_stopping=True, validation_fraction=0.3).fit(*table)
    kept = np.delete(table[0].to_numpy(), model.held_out_, axis=0)
    np.testing.assert_allclose(model.fitted_.units.center, kept.mean(0))


def test_a_model_of_a_layer_takes_plain_tables_too(table) -> None:
    adata = anndata.AnnData(table[0].set_axis(table[0].index.astype(str)), layers={"raw": table[0].to_numpy() * 2})
    adata.obs["kind"] = table[1]
    model = tiny().fit(adata, label="kind", layer="raw")
    np.testing.assert_allclose(model.transform(adata), model.transform(table[0] * 2), atol=1e-5)


def test_changing_the_codebook_leaves_the_model_alone(table, fitted: SVQVAE) -> None:
    before = fitted.predict(table[0])
    fitted.codebook_[:] = 0
    assert (fitted.predict(table[0]) == before).all()


def test_a_fit_that_breaks_down_leaves_no_model(table) -> None:
    model = tiny(learning_rate=1e30, weight_decay=0.0, n_epochs=10)
    with pytest.raises(FloatingPointError, match=r"Training broke down in epoch .* Use a `learning_rate` below 1e"):
        model.fit(*table)
    with pytest.raises(NotFittedError):
        model.predict(table[0])


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_published_reconstruction_is_that_of_the_nearest_code(table) -> None:
    model = tiny(objective="published", n_epochs=20).fit(*table)
    own = np.searchsorted(CLASSES, model.predict(table[0]))
    np.testing.assert_allclose(model.reconstruct(table[0]), model.class_profiles()[own], rtol=1e-5, atol=1e-5)


def test_a_refused_refit_leaves_no_model(table) -> None:
    model = tiny().fit(*table)
    with pytest.raises(ValueError, match="`groups` must name a group for each of 150 samples; got 3"):
        model.fit(*table, groups=[1, 2, 3])
    with pytest.raises(NotFittedError):
        model.predict(table[0])


def test_latents_that_are_not_finite_are_refused(fitted: SVQVAE) -> None:
    with pytest.raises(ValueError, match="`Z` must be finite; got 1 NaN"):
        fitted.inverse_transform([[np.nan, *range(7)]])
