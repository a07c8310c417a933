"""The map of samples and codes."""

import sys
import types

import numpy as np
import pytest
from sklearn.decomposition import PCA

from svqvae.report import places
from svqvae.report.places import summarise_map


class Layout:
    """Stands for umap-learn's estimator: places are the two first columns."""

    def __init__(self, n_neighbors: int, n_epochs: int, random_state: int) -> None:
        self.settings = n_neighbors, n_epochs, random_state

    def fit_transform(self, X):
        return X[:, :2]


@pytest.fixture
def with_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Layout))


def test_places_are_the_principal_components_of_the_latents(table, quick) -> None:
    found = summarise_map(table.fitted, table.sets, seed=0)
    latents = np.concatenate([table.model.transform(part) for part in table.sets.values()])
    theirs = PCA(2).fit(latents)
    np.testing.assert_allclose(found["explained"], theirs.explained_variance_ratio_, rtol=1e-4)
    ours = np.column_stack([found["x"], found["y"]])
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs.transform(latents)), atol=1e-3)
    np.testing.assert_allclose(np.abs(found["codes"]), np.abs(theirs.transform(table.model.codebook_)), atol=1e-3)


def test_of_many_samples_each_class_keeps_its_share_and_at_least_five(table, quick, monkeypatch) -> None:
    monkeypatch.setattr(places, "MAX_SHOWN", 40)
    found = summarise_map(table.fitted, table.sets, seed=0)
    counts = np.bincount(found["class"])
    assert counts.min() >= 5
    assert found["n_shown"] == counts.sum() < found["n_samples"]


def test_without_umap_learn_there_is_one_map(table, quick) -> None:
    assert summarise_map(table.fitted, table.sets, seed=0)["umap"] is None


def test_umap_lays_out_samples_and_codes_together(table, with_umap) -> None:
    found = summarise_map(table.fitted, table.sets, seed=0)
    codes = np.array(found["umap"]["codes"])
    np.testing.assert_allclose(codes, table.model.codebook_[:, :2], atol=1e-4)
    assert len(found["umap"]["x"]) == found["n_shown"]


def test_few_samples_are_not_laid_out(table, with_umap, monkeypatch) -> None:
    monkeypatch.setattr(places, "MIN_UMAP", 10_000)
    assert summarise_map(table.fitted, table.sets, seed=0)["umap"] is None
