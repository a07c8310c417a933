"""Classes ranked for signatures: scores, tau and ranks against loops, and what must not matter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae.atlas import query
from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.query import rank_classes, rank_classes_by_genes
from svqvae.data.simulate import plant_classes

PLANTED = plant_classes(8, 60, sizes=(10, 60), random_state=1)
SIGNATURES = pd.DataFrame(PLANTED.X, columns=PLANTED.profiles.columns)


@pytest.fixture(scope="module")
def atlas(build: Callable[..., ClassAtlas]) -> ClassAtlas:
    # The data's units have an origin and a scale of their own for each feature.
    rng = np.random.default_rng(0)
    return replace(build(PLANTED), center=rng.normal(size=60), scale=rng.uniform(1, 3, 60))


def wide(table: pd.DataFrame, value: str = "score") -> pd.DataFrame:
    return table.pivot(index="query", columns="class", values=value)


def reordered(atlas: ClassAtlas, order: list[int]) -> ClassAtlas:
    parts = {name: getattr(atlas, name)[order] for name in ("classes", "counts", "codes", "decoded", "means")}
    return replace(atlas, **parts, code_spread=None, profile_spread=None, density=None)


def test_scores_are_numpys_correlations_of_deviations(atlas: ClassAtlas) -> None:
    found = wide(rank_classes(atlas, SIGNATURES.iloc[:5]))
    center = atlas.decoded.mean(0, dtype=np.float64)
    rows = (SIGNATURES.to_numpy() - atlas.center) / atlas.scale
    expected = [[np.corrcoef(rows[i] - center, point - center)[0, 1] for point in atlas.decoded] for i in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_latents_are_compared_with_codes(atlas: ClassAtlas) -> None:
    latents = pd.DataFrame(atlas.codes, index=atlas.names)
    found = rank_classes(atlas, latents, method="code", top=1)
    assert found["class"].tolist() == found["query"].tolist() == list(atlas.names)
    np.testing.assert_allclose(found["score"], 1)


def test_a_class_comes_first_for_its_own_profile(atlas: ClassAtlas) -> None:
    found = rank_classes(atlas, atlas.decoded_profiles, top=1)
    assert found["class"].tolist() == found["query"].tolist()
    np.testing.assert_allclose(found["score"], 1)


def test_mirroring_a_signature_negates_its_scores(atlas: ClassAtlas) -> None:
    center = atlas.decoded_profiles.mean()
    found, mirrored = (wide(rank_classes(atlas, table)) for table in (SIGNATURES, 2 * center - SIGNATURES))
    np.testing.assert_allclose(mirrored, -found, atol=1e-6)


def test_order_of_classes_and_of_features_does_not_matter(atlas: ClassAtlas) -> None:
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    expected = rank_classes(atlas, SIGNATURES)
    pd.testing.assert_frame_equal(rank_classes(reordered(atlas, order), SIGNATURES), expected)
    shuffled = SIGNATURES[SIGNATURES.columns[::-1]].assign(weight=1.5)
    pd.testing.assert_frame_equal(rank_classes(atlas, shuffled), expected)


def test_ranks_fall_with_the_score(atlas: ClassAtlas) -> None:
    table = rank_classes(atlas, SIGNATURES.iloc[:3])
    for _, own in table.groupby("query"):
        assert own["rank"].tolist() == list(range(1, 9))
        assert own["score"].is_monotonic_decreasing
    kept = rank_classes(atlas, SIGNATURES.iloc[:3], top=2)
    pd.testing.assert_frame_equal(kept, table[table["rank"] <= 2].reset_index(drop=True))


def test_tau_counts_the_background_that_is_closer_to_zero(atlas: ClassAtlas) -> None:
    table = rank_classes(atlas, SIGNATURES.iloc[:4], SIGNATURES.iloc[10:40])
    scores = wide(table)
    others = wide(rank_classes(atlas, SIGNATURES.iloc[10:40]))
    for name in scores:
        for row, score in scores[name].items():
            share = np.mean([abs(other) < abs(score) for other in others[name]])
            assert wide(table, "tau").loc[row, name] == pytest.approx(100 * np.sign(score) * share)


def test_many_queries_are_each_others_background_and_few_have_none(atlas: ClassAtlas) -> None:
    table = rank_classes(atlas, SIGNATURES.iloc[:60])
    scores, found = (wide(table, value).to_numpy() for value in ("score", "tau"))
    own = np.delete(np.abs(scores), 7, axis=0) < np.abs(scores[7])
    np.testing.assert_allclose(found[7], 100 * np.sign(scores[7]) * own.mean(0))
    assert np.abs(found).max() == 100
    assert rank_classes(atlas, SIGNATURES.iloc[:49])["tau"].isna().all()


def test_gene_sets_of_a_class_find_it(atlas: ClassAtlas) -> None:
    deviations = atlas.decoded - atlas.decoded.mean(0)
    order, names = np.argsort(-deviations[2]), np.array(atlas.feature_names)
    sets = {"x": (names[order[:8]].tolist(), names[order[-8:]].tolist())}
    table = rank_classes_by_genes(atlas, sets)
    assert table.loc[0, "class"] == atlas.names[2]
    assert table.loc[0, "score"] == 1
    assert table.loc[0, "tau"] == 100
    swapped = wide(rank_classes_by_genes(atlas, {"x": (sets["x"][1], sets["x"][0])}))
    np.testing.assert_array_equal(swapped, -wide(table))


def test_random_gene_sets_have_tau_like_any_other(atlas: ClassAtlas) -> None:
    rng = np.random.default_rng(1)
    names = np.array(atlas.feature_names)
    sets = {str(k): (rng.choice(names, 8, replace=False).tolist(), ()) for k in range(200)}
    sizes = rank_classes_by_genes(atlas, sets)["tau"].abs()
    assert 45 < sizes.mean() < 55
    assert 0.07 < (sizes > 90).mean() < 0.13


def test_groups_are_summarised_as_the_connectivity_map_does() -> None:
    scores = np.array([[0.9, -0.1], [0.1, -0.2], [0.2, -0.9], [0.5, 0.5]])
    table = query.summarise(["a", "a", "a", "b"], np.array(["x", "y"]), scores, 100 * scores)
    assert list(table) == ["group", "class", "rank", "mean", "quantile", "tau", "n"]
    assert table[["group", "class", "rank", "n"]].to_numpy().tolist()[:2] == [["a", "x", 1, 3], ["a", "y", 2, 3]]
    quantiles = [np.quantile(scores[:3, 0], 0.67), np.quantile(scores[:3, 1], 0.33)]
    np.testing.assert_allclose(table["quantile"], [*quantiles, 0.5, 0.5])
    np.testing.assert_allclose(table["tau"], 100 * table["quantile"])
    np.testing.assert_allclose(table["mean"], [0.4, -0.4, 0.5, 0.5])


def test_blocks_make_the_file_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names, classes, scores = [f"s{k}" for k in range(11)], np.array(["x", "y, z"]), rng.uniform(-1, 1, (11, 2))
    monkeypatch.setattr(query, "N_ROWS", 4)
    steps: list[tuple[int, int]] = []
    query.write_ranking(tmp_path / "a.csv", names, classes, scores, scores, None, lambda *step: steps.append(step))
    expected = query.ranking(names, classes, scores, scores).round({"score": 6, "tau": 3})
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), expected)
    assert steps == [(4, 11), (8, 11), (11, 11)]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda X: X.rename(columns=str.upper), {}, r"at least 5 of the 60 features of the atlas; 0 of 60 are"),
        (lambda X: X.assign(**{"gene 0": np.nan}), {}, r"`signatures` must be finite; got 9 NaN"),
        (lambda X: pd.concat([X, X], axis=1), {}, r"must have each feature once; got 'gene 0' twice"),
        (lambda X: X, {"method": "codes"}, r"`method` must be 'code' or 'profile'; got 'codes'"),
        (lambda X: X.iloc[:, :7], {"method": "code"}, r"must be latents \(n, 60\) for method='code'; got"),
        (lambda X: X, {"top": 0}, r"`top` must be a whole number of at least 1; got 0"),
        (lambda X: X, {"background": SIGNATURES.iloc[:0]}, r"`background` must hold other queries; got none"),
    ],
)
def test_a_mistake_is_named(atlas: ClassAtlas, change: Callable, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_classes(atlas, change(SIGNATURES.iloc[:9]), **options)


def test_a_signature_at_the_mean_of_classes_looks_like_none(atlas: ClassAtlas) -> None:
    flat = query.correlations(atlas.decoded.mean(0, dtype=np.float64)[None], atlas.decoded)
    np.testing.assert_array_equal(flat, np.zeros((1, 8)))
