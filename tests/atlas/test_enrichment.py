"""The weighted connectivity score against loops and gseapy."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from svqvae.atlas.enrichment import RandomSets, RankedFeatures, connectivity, match_features

RNG = np.random.default_rng(0)
DEVIATIONS = RNG.normal(size=(4, 60))
SETS = np.stack([RNG.choice(60, 9, replace=False) for _ in range(7)])


def walk(deviations: NDArray[np.float64], members: NDArray[np.int64]) -> float:
    """Return the enrichment score by walking down the ranking."""
    in_all = sum(abs(deviations[feature]) for feature in members)
    place, farthest = 0.0, 0.0
    for feature in sorted(range(len(deviations)), key=lambda feature: -deviations[feature]):
        if feature in members:
            place += abs(deviations[feature]) / in_all
        else:
            place -= 1 / (len(deviations) - len(members))
        farthest = place if abs(place) > abs(farthest) else farthest
    return farthest


def test_enrichment_is_that_of_a_walk_down_the_ranking() -> None:
    expected = [[walk(row, members) for row in DEVIATIONS] for members in SETS]
    np.testing.assert_allclose(RankedFeatures(DEVIATIONS).enrichment(SETS), expected, atol=1e-12)


def test_enrichment_is_that_of_gseapy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gseapy

        names = [f"g{k}" for k in range(60)]
        ranking = pd.Series(DEVIATIONS[0], index=names).sort_values(ascending=False)
        sets = {str(k): [names[feature] for feature in members] for k, members in enumerate(SETS)}
        found = gseapy.prerank(ranking, sets, min_size=1, permutation_num=10, outdir=None, seed=0, threads=1)
    theirs = found.res2d.set_index("Term")["ES"].astype(float).loc[list(sets)]
    np.testing.assert_allclose(RankedFeatures(DEVIATIONS).enrichment(SETS)[:, 0], theirs, atol=1e-6)


def test_blocks_of_sets_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = RankedFeatures(DEVIATIONS)
    whole = ranked.enrichment(SETS)
    monkeypatch.setattr("svqvae.atlas.enrichment.N_CELLS", 1)
    np.testing.assert_array_equal(ranked.enrichment(SETS), whole)


def test_order_of_features_and_of_members_does_not_matter() -> None:
    order = RNG.permutation(60)
    moved = np.argsort(order)[SETS][:, ::-1]
    expected = RankedFeatures(DEVIATIONS).enrichment(SETS)
    np.testing.assert_allclose(RankedFeatures(DEVIATIONS[:, order]).enrichment(moved), expected, atol=1e-12)


def test_swapping_up_and_down_negates_connectivity() -> None:
    ranked = RankedFeatures(DEVIATIONS)
    top = np.argsort(-DEVIATIONS[0])
    up, down = top[:10], top[-10:]
    score = ranked.connectivity(up, down)
    assert score[0] == 1
    np.testing.assert_array_equal(ranked.connectivity(down, up), -score)
    np.testing.assert_array_equal(ranked.connectivity(up, np.zeros(0, dtype=int)), ranked.enrichment(up[None])[0])
    np.testing.assert_array_equal(ranked.connectivity(np.zeros(0, dtype=int), up), -ranked.enrichment(up[None])[0])


def test_scores_of_one_sign_cancel() -> None:
    up, down = np.array([0.5, -0.5, 0.5]), np.array([0.3, -0.3, -0.3])
    np.testing.assert_allclose(connectivity(up, down), [0, 0, 0.4])
    with pytest.raises(ValueError, match="`up` must hold features where `down` holds none"):
        connectivity(None, None)


def test_a_set_of_features_that_do_not_deviate_scores_zero() -> None:
    flat = np.concatenate([DEVIATIONS, np.zeros((4, 6))], axis=1)
    np.testing.assert_array_equal(RankedFeatures(flat).enrichment(np.arange(60, 66)[None]), np.zeros((1, 4)))


def test_random_sets_depend_on_seed_and_size_alone() -> None:
    ranked = RankedFeatures(DEVIATIONS)
    first, second = RandomSets(ranked, 20, seed=3), RandomSets(ranked, 20, seed=3)
    second.connectivity(6, 0)
    np.testing.assert_array_equal(first.connectivity(8, 8), second.connectivity(8, 8))
    assert first.connectivity(8, 8).shape == (20, 4)
    assert not np.array_equal(first.connectivity(8, 8), RandomSets(ranked, 20, seed=4).connectivity(8, 8))


def test_genes_are_matched_by_name_and_counted() -> None:
    names = [f"g{k}" for k in range(20)]
    sets = {"x": (names[:6], ["other", *names[10:15], names[10]]), "y": (names[:4], ()), "z": ((), names)}
    matched = match_features(sets, names)
    assert [part.tolist() for part in matched.members["x"]] == [[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14]]
    assert (matched.n_genes, matched.n_found, matched.left_out) == (21, 20, ("y", "z"))
    with pytest.raises(ValueError, match=r"share at least 5 genes a set.*; 0 of 2 genes are features.*named 'A', 'B'"):
        match_features({"x": (["A"], ["B"])}, names)
