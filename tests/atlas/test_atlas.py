"""The atlas of planted classes, built without a network: the decoded codes are the class means."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae.atlas.atlas import ClassAtlas
from svqvae.data.simulate import Planted, plant_classes

Build = Callable[..., ClassAtlas]
PLANTED = plant_classes(12, 60, sizes=(5, 90), random_state=1)


@pytest.fixture(scope="module")
def atlas(build: Build) -> ClassAtlas:
    return build(PLANTED)


def test_profiles_are_in_the_datas_units_and_nearer_to_the_truth_than_class_means(atlas: ClassAtlas) -> None:
    def error(profiles: pd.DataFrame) -> float:
        return float(((profiles - PLANTED.profiles) ** 2).iloc[atlas.counts < 20].mean(axis=None))

    assert list(atlas.profiles.index) == list(PLANTED.profiles.index)
    assert error(atlas.profiles) < 0.8 * error(atlas.decoded_profiles)
    order = np.argsort(atlas.counts)
    assert atlas.weights.iloc[order].is_monotonic_increasing
    assert atlas.weights.between(0, 1).all()


def test_parents_change_the_profiles_of_rare_classes_alone(atlas: ClassAtlas) -> None:
    parents = {name: "first" if k < 6 else "second" for k, name in enumerate(atlas.names)}
    change = (atlas.with_parents(parents).profiles - atlas.profiles).abs().mean(axis=1)
    assert change.iloc[atlas.counts.argmin()] > 5 * change.iloc[atlas.counts.argmax()]
    with pytest.raises(
        ValueError,
        match=r"`name` must be one of 12 classes; got 'class 1'. The closest names are 'class 11'.*\(\+7 more",
    ):
        atlas.with_parents({"class 1": "first"})


def test_distances_are_symmetric_0_on_the_diagonal_and_named(atlas: ClassAtlas) -> None:
    for metric in ("mahalanobis", "euclidean", "cosine", "correlation"):
        for space in ("profile", "code"):
            table = atlas.distances(metric, space)
            np.testing.assert_array_equal(table, table.T)
            assert not np.diag(table).any()
            assert (table.to_numpy() >= 0).all()
    assert list(table.index) == list(table.columns) == list(atlas.classes)
    with pytest.raises(ValueError, match=r"`space` must be 'profile' or 'code'; got 'latent'"):
        atlas.distances(space="latent")


def test_nearest_has_the_columns_of_the_contract_and_k_rows_a_class(atlas: ClassAtlas) -> None:
    table = atlas.nearest(2, n_resamples=50)
    assert list(table.columns) == ["class", "nearest", "distance", "support"]
    assert list(table["class"]) == [name for name in atlas.names for _ in range(2)]
    assert table["support"].between(0, 1).all()
    assert (table.groupby("class")["support"].sum() <= 1).all()
    assert list(table["support"][::2]) == list(atlas.nearest(n_resamples=50)["support"])
    distances = atlas.distances()
    for row in table.itertuples(index=False):
        assert row.distance == distances.loc[row[0], row.nearest]
    assert atlas.nearest(n_resamples=0)["support"].isna().all()
    with pytest.raises(ValueError, match="`k` must be a whole number from 1 to 11, one less than the classes; got 12"):
        atlas.nearest(12)


def test_a_class_under_another_name_is_its_nearest_with_support_near_1(build: Build) -> None:
    planted = plant_classes(12, 300, sizes=(20, 90), random_state=1)
    own = planted.y == "class 03"
    twins = np.full(own.sum(), "twin", dtype="U8")
    X, y = np.concatenate([planted.X, planted.X[own]]), np.concatenate([planted.y, twins])
    table = build(replace(planted, X=X, y=y)).nearest(n_resamples=200).set_index("class")
    assert table.loc["twin", "nearest"] == "class 03"
    assert table.loc["class 03", "nearest"] == "twin"
    assert table.loc[["twin", "class 03"], "support"].min() > 0.95


def test_refits_that_agree_support_all_relations_and_one_that_does_not_takes_its_share(
    build: Build, atlas: ClassAtlas
) -> None:
    order = np.random.default_rng(0).permutation(12)
    arrays = {name: getattr(atlas, name)[order] for name in ("classes", "counts", "codes", "decoded", "means")}
    spread = replace(atlas.profile_spread, deviations=atlas.profile_spread.deviations[order])
    reordered = replace(atlas, profile_spread=spread, code_spread=spread, **arrays)
    other = build(plant_classes(12, 60, sizes=(5, 90), random_state=9))
    nearest = atlas.nearest(n_resamples=0, refits=[atlas, reordered, other])
    same = other.nearest(n_resamples=0)["nearest"] == nearest["nearest"]
    np.testing.assert_allclose(nearest["refit_support"], np.where(same, 1, 2 / 3))
    tree = atlas.tree(n_resamples=0, refits=[atlas, reordered])
    assert (tree.to_table()["refit_support"] == 1).all()
    network = atlas.network(n_resamples=0, refits=[reordered])
    assert {facts["refit_support"] for _, _, facts in network.edges(data=True)} == {1.0}
    assert {facts.get("community_refit_support", 1.0) for _, facts in network.nodes(data=True)} == {1.0}


def test_refits_of_other_classes_are_refused(build: Build, atlas: ClassAtlas) -> None:
    few = build(plant_classes(11, 60, sizes=(5, 90), random_state=1))
    with pytest.raises(ValueError, match="`refits` must have the 12 classes of this atlas; 'class 11' is in one only"):
        atlas.nearest(refits=[few])


def test_permuting_the_classes_permutes_the_tree_and_the_network(build: Build, atlas: ClassAtlas) -> None:
    order = np.random.default_rng(0).permutation(12)
    renamed = {name: f"class {place:02}" for name, place in zip(atlas.names, order, strict=True)}
    permuted = build(replace(PLANTED, y=np.array([renamed[name] for name in PLANTED.y])))
    clades = {frozenset(renamed[name] for name in clade) for clade in atlas.tree(n_resamples=0).clades()}
    assert set(permuted.tree(n_resamples=0).clades()) == clades
    edges = {frozenset(renamed[name] for name in edge) for edge in atlas.network(n_resamples=0).edges}
    assert {frozenset(edge) for edge in permuted.network(n_resamples=0).edges} == edges


def test_the_tree_holds_the_planted_clades(build: Build, atlas: ClassAtlas) -> None:
    tree = build(plant_classes(12, 200, sizes=(20, 90), random_state=1)).tree(n_resamples=50)
    assert plant_classes(12, 200, sizes=(20, 90), random_state=1).clades <= set(tree.clades())
    assert tree.support[-1] == 1
    assert ((tree.support >= 0) & (tree.support <= 1)).all()
    assert np.isnan(atlas.tree(n_resamples=0).support).all()
    with pytest.raises(ValueError, match=r"`linkage` must be one of 'average', .*; got 'centroid'"):
        atlas.tree(linkage="centroid")


def test_the_network_has_communities_and_supports(build: Build, atlas: ClassAtlas) -> None:
    graph = atlas.network(n_resamples=60, random_state=3)
    assert set(graph.nodes) == set(atlas.names)
    assert all(0 <= edge["support"] <= 1 and 0 < edge["weight"] <= 1 for _, _, edge in graph.edges(data=True))
    assert [graph.nodes[name]["count"] for name in atlas.names] == list(atlas.counts)
    shares = [node["community_support"] for _, node in graph.nodes(data=True) if "community_support" in node]
    assert shares
    assert all(0 <= share <= 1 for share in shares)
    few = build(plant_classes(2, 20, n_levels=2, sizes=(9, 9)))
    assert few.network(n_resamples=5).number_of_edges() == 1


def test_pairs_are_ordered_by_distance_and_tested(atlas: ClassAtlas) -> None:
    table = atlas.pairs(n_permutations=50)
    assert len(table) == 66
    assert table["distance"].is_monotonic_increasing
    assert (table["q"] >= table["p"]).all()
    assert table["p"].between(0, 1).all()


def test_agreement_compares_all_metrics_in_both_spaces(atlas: ClassAtlas) -> None:
    table = atlas.agreement().set_index(["space", "metric"])
    assert len(table) == 8
    assert table.loc[("profile", "mahalanobis"), "rank_correlation"] == pytest.approx(1)
    assert table.loc[("code", "mahalanobis"), "same_nearest"] == 1
    assert table["same_nearest"].between(0, 1).all()


def test_rank_correlation_is_that_of_the_ranks_of_the_pairs(atlas: ClassAtlas) -> None:
    a, b = (atlas.distances(metric).to_numpy()[np.triu_indices(12, 1)] for metric in ("mahalanobis", "cosine"))
    ranks = [values.argsort().argsort() for values in (a, b)]
    found = atlas.agreement().set_index(["space", "metric"]).loc[("profile", "cosine"), "rank_correlation"]
    assert found == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-12)


def test_classes_that_are_all_equally_far_apart_have_no_rank_correlation(atlas: ClassAtlas) -> None:
    points = np.eye(12, 60, dtype=np.float32)
    bare = replace(atlas, decoded=points, codes=points, code_spread=None, profile_spread=None)
    table = bare.agreement()
    assert table["rank_correlation"].isna().all()
    assert len(table) == 6


def test_intervals_of_a_contrast_cover_the_planted_difference(build: Build) -> None:
    covered = []
    for seed in range(6):
        planted = plant_classes(10, 150, sizes=(5, 200), random_state=seed)
        atlas = build(planted)
        for other in atlas.names[1:]:
            table = atlas.contrast(atlas.names[0], other)
            true = (planted.profiles.loc[atlas.names[0]] - planted.profiles.loc[other])[table.index]
            covered.append(((table["low"] <= true) & (true <= table["high"])).mean())
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_contrast_is_ordered_and_says_how_it_agrees_with_the_class_means(atlas: ClassAtlas) -> None:
    table = atlas.contrast("class 00", "class 01")
    assert list(table.columns) == ["difference", "low", "high", "t", "p", "q", "class_means_difference"]
    assert table["t"].abs().is_monotonic_decreasing
    assert table.attrs["agreement"] == pytest.approx(1)
    means = pd.DataFrame(PLANTED.X).groupby(PLANTED.y).mean()
    plain = (means.loc["class 00"] - means.loc["class 01"]).to_numpy()
    by_feature = table.loc[list(atlas.feature_names)]
    np.testing.assert_allclose(by_feature["class_means_difference"], plain, atol=1e-5)
    back = atlas.contrast("class 01", "class 00").loc[list(atlas.feature_names)]
    np.testing.assert_allclose(back["low"], -by_feature["high"])
    wide = atlas.contrast("class 00", "class 01", level=0.99).loc[list(atlas.feature_names)]
    assert (wide["low"] < by_feature["low"]).all()
    with pytest.raises(ValueError, match="`b` must be another class than `a`; got 'class 00' twice"):
        atlas.contrast("class 00", "class 00")
    with pytest.raises(ValueError, match="`level` must lie between 0 and 1; got 95"):
        atlas.contrast("class 00", "class 01", level=95.0)


def test_a_decoder_that_misses_the_class_means_gets_wider_intervals(atlas: ClassAtlas) -> None:
    off = replace(atlas, decoded=atlas.decoded + np.float32(0.3) * np.resize([1, -1], 60).astype(np.float32))
    exact, missed = (a.contrast("class 00", "class 01")["high"].sub(0) for a in (atlas, off))
    assert missed.sum() > exact.sum()


def test_a_profile_compares_a_class_with_all_other_samples(atlas: ClassAtlas) -> None:
    table = atlas.profile("class 03").loc[list(atlas.feature_names)]
    own = PLANTED.y == "class 03"
    np.testing.assert_allclose(table["difference"], PLANTED.X[own].mean(0) - PLANTED.X[~own].mean(0), atol=1e-4)


@pytest.mark.parametrize("is_file", [False, True])
def test_a_saved_atlas_answers_alike(atlas: ClassAtlas, tmp_path: Path, is_file: bool) -> None:
    atlas.with_parents(dict.fromkeys(atlas.names[:3], "p")).save(tmp_path / "atlas")
    read = ClassAtlas.load(tmp_path / "atlas" / ("atlas.safetensors" if is_file else ""))
    assert read.parents == ("p",) * 3 + ("",) * 9
    pd.testing.assert_frame_equal(read.nearest(n_resamples=20), atlas.nearest(n_resamples=20))
    pd.testing.assert_frame_equal(read.contrast("class 00", "class 01"), atlas.contrast("class 00", "class 01"))
    assert read.tree(n_resamples=20).newick() == atlas.tree(n_resamples=20).newick()
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    assert read.density is not None
    assert atlas.density is not None
    np.testing.assert_array_equal(read.density.draw(0, 5, rng), atlas.density.draw(0, 5, again))


def test_number_classes_stay_numbers(build: Build, tmp_path: Path) -> None:
    build(replace(PLANTED, y=np.unique(PLANTED.y, return_inverse=True)[1] * 10)).save(tmp_path)
    read = ClassAtlas.load(tmp_path)
    assert list(read.classes) == list(range(0, 120, 10))
    assert read.find(20) == read.find("20") == 2
    assert read.nearest(n_resamples=0)["class"].dtype == np.int64


def test_damaged_and_foreign_files_are_refused(atlas: ClassAtlas, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "atlas.safetensors"
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold atlas.safetensors; .* does not"):
        ClassAtlas.load(tmp_path)
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(ValueError, match="must be an atlas of svqvae; it holds other tensors"):
        ClassAtlas.load(tmp_path)
    save_file({"a": np.zeros(2)}, path, metadata={"svqvae_atlas": '{"format_version": 99}'})
    with pytest.raises(ValueError, match="must have format version 1; got 99"):
        ClassAtlas.load(tmp_path)
    atlas.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="must be a safetensors file; it is damaged"):
        ClassAtlas.load(tmp_path)
    with pytest.raises(NotADirectoryError, match="`folder` must be a folder; got the file"):
        atlas.save(path)


def test_an_atlas_without_spread_knows_distances_but_no_support(atlas: ClassAtlas, tmp_path: Path) -> None:
    replace(atlas, code_spread=None, profile_spread=None, density=None).save(tmp_path)
    bare = ClassAtlas.load(tmp_path)
    assert len(bare.agreement()) == 6
    assert bare.nearest(metric="correlation", n_resamples=0)["distance"].notna().all()
    pd.testing.assert_frame_equal(bare.profiles, bare.decoded_profiles)
    assert bare.nearest(metric="cosine")["support"].isna().all()
    assert np.isnan(bare.tree("cosine").support).all()
    assert not any("support" in values for *_, values in bare.network(metric="cosine").edges(data=True))
    with pytest.raises(ValueError, match="`spread` must be known to tell relations from chance; got None"):
        bare.pairs("cosine")


def test_a_contrast_without_spread_has_differences_and_no_intervals(atlas: ClassAtlas) -> None:
    bare, names = replace(atlas, profile_spread=None), ["low", "high", "t", "p", "q"]
    full, table = atlas.contrast("class 00", "class 01"), bare.contrast("class 00", "class 01")
    assert table[names].isna().all(axis=None)
    assert table["difference"].abs().is_monotonic_decreasing
    known = ["difference", "class_means_difference"]
    pd.testing.assert_frame_equal(table[known].loc[full.index], full[known])
    assert table.attrs["agreement"] == full.attrs["agreement"]


def test_without_samples_a_profile_is_held_against_the_plain_mean_of_the_others(atlas: ClassAtlas) -> None:
    unknown = {"counts": np.zeros_like(atlas.counts), "means": np.full_like(atlas.means, np.nan)}
    bare = replace(atlas, **unknown, code_spread=None, profile_spread=None, density=None)
    table = bare.profile("class 00").loc[list(atlas.feature_names)]
    expected = bare.decoded_profiles.iloc[0] - bare.decoded_profiles.iloc[1:].mean()
    np.testing.assert_allclose(table["difference"], expected, atol=1e-5)
    assert table.drop(columns="difference").isna().all(axis=None)
    assert not bare.is_faithful
    assert np.isnan(table.attrs["agreement"])


def test_the_atlas_never_loads_torch(atlas: ClassAtlas, tmp_path: Path) -> None:
    atlas.save(tmp_path)
    code = (
        "import sys; from svqvae import ClassAtlas; import svqvae.atlas.exports; "
        f"a = ClassAtlas.load({str(tmp_path)!r}); a.tree(n_resamples=3); a.network(n_resamples=3); "
        "a.profile('class 00'); "
        "assert not {'torch', 'lightning_fabric', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unfaithful_decoder_is_told_and_its_distances_are_not_corrected(atlas: ClassAtlas) -> None:
    assert atlas.is_faithful
    off = replace(atlas, decoded=np.float32(0.3) * atlas.decoded)
    assert not off.is_faithful
    with pytest.warns(UserWarning, match="Decoded codes miss the means of their classes"):
        table = off.distances()
    pd.testing.assert_frame_equal(table, off.distances(corrected=False))


def test_small_studies_without_differences_find_none(build: Build) -> None:
    n_found, covered = 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = np.array(["a"] * 3 + ["b"] * 3)
        X = rng.normal(size=(6, 150)).astype(np.float32)
        profiles = pd.DataFrame(np.zeros((2, 150)), index=["a", "b"], columns=[f"g{j}" for j in range(150)])
        table = build(Planted(X, y, profiles, frozenset())).contrast("a", "b")
        n_found += bool((table["q"] <= 0.05).any())
        covered.append(((table["low"] <= 0) & (table["high"] >= 0)).mean())
    assert n_found <= 4
    assert 0.92 <= np.mean(covered) <= 0.98


def test_names_that_look_like_markup_are_printed_as_they_are(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from svqvae import cli

    y = np.array([name.replace("class 00", "[/bold] x").replace("class 01", "cell [naive]") for name in PLANTED.y])
    build(replace(PLANTED, y=y)).save(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["classes", str(tmp_path), "--out", str(tmp_path / "r"), "--resamples", "5"])
    assert not stop.value.code
    assert (tmp_path / "r" / "pairs.csv").exists()
    with pytest.raises(SystemExit):
        cli.main(["classes", str(tmp_path), "--out", str(tmp_path / "r"), "--resamples", "0", "--metric", "cosine"])
    assert not (tmp_path / "r" / "pairs.csv").exists()
