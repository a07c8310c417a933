"""Samples of a fold, as models and as plain classifiers take them."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.data import gctx
from svqvae.data.samples import Samples, read_samples
from svqvae.data.stored import open_table
from svqvae.data.units import Counts, Standard
from svqvae.evaluation import folding
from svqvae.evaluation.folding import Folded

N, P = 60, 5
rng = np.random.default_rng(0)
Y = np.array(["a", "b", "c"])[rng.integers(3, size=N)]
GROUPS = np.repeat(np.arange(20), 3)
X = rng.normal(size=(N, P)) * [1, 10, 100, 1, 1]
COUNTS = 1 + rng.poisson(9, size=(N, P))
CHOSEN = np.flatnonzero(rng.random(N) < 0.5)


@pytest.fixture
def plain() -> Folded:
    return Folded(read_samples(X, Y, groups=GROUPS), Standard, are_images=False)


@pytest.fixture
def counts() -> Folded:
    return Folded(read_samples(COUNTS, Y), Counts, are_images=False)


@pytest.fixture
def stored(tmp_path: Path) -> Samples:
    """Return the samples, sorted by class, of which one is the only one of its class, on disk."""
    y = np.array(["rare", *np.sort(Y)[1:]])
    adata = anndata.AnnData(X.astype(np.float32), pd.DataFrame({"kind": y}, index=[f"s{k}" for k in range(N)]))
    gctx.write(adata, tmp_path / "data.gctx")
    return read_samples(open_table(tmp_path / "data.gctx", label="kind", on_disk=True), label="kind")


def log_shares(counts: np.ndarray) -> np.ndarray:
    return np.log1p(1e4 * counts / counts.sum(1, keepdims=True))


def test_plain_classifiers_get_values_as_they_are_but_logarithms_of_shares_of_counts(
    plain: Folded, counts: Folded
) -> None:
    np.testing.assert_array_equal(plain.plain(CHOSEN), X[CHOSEN])
    np.testing.assert_allclose(counts.plain(CHOSEN), log_shares(COUNTS[CHOSEN]))


def test_parts_joined_are_the_whole(plain: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "CHUNK", 7)
    positions, values = zip(*plain.plain_parts(CHOSEN), strict=True)
    assert max(map(len, positions)) == 7
    np.testing.assert_array_equal(np.concatenate(positions), CHOSEN)
    np.testing.assert_array_equal(np.concatenate(values), X[CHOSEN])


def test_features_of_different_units_are_measured_by_the_rule_of_the_model(plain: Folded, counts: Folded) -> None:
    survey = plain.survey()
    assert survey is not None
    survey.add(X)
    np.testing.assert_allclose(survey.result().scale, Standard.measure(X).scale)
    assert counts.survey() is None
    assert Folded(plain.samples, Standard, are_images=True).survey() is None


def test_models_get_the_classes_and_groups_of_the_fold_alone(plain: Folded) -> None:
    chosen = np.flatnonzero(Y != "b")
    found = plain.for_models(chosen)
    assert found.classes.tolist() == ["a", "c"]
    np.testing.assert_array_equal(found.labels, Y[chosen])
    np.testing.assert_array_equal(found.rows, X[chosen])
    np.testing.assert_array_equal(found.groups, pd.factorize(GROUPS[chosen])[0])


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_a_model_of_a_fold_is_that_of_its_rows(plain: Folded) -> None:
    found, same = (SVQVAE(n_epochs=2, latent_dim=3, hidden=(4,), random_state=0) for _ in range(2))
    found.fit(plain.for_models(CHOSEN))
    same.fit(X[CHOSEN], Y[CHOSEN], groups=GROUPS[CHOSEN])
    np.testing.assert_array_equal(found.predict(plain.for_models(CHOSEN)), same.predict(X[CHOSEN]))
    np.testing.assert_array_equal(found.codebook_, same.codebook_)


def test_class_means_are_those_of_pandas(plain: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "CHUNK", 7)
    expected = pd.DataFrame(X[CHOSEN]).groupby(Y[CHOSEN]).mean()
    pd.testing.assert_frame_equal(plain.class_means(CHOSEN, Y[CHOSEN]), expected)


def test_class_means_of_counts_are_the_logarithm_of_mean_shares(counts: Folded) -> None:
    shares = COUNTS[CHOSEN] / COUNTS[CHOSEN].sum(1, keepdims=True)
    expected = np.log1p(1e4 * pd.DataFrame(shares).groupby(Y[CHOSEN]).mean())
    pd.testing.assert_frame_equal(counts.class_means(CHOSEN, Y[CHOSEN]), expected)


def test_in_memory_all_samples_are_drawn(plain: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_NUMBERS", P)
    assert plain.drawn(CHOSEN, 0) is CHOSEN


def test_of_many_samples_on_disk_some_are_drawn_but_two_of_each_class(
    stored: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, everything = Folded(stored, Standard, are_images=False), np.arange(N)
    assert data.drawn(everything, 0) is everything
    monkeypatch.setattr(folding, "MAX_NUMBERS", 12 * P)
    draws = [data.drawn(everything, seed) for seed in range(20)]
    for drawn in draws:
        assert len(drawn) == 12
        assert (np.diff(drawn) > 0).all()
        counts = pd.Series(data.y[drawn]).value_counts()
        assert counts["rare"] == 1
        assert (counts[["a", "b", "c"]] >= 2).all()
    np.testing.assert_array_equal(draws[3], data.drawn(everything, 3))
    assert len({tuple(drawn) for drawn in draws}) == 20


def test_samples_on_disk_stay_there_for_models(stored: Samples) -> None:
    data = Folded(stored, Standard, are_images=False)
    found = data.for_models(CHOSEN)
    assert found.stay_on_disk
    np.testing.assert_array_equal(found.rows[:], X[CHOSEN].astype(np.float32))
    np.testing.assert_array_equal(data.plain(CHOSEN), X[CHOSEN].astype(np.float32))
