"""Signatures and gene sets of files against a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE, ClassAtlas
from svqvae.atlas.query import rank_classes, rank_classes_by_genes
from svqvae.data.genesets import read_gene_sets
from svqvae.jobs.query import query_signatures

COLUMNS = [f"g{k}" for k in range(20)]


def make_table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = np.array(["a", "b", "c"])[np.arange(n) % 3]
    values = rng.normal(size=(n, 20)) + 3 * (kind[:, None] == np.resize(["a", "b", "c"], 20))
    table = pd.DataFrame(values, columns=COLUMNS, index=pd.Index([f"s{k}" for k in range(n)], name="sample"))
    table.insert(0, "kind", kind)
    table.insert(1, "dose", np.arange(n) % 2)
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query")
    table = make_table(60, 0)
    SVQVAE(n_epochs=5, latent_dim=8, random_state=0).fit(table[COLUMNS], table["kind"].to_numpy()).save(folder / "run")
    # Another order of the features, and one that the run does not know.
    make_table(60, 1)[["kind", "dose", *COLUMNS[::-1]]].assign(g99=1.5).to_csv(folder / "new.csv")
    make_table(8, 2).drop(columns=["g3", "g4"]).to_csv(folder / "part.csv")
    lines = [["a up", "", *COLUMNS[::3]], ["few", "", "g1", "g2"], ["a down", "", "TP53", *COLUMNS[1::3]]]
    (folder / "sets.gmt").write_text("".join("\t".join(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("method", ["code", "profile"])
def test_signatures_look_like_their_class(folder: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "deep" / "out.csv"
    answer = query_signatures(folder / "run", folder / "new.csv", out, method=method)
    table, data = pd.read_csv(out), make_table(60, 1)
    assert list(table) == ["query", "class", "rank", "score", "tau"]
    assert (table["query"].unique() == data.index).all()
    best = table[table["rank"] == 1]
    assert (best["class"].to_numpy() == data["kind"]).mean() > 0.9
    model = SVQVAE.load(folder / "run")
    rows = pd.DataFrame(model.transform(data[COLUMNS]), data.index) if method == "code" else data[COLUMNS]
    expected = rank_classes(model.to_atlas(), rows, method=method)
    pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-2)
    assert answer.ranking["query"].unique().tolist() == [f"s{k}" for k in range(5)]
    pd.testing.assert_frame_equal(answer.ranking, expected[:15], rtol=0, atol=1e-2)


def test_groups_are_summarised_beside_the_ranking(folder: Path, tmp_path: Path) -> None:
    answer = query_signatures(folder / "run", folder / "new.csv", tmp_path / "r.csv", by="kind", top=2)
    assert answer.notes == (
        "Signatures: 60. Features of the run found: 20 of 20.",
        "tau: against the other 59 signatures.",
    )
    assert answer.files == (tmp_path / "r.csv", tmp_path / "r_by_kind.csv")
    assert len(pd.read_csv(tmp_path / "r.csv")) == 120
    groups = pd.read_csv(tmp_path / "r_by_kind.csv")
    assert list(groups) == ["group", "class", "rank", "mean", "quantile", "tau", "n"]
    best = groups[groups["rank"] == 1]
    assert best["class"].tolist() == best["group"].tolist() == ["a", "b", "c"]
    assert (groups["n"] == 20).all()
    pd.testing.assert_frame_equal(answer.groups, groups, rtol=0, atol=1e-3)


def test_a_column_of_numbers_can_be_summarised_by(folder: Path, tmp_path: Path) -> None:
    answer = query_signatures(folder / "run", folder / "new.csv", tmp_path / "r.csv", by="dose")
    assert answer.groups is not None
    assert answer.groups["group"].unique().tolist() == [0, 1]


def test_the_file_of_groups_has_a_plain_name_whatever_the_column(folder: Path, tmp_path: Path) -> None:
    pd.read_csv(folder / "new.csv").rename(columns={"kind": "cell line/µ?"}).to_csv(tmp_path / "n.csv", index=False)
    query_signatures(folder / "run", tmp_path / "n.csv", tmp_path / "r.csv", by="cell line/µ?")
    assert (tmp_path / "r_by_cell_line_µ_.csv").is_file()


def test_part_of_the_features_will_do_for_profiles_alone(folder: Path, tmp_path: Path) -> None:
    given = (folder / "run", folder / "part.csv", tmp_path / "p.csv")
    message = r"`signatures` must have all features of the run; missing: 'g3', 'g4'\. Use method='profile'"
    with pytest.raises(ValueError, match=message):
        query_signatures(*given)
    assert not (tmp_path / "p.csv").exists()
    notes = query_signatures(*given, method="profile").notes
    assert notes[0] == "Signatures: 8. Features of the run found: 18 of 20."
    assert notes[1].startswith("tau is left empty")
    assert pd.read_csv(tmp_path / "p.csv")["tau"].isna().all()
    notes = query_signatures(*given, method="profile", background=folder / "new.csv").notes
    assert notes[1] == f"tau: against 60 signatures of {folder / 'new.csv'}."
    assert pd.read_csv(tmp_path / "p.csv")["tau"].abs().max() > 90


def test_gene_sets_find_their_class(folder: Path, tmp_path: Path) -> None:
    answer = query_signatures(folder / "run", folder / "sets.gmt", tmp_path / "s.csv")
    assert answer.notes == (
        "Queries: 1. Genes that are features of the run: 15 of 16; not found: 1.",
        "Left out, as a set has fewer than 5 features of the run: 'few'.",
        "tau: against 1000 random queries of the same sizes.",
    )
    table = pd.read_csv(tmp_path / "s.csv")
    assert table.loc[0, ["query", "class"]].tolist() == ["a", "a"]
    atlas, sets = ClassAtlas.load(folder / "run"), read_gene_sets(folder / "sets.gmt")
    pd.testing.assert_frame_equal(table, rank_classes_by_genes(atlas, sets), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("new.csv", {"by": "kid"}, "`by` must be a column of .*The closest name is 'kind'"),
        ("new.csv", {"method": "mean"}, "`method` must be 'code' or 'profile'; got 'mean'"),
        ("new.csv", {"top": 0}, "`top` must be a whole number of at least 1; got 0"),
        ("sets.gmt", {"by": "kind"}, "`by` must go with a data file; got 'kind' with the gene sets of"),
        ("sets.gmt", {"background": Path("new.csv")}, "`background` must be a .gmt file as `signatures` is"),
        ("new.csv", {"background": Path("sets.gmt")}, "`background` must be a data file as `signatures` is"),
    ],
)
def test_mistakes_are_told_and_leave_no_file(
    folder: Path, tmp_path: Path, name: str, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        query_signatures(folder / "run", folder / name, tmp_path / "x.csv", **asked)
    assert not list(tmp_path.iterdir())


def test_counts_are_compared_as_the_model_sees_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 3
    rates = 1 + 9 * (kind[:, None] == np.resize([0, 1, 2], 20))
    counts = pd.DataFrame(rng.poisson(rates * rng.uniform(1, 5, (60, 1))), columns=COLUMNS)
    counts.to_parquet(tmp_path / "counts.parquet")
    model = SVQVAE(n_epochs=5, latent_dim=8, likelihood="negative_binomial", random_state=0)
    model.fit(counts, kind).save(tmp_path / "run")
    query_signatures(tmp_path / "run", tmp_path / "counts.parquet", tmp_path / "r.csv", method="profile")
    table = pd.read_csv(tmp_path / "r.csv")
    assert (table.loc[table["rank"] == 1, "class"].to_numpy() == kind).mean() > 0.9
    logs = np.log1p(counts.mul(1e4 / counts.sum(axis=1), axis=0))
    expected = rank_classes(model.to_atlas(), logs)
    np.testing.assert_allclose(table["score"], expected["score"], atol=1e-5)


def read_plates(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return signatures × genes and, for each, compound and class, of classes of at least 4 compounds."""
    parts = []
    for path in sorted(folder.glob("*.gctx")):
        with h5py.File(path) as file:
            names, genes = ([name.decode().strip() for name in file[f"0/META/{axis}/id"][:]] for axis in ("COL", "ROW"))
            parts.append(pd.DataFrame(file["0/DATA/0/matrix"][:], names, genes).clip(-10, 10))
    X = pd.concat([part[parts[0].columns] for part in parts])
    facts = pd.read_csv(folder / "sig_info.txt", sep="\t").set_index("sig_id").loc[X.index]
    pcl = pd.read_csv(folder / "pcl.csv").drop_duplicates("pert_id").set_index("pert_id")["pcl"]
    facts["pcl"] = facts["pert_id"].map(pcl)
    kept = facts.groupby("pcl")["pert_iname"].transform("nunique") >= 4
    return X[kept.to_numpy()], facts.loc[kept, ["pert_iname", "pcl"]]


def test_new_compounds_look_like_their_class_more_often_than_chance(
    real_file: Callable[[str], Path], tmp_path: Path
) -> None:
    X, facts = read_plates(real_file("lincs/a375"))
    number = facts.groupby("pcl")["pert_iname"].transform(lambda names: pd.factorize(names)[0])
    is_fitted = (number % 2 == 0).to_numpy()
    model = SVQVAE(n_epochs=10, latent_dim=64, random_state=0).fit(X[is_fitted], facts.loc[is_fitted, "pcl"].to_numpy())
    model.save(tmp_path / "run")
    X[~is_fitted].to_csv(tmp_path / "new.csv", index_label="sig_id")
    for method in ("code", "profile"):
        query_signatures(tmp_path / "run", tmp_path / "new.csv", tmp_path / "r.csv", method=method)
        table = pd.read_csv(tmp_path / "r.csv")
        ranks = table[table["class"] == table["query"].map(facts["pcl"])]["rank"]
        assert len(ranks) == (~is_fitted).sum()
        assert (ranks == 1).mean() > 3 / len(model.classes_)
        assert ranks.mean() < 0.35 * len(model.classes_)
