"""Files of an atlas, read by the tools that they are for."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from Bio import Phylo

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.exports import write_contrast, write_relations
from svqvae.data.simulate import plant_classes


@pytest.fixture(scope="module")
def atlas(build: Callable[..., ClassAtlas]) -> ClassAtlas:
    return build(plant_classes(9, 80, sizes=(10, 60), random_state=2))


@pytest.fixture(scope="module")
def folder(atlas: ClassAtlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("relations") / "deep" / "er"
    write_relations(atlas, out, n_resamples=20)
    return out


def test_all_files_are_written(folder: Path) -> None:
    names = {"distances.csv", "nearest.csv", "pairs.csv", "agreement.csv", "network.graphml", "nodes.csv", "edges.csv"}
    assert {path.name for path in folder.iterdir()} == {*names, "tree.nwk", "clades.csv"}


def test_tables_hold_what_the_atlas_says(atlas: ClassAtlas, folder: Path) -> None:
    distances = pd.read_csv(folder / "distances.csv", index_col=0)
    np.testing.assert_allclose(distances, atlas.distances())
    nearest = pd.read_csv(folder / "nearest.csv")
    assert list(nearest.columns) == ["class", "nearest", "distance", "support"]
    assert list(nearest["class"]) == list(atlas.classes)
    assert len(pd.read_csv(folder / "pairs.csv")) == 36
    clades = pd.read_csv(folder / "clades.csv")
    assert [set(text.split("\t")) for text in clades["classes"]] == [set(clade) for clade in atlas.tree().clades()]


def test_networkx_and_gephi_read_the_network(atlas: ClassAtlas, folder: Path) -> None:
    graph = nx.read_graphml(folder / "network.graphml")
    assert set(graph.nodes) == set(atlas.names)
    assert all({"weight", "distance", "support"} <= set(edge) for _, _, edge in graph.edges(data=True))
    nodes, edges = pd.read_csv(folder / "nodes.csv"), pd.read_csv(folder / "edges.csv")
    assert {"Id", "Label", "count", "community"} <= set(nodes.columns)
    assert list(edges.columns)[:4] == ["Source", "Target", "Type", "Weight"]
    assert set(edges["Source"]) | set(edges["Target"]) <= set(nodes["Id"])
    assert len(edges) == graph.number_of_edges()


def test_biopython_reads_the_tree(atlas: ClassAtlas, folder: Path) -> None:
    tree = Phylo.read(folder / "tree.nwk", "newick")
    assert {leaf.name for leaf in tree.get_terminals()} == set(atlas.names)


def test_gseapy_reads_rankings_and_gene_sets(atlas: ClassAtlas, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gseapy

    biggest = atlas.names[atlas.counts.argmax()]
    table = atlas.profile(biggest)
    write_contrast(table, tmp_path / "p.rnk", biggest)
    write_contrast(table, tmp_path / "p.gmt", biggest)
    ranking = pd.read_csv(tmp_path / "p.rnk", sep="\t", header=None, index_col=0)[1]
    assert ranking.is_monotonic_decreasing
    assert set(ranking.index) == set(atlas.feature_names)
    sets = gseapy.read_gmt(str(tmp_path / "p.gmt"))
    up = table[(table["q"] <= 0.05) & (table["t"] > 0)]
    assert set(sets[f"{biggest} up"]) == set(up.index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = gseapy.prerank(
            rnk=str(tmp_path / "p.rnk"), gene_sets=sets, min_size=1, permutation_num=20, outdir=None, seed=0, threads=1
        )
    scores = found.res2d.set_index("Term")["ES"].astype(float)
    assert scores[f"{biggest} up"] > 0.5


def test_an_atlas_without_spread_gets_its_files_without_support(atlas: ClassAtlas, tmp_path: Path) -> None:
    from dataclasses import replace

    bare = replace(atlas, code_spread=None, profile_spread=None)
    write_relations(bare, tmp_path, "correlation")
    assert pd.read_csv(tmp_path / "nearest.csv")["support"].isna().all()
    assert not (tmp_path / "pairs.csv").exists()


def test_without_spread_features_are_ranked_by_difference_and_make_no_sets(atlas: ClassAtlas, tmp_path: Path) -> None:
    from dataclasses import replace

    table = replace(atlas, profile_spread=None).contrast(*atlas.names[:2])
    write_contrast(table, tmp_path / "a.rnk", "a")
    ranked = pd.read_csv(tmp_path / "a.rnk", sep="\t", header=None)
    assert ranked[0].tolist() == table["difference"].sort_values(ascending=False).index.tolist()
    with pytest.raises(ValueError, match=r"`out` must end in .rnk or .csv .* features of a are sure; got a.gmt"):
        write_contrast(table, tmp_path / "a.gmt", "a")


def test_progress_is_told_for_each_part(atlas: ClassAtlas, tmp_path: Path) -> None:
    told: dict[str, list[int]] = {}

    def progress(title: str) -> Callable[[int, int], None]:
        return lambda done, _: told.setdefault(title, []).append(done)

    write_relations(atlas, tmp_path, n_resamples=4, progress=progress)
    assert set(map(tuple, told.values())) == {(1, 2, 3, 4)}
    assert len(told) == 4


def test_wrong_places_are_refused_before_anything_is_written(atlas: ClassAtlas, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(NotADirectoryError, match="`out` must be a folder; got the file"):
        write_relations(atlas, tmp_path / "file")
    table = atlas.profile("class 0")
    with pytest.raises(ValueError, match=r"`out` must end in .csv, .rnk, .gmt; got p.txt"):
        write_contrast(table, tmp_path / "p.txt", "p")
    with pytest.raises(IsADirectoryError, match="`out` must be a file; got the folder"):
        write_contrast(table, tmp_path, "p")
    with pytest.raises(ValueError, match=r"`metric` must be one of"):
        write_relations(atlas, tmp_path / "none", "manhattan")
    assert not (tmp_path / "none").exists()
