import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from svqvae.data import gctx
from svqvae.data.l1000 import Selection, landmark_genes, read_signatures, rename_genes
from svqvae.jobs.signatures import prepare_signatures

N, COMPOUNDS = 60, 8


def write_gctx(path: Path, ids: list[str], genes: list[str], seed: int, var: pd.DataFrame | None = None) -> Path:
    X = 6 * np.random.default_rng(seed).normal(size=(len(ids), len(genes))).astype(np.float32)
    gctx.write(
        anndata.AnnData(X, pd.DataFrame(index=ids), pd.DataFrame(index=genes) if var is None else var.set_axis(genes)),
        path,
    )
    return path


class Files:
    """Two files in orders of their own, with genes beside the landmark genes, and the tables that go with them."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.folder = folder
        self.genes = [*landmark_genes().index, *(str(10**8 + k) for k in range(30))]
        self.ids = [f"s{k}" for k in range(N)]
        # s30 stands in both files, s58 and s59 are not in the table.
        parts = (self.ids[:31], self.ids[30:])
        self.paths = [
            write_gctx(folder / f"{k}.gctx", list(rng.permutation(part)), list(rng.permutation(self.genes)), k)
            for k, part in enumerate(parts)
        ]
        number = rng.integers(0, COMPOUNDS, N)
        self.table = pd.DataFrame(
            {
                "sig_id": self.ids,
                "pert_id": [f"B{k}" for k in number],
                "pert_iname": [f"4'-\"c{k}" for k in number],
                "pert_type": ["CTL_vehicle" if k == 0 else "trt_cp" for k in number],
                "cell_id": rng.choice(["A375", "MCF7", "PC3"], N),
                "pert_idose": rng.choice(["10 µM", "-666"], N),
                "pert_dose": rng.choice(["0.5", "-666"], N),
                "n/well": rng.integers(1, 9, N),
                "note": ["-666" if k else "only controls" for k in number],
                "is_gold": rng.choice(["True", "False"], N),
            }
        )
        self.sig_info = self.write("sig_info.txt", self.table[:58].sample(frac=1, random_state=0))
        self.classes = {"b1": "A", "b2": "A", "b3": "B", "b4": "AB", "b5": "B", "b6": "C"}
        rows = [(member.upper(), own) for member, names in self.classes.items() for own in names]
        self.pcl = self.write("pcl.csv", pd.DataFrame(rows, columns=["pert_id", "pcl"]))

    def write(self, name: str, table: pd.DataFrame) -> Path:
        path = self.folder / name
        text = table.to_csv(sep="," if name.endswith(".csv") else "\t", index=False, quoting=3, quotechar="\1")
        path.write_bytes(text.encode("latin-1"))
        return path

    def read(self, **chosen: Any) -> tuple[anndata.AnnData, str]:
        more = {name: chosen.pop(name) for name in ("gene_info", "with_unlabelled") if name in chosen}
        adata, told = read_signatures(self.paths, self.sig_info, self.pcl, selection=Selection(**chosen), **more)
        return adata, " ".join(told)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def stored(path: Path) -> pd.DataFrame:
    """Return a file's matrix by sample and gene, read by h5py alone."""
    with h5py.File(path) as file:
        ids, genes = (file[f"0/META/{axis}/id"][:].astype(str) for axis in ("COL", "ROW"))
        return pd.DataFrame(file["0/DATA/0/matrix"][:], index=ids, columns=genes)


def test_values_are_those_of_h5py_in_files_of_other_orders(files: Files) -> None:
    adata, told = files.read(multiple="first")
    plates = pd.concat([stored(path) for path in files.paths])
    truth = plates[~plates.index.duplicated()].loc[adata.obs["sig_id"], landmark_genes().index]
    np.testing.assert_array_equal(adata.X, truth.clip(-10, 10))
    assert list(adata.var_names) == landmark_genes()["symbol"].tolist()
    assert list(adata.var["pr_gene_id"]) == list(landmark_genes().index)
    assert f"{(truth.abs() > 10).to_numpy().sum()} of {truth.size} values clipped to ±10." in told
    assert adata.obs_names.tolist() == adata.obs["sig_id"].tolist()
    known = files.table.set_index("sig_id").loc[adata.obs_names]
    assert adata.obs["pert_iname"].tolist() == known["pert_iname"].tolist()


@pytest.mark.parametrize("multiple", ["drop", "first", "duplicate"])
def test_each_count_told_is_that_of_an_independent_count(files: Files, multiple: str) -> None:
    adata, told = files.read(
        cells=["A375", "MCF7"], exclude=["b3", "absent"], multiple=multiple, min_per_class=3, min_compounds=2
    )
    rows = files.table[:58]
    assert "61 signatures in 2 files; 1 stand twice, the first was taken; 2 are not in sig_info." in told
    assert f"{(rows['pert_id'] == 'B0').sum()} control wells left out." in told
    rows = rows[rows["pert_id"] != "B0"]
    assert f" {(rows['cell_id'] == 'PC3').sum()} signatures of other cell lines left out." in told
    rows = rows[rows["cell_id"] != "PC3"]
    n = (rows["pert_id"] == "B3").sum()
    assert f" {n} signatures of 1 excluded compounds left out. Not among the signatures: 'absent'." in told
    rows = rows[rows["pert_id"] != "B3"]
    n = (rows["pert_id"] == "B7").sum()
    assert f" {n} signatures of compounds without a class left out; 5 compounds have one." in told
    rows = rows[rows["pert_id"] != "B7"]
    fate = {"drop": "left out", "first": "given to the first", "duplicate": "taken once for each"}[multiple]
    assert f" 1 compounds of several classes, {(rows['pert_id'] == 'B4').sum()} signatures: {fate}." in told
    taken = {"drop": ["B1", "B2"], "first": ["B1", "B2", "B4"], "duplicate": ["B1", "B2", "B4", "B5", "B4"]}[multiple]
    expected = sum((rows["pert_id"] == name).sum() for name in taken)
    assert f" {expected} signatures of {len(set(taken))} compounds in " in told
    assert adata.n_obs == expected
    assert set(adata.obs["pcl"]) == ({"A", "B"} if multiple == "duplicate" else {"A"})


def test_duplicated_signatures_have_the_same_values_and_names_of_their_own(files: Files) -> None:
    adata, _ = files.read(multiple="duplicate")
    assert adata.obs_names.is_unique
    twice = adata.obs["sig_id"][adata.obs["pert_id"] == "B4"]
    assert set(twice.index) == {f"{name}|{own}" for name in twice for own in "AB"}
    for name in set(twice):
        np.testing.assert_array_equal(adata[f"{name}|A"].X, adata[f"{name}|B"].X)


@pytest.mark.parametrize("multiple", ["drop", "duplicate"])
def test_signatures_without_a_class_are_read_besides(files: Files, multiple: str) -> None:
    plain, _ = files.read(multiple=multiple, min_compounds=2)
    both, told = files.read(multiple=multiple, min_compounds=2, with_unlabelled=True)
    has_class = both.obs["pcl"].notna().to_numpy()
    np.testing.assert_array_equal(both.X[has_class], plain.X)
    assert both.obs_names[has_class].tolist() == plain.obs_names.tolist()
    others = both[~has_class]
    assert f"{others.n_obs} signatures of {others.obs['pert_id'].nunique()} compounds taken without a class." in told
    all_compounds = set(files.table[:58].query("pert_type == 'trt_cp'")["sig_id"])
    assert set(others.obs["sig_id"]) == all_compounds - set(plain.obs["sig_id"])
    assert set(others.obs["pert_id"]) >= {"B6", "B7"}
    values = pd.concat([stored(path) for path in files.paths])
    values = values[~values.index.duplicated()]
    genes = others.var["pr_gene_id"].astype(str)
    expected = values.loc[others.obs["sig_id"], genes].to_numpy().clip(-10, 10)
    np.testing.assert_array_equal(others.X, expected)


def test_signatures_without_a_class_go_into_a_file_of_their_own(files: Files) -> None:
    out, others = files.folder / "a.h5ad", files.folder / "u.h5ad"
    told = prepare_signatures(files.paths, files.sig_info, files.pcl, out, unlabelled_out=others)
    written, apart = anndata.read_h5ad(out), anndata.read_h5ad(others)
    assert written.obs["pcl"].notna().all()
    assert "pcl" not in apart.obs
    assert any(sentence.startswith(f"{apart.n_obs} signatures of ") for sentence in told)
    with pytest.raises(ValueError, match=r"`unlabelled_out` must be another file than `out`"):
        prepare_signatures(files.paths, files.sig_info, files.pcl, out, unlabelled_out=out)


@pytest.mark.parametrize("asked", ["B1", "b1", "4'-\"C1"])
def test_compounds_are_excluded_by_id_or_name(files: Files, asked: str) -> None:
    adata, _ = files.read(exclude=[asked])
    assert set(adata.obs["pert_id"]) == {"B2", "B3", "B5", "B6"}


def shuffled_file(files: Files, names: list[str], var: pd.DataFrame | None = None) -> None:
    write_gctx(files.paths[1], files.ids[31:], names, 5, var)


@pytest.mark.parametrize("kind", ["probe", "pr_gene_id", "pr_gene_id with gaps"])
def test_genes_are_found_by_what_names_them(files: Files, kind: str) -> None:
    genes = landmark_genes().sample(frac=1, random_state=1)
    if kind == "probe":
        shuffled_file(files, genes["probe"].tolist())
    else:
        ids = (
            pd.Series(genes.index.astype(int)) if kind == "pr_gene_id" else pd.Series([*genes.index.astype(int), -666])
        )
        shuffled_file(files, [f"row{k}" for k in range(len(ids))], pd.DataFrame({"pr_gene_id": ids.to_numpy()}))
    adata, told = files.read()
    own = adata[adata.obs_names.isin(files.ids[31:])]
    truth = stored(files.paths[1]).iloc[:, : len(genes)].set_axis(genes.index, axis=1)
    np.testing.assert_array_equal(own.X, truth.loc[own.obs_names, landmark_genes().index].clip(-10, 10))
    assert "978 landmark genes." in told


def test_genes_that_a_file_lacks_are_left_out(files: Files) -> None:
    genes = landmark_genes().index.tolist()
    shuffled_file(files, genes[7:][::-1])
    adata, told = files.read()
    assert list(adata.var["pr_gene_id"]) == genes[7:]
    assert "971 landmark genes; 7 left out, as a file lacks them." in told


@pytest.mark.parametrize("phase", ["GEO", "2020"])
def test_landmark_genes_are_those_of_gene_info(files: Files, phase: str) -> None:
    table = pd.DataFrame({"pr_gene_id": files.genes, "pr_gene_symbol": [f"G{gene}" for gene in files.genes]})
    table["pr_is_lm"] = [1] * 900 + [0] * (len(table) - 900)
    if phase == "2020":
        table["pr_is_lm"] = table["pr_is_lm"].map({1: "landmark", 0: "inferred"})
        table.columns = pd.Index(["gene_id", "gene_symbol", "feature_space"])
    adata, told = files.read(gene_info=files.write("gene_info.txt", table.sample(frac=1, random_state=2)))
    assert set(adata.var_names) == {f"G{gene}" for gene in files.genes[:900]}
    assert "900 landmark genes." in told
    plate = stored(files.paths[0])
    name = next(name for name in adata.obs_names if name in plate.index)
    np.testing.assert_array_equal(adata[name].X[0], plate.loc[name, adata.var["pr_gene_id"]].clip(-10, 10))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -666])
def test_values_that_are_none_are_refused(files: Files, bad: float) -> None:
    first = files.read()[0].obs.iloc[0]
    for path in files.paths:
        ids = list(stored(path).index)
        if first["sig_id"] in ids:
            with h5py.File(path, "r+") as file:
                file["0/DATA/0/matrix"][ids.index(first["sig_id"]), :978] = bad
    name = re.escape(repr(first["pert_iname"]))
    with pytest.raises(ValueError, match=f"finite z-scores; got .*{first['sig_id']}' of {name}. Leave that compound"):
        files.read()
    assert files.read(exclude=[first["pert_iname"]])[0].n_obs > 0


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"multiple": "all"}, "`multiple` must be one of 'drop', 'first', 'duplicate'; got 'all'."),
        ({"min_per_class": 0}, "`min_per_class` must be 1 or more; got 0."),
        ({"min_compounds": 0}, "`min_compounds` must be 1 or more; got 0."),
        ({"cells": ["A357"]}, "`cells` must be cell lines of the signatures; got 'A357'. The closest name is 'A375'"),
        ({"min_per_class": 99}, "the selection must leave signatures; got none: 61 signatures .* Ask for less."),
        ({"exclude": [f"b{k}" for k in range(8)]}, "the selection must leave signatures; got none: .* Ask for less."),
    ],
)
def test_selections_that_cannot_be_are_refused(files: Files, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        files.read(**chosen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": "pr_gene_symbol"}, "must have the columns pr_gene_id, pr_gene_symbol and pr_is_lm; .*_gene_info.txt"),
        ({"drop": "pr_is_lm"}, "must have the columns pr_gene_id, pr_gene_symbol and pr_is_lm; .* has 'pr_gene_id'"),
        ({"pr_is_lm": 0}, "must name each landmark gene once, by id and by symbol; .* has 0 rows"),
        ({"pr_gene_symbol": "G"}, "must name each landmark gene once, by id and by symbol; .* 1008 ids and 1 symbols"),
    ],
)
def test_gene_tables_that_do_not_fit_are_refused(files: Files, changes: dict[str, Any], message: str) -> None:
    table = pd.DataFrame({"pr_gene_id": files.genes, "pr_gene_symbol": files.genes, "pr_is_lm": 1})
    table = table.drop(columns=changes.pop("drop", [])).assign(**changes)
    with pytest.raises(ValueError, match=f"`gene_info` {message}"):
        files.read(gene_info=files.write("gene_info.txt", table))


def test_files_that_do_not_fit_are_refused(files: Files) -> None:
    with pytest.raises(ValueError, match=r"`paths` must name at least one GCTX file; got none."):
        read_signatures([], files.sig_info, files.pcl)
    shuffled_file(files, [f"ENSG{k}" for k in range(978)])
    with pytest.raises(ValueError, match=r"0 of 978 are in all files, 0 in .*1.gctx, whose rows are 'ENSG0'"):
        files.read()
    other = files.write("other.txt", files.table.assign(sig_id=[f"x{k}" for k in range(N)]))
    with pytest.raises(
        ValueError, match=r"none of the 60 is in .*other.txt. The files have 's.*, the table 'x0', 'x1'"
    ):
        read_signatures(files.paths, other, files.pcl)
    with pytest.raises(ValueError, match=r"none of the 60 is in .*, the table nothing."):
        read_signatures(files.paths, files.write("none.txt", files.table[:0]), files.pcl)


def test_what_is_written_is_read_with_its_types(files: Files) -> None:
    out = files.folder / "deep" / "a.h5ad"
    steps: list[tuple[int, int]] = []
    told = prepare_signatures(
        files.paths, files.sig_info, files.pcl, out, on_read=lambda done, total: steps.append((done, total))
    )
    written, again = files.read()[0], anndata.read_h5ad(out)
    assert list(out.parent.iterdir()) == [out]
    np.testing.assert_array_equal(again.X, written.X)
    assert again.X.dtype == np.float32
    assert again.var_names.equals(written.var_names)
    for name, column in written.obs.items():
        np.testing.assert_array_equal(again.obs[name].isna(), column.isna())
        assert again.obs[name].dropna().tolist() == column.dropna().tolist()
    assert [again.obs[name].dtype.kind for name in ("pert_dose", "n_well", "note", "is_gold")] == ["f", "i", "f", "b"]
    assert set(again.obs["pert_idose"].dropna()) == {"10 µM"}
    assert again.uns["l1000"]["told"].tolist() == told
    assert again.uns["l1000"]["files"].tolist() == ["0.gctx", "1.gctx", "sig_info.txt", "pcl.csv"]
    assert steps[-1] == (again.n_obs, again.n_obs)


def test_nothing_is_written_where_writing_fails(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    (files.folder / "out").mkdir()
    out = files.folder / "out" / "a.h5ad"
    out.write_text("before")

    def fail(adata: anndata.AnnData, path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare_signatures(files.paths, files.sig_info, files.pcl, out)
    assert [path.name for path in out.parent.iterdir()] == ["a.h5ad"]
    assert out.read_text() == "before"
    with pytest.raises(ValueError, match=r"`out` must end in .h5ad; got a.csv."):
        prepare_signatures(files.paths, files.sig_info, files.pcl, out.with_suffix(".csv"))


GENES = landmark_genes().reset_index()


@pytest.mark.parametrize("wanted", ["entrez_id", "symbol", "probe"])
@pytest.mark.parametrize("given", ["entrez_id", "symbol", "probe"])
def test_genes_are_called_as_asked(given: str, wanted: str) -> None:
    adata = anndata.AnnData(np.arange(20.0).reshape(2, 10), var=pd.DataFrame(index=[*GENES[given][:9], "other"]))
    renamed = rename_genes(adata, GENES[wanted])
    assert list(renamed.var_names) == [*GENES[wanted][:9], "other"]
    assert list(adata.var_names) == [*GENES[given][:9], "other"]
    np.testing.assert_array_equal(renamed.X, adata.X)
    assert (renamed is adata) == (given == wanted)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a", "b"], ["DDR1", "PAX8"]),
        (["780", "PAX8"], ["780", "PAX8"]),
        (["780", "DDR1"], ["DDR1"]),
        # Renaming would give one name twice.
        (["780", "7849", "DDR1"], ["DDR1", "PAX8"]),
    ],
)
def test_names_stay_where_none_are_better_or_unique(names: list[str], wanted: list[str]) -> None:
    adata = anndata.AnnData(np.ones((1, len(names))), var=pd.DataFrame(index=names))
    assert rename_genes(adata, wanted) is adata


def test_landmark_genes_are_those_of_lincs(real_file: Callable[[str], Path]) -> None:
    table = pd.read_csv(real_file("lincs/landmark_genes.tsv"), sep="\t", dtype=str)
    assert GENES.to_numpy().tolist() == table[["pr_gene_id", "pr_gene_symbol", "affy_probe"]].to_numpy().tolist()
    assert all(GENES[name].is_unique for name in GENES)
