"""From the authors' files to a run folder, with and without samples."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fits
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE, ClassAtlas
from svqvae.atlas.health import CodeHealthWarning
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import read_fitted, run_files
from svqvae.jobs.import_published import import_run, read_published


@dataclass
class Saved:
    """A small model in the layout of the authors' files, and labelled samples of its classes."""

    folder: Path

    @property
    def parts(self) -> tuple[Path, Path, Path]:
        return self.folder, self.folder / "names.csv", self.folder / "genes.tsv"

    @property
    def run(self) -> Path:
        return self.folder.parent / "run"

    @property
    def data(self) -> Path:
        return self.folder.parent / "data.csv"

    def write(self, table: pd.DataFrame) -> None:
        table.to_csv(self.data, index_label="sample")

    def bring_in(self, **more: Any) -> tuple[Fitted, Any]:
        return import_run(*self.parts, self.run, **more)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    (tmp_path / "saved").mkdir()
    fits.write_published(tmp_path / "saved")
    return Saved(tmp_path / "saved")


@pytest.fixture
def samples(saved: Saved) -> pd.DataFrame:
    """Return labelled samples that were written to a file, genes in another order and one more."""
    X, y, _ = fits.table()
    table = X[X.columns[::-1]].clip(-10, 10).assign(other=1.5)
    table.insert(0, "kind", y)
    saved.write(table)
    return table


def test_a_run_is_whole_and_loads_again(saved: Saved) -> None:
    _, quality = saved.bring_in(command="svqvae import-published saved")
    assert quality is None
    assert {*saved.run.iterdir()} == {*run_files(saved.run, "metrics.json")}
    model, again = read_published(*saved.parts), SVQVAE.load(saved.run)
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 14)), columns=again.feature_names_in_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    pd.testing.assert_frame_equal(again.health_, model.health_)
    again.save(saved.run.parent / "again")
    assert (saved.run.parent / "again" / "run.json").read_bytes() == (saved.run / "run.json").read_bytes()
    assert json.loads((saved.run / "metrics.json").read_text()) == {}
    assert again.fitted_.origin["command"] == "svqvae import-published saved"


def test_with_samples_the_run_has_what_a_fit_has(saved: Saved, samples: pd.DataFrame) -> None:
    with pytest.warns(CodeHealthWarning, match="Some codes do not stand for their class"):
        saved.bring_in(data=saved.data, label="kind")
    atlas = ClassAtlas.load(saved.run)
    genes, counts = list(atlas.feature_names), samples["kind"].value_counts()
    assert atlas.counts.tolist() == counts[list(atlas.classes)].tolist()
    means = samples.groupby("kind")[genes].mean()
    np.testing.assert_allclose(atlas.means, means.loc[list(atlas.classes)], atol=1e-5)
    assert atlas.contrast("NK", "mono")[["low", "q"]].notna().all(axis=None)
    assert SVQVAE.load(saved.run).sample("NK", 3, random_state=0).shape == (3, 14)
    figures = json.loads((saved.run / "metrics.json").read_text())["samples"]
    right = read_published(*saved.parts).predict(samples[genes]) == samples["kind"]
    assert figures["accuracy"] == pytest.approx(right.mean())
    assert read_fitted(saved.run).origin["label"] == "kind"


@pytest.mark.filterwarnings("ignore:Some codes do not stand")
def test_samples_that_name_genes_by_entrez_id_are_found(saved: Saved, samples: pd.DataFrame) -> None:
    pd.DataFrame({"pr_gene_symbol": ["DDR1", "PAX8", *(f"g{j}" for j in range(2, 14))]}).to_csv(
        saved.folder / "genes.tsv", index=False, sep="\t"
    )
    saved.write(samples.rename(columns={"g0": "780", "g1": "7849"}))
    fitted, _ = saved.bring_in(data=saved.data, label="kind")
    means = samples.groupby("kind")["g1"].mean()
    np.testing.assert_allclose(fitted.atlas.means[:, 1], means.loc[list(fitted.classes)], atol=1e-5)
    assert fitted.atlas.feature_names[:2] == ("DDR1", "PAX8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda table: table.replace({"kind": {"T": "B cell"}}),
            "`label` must hold classes of the model only; others are 'B cell'. Choose other samples, or leave `data`",
        ),
        (
            lambda table: table[table["kind"] != "T"],
            "`label` must hold samples of every class; there are none of 'T'",
        ),
        (
            lambda table: table.drop(columns=["g3", "g11"]),
            "`data` must have the 14 genes of the model as features; 2 are missing: 'g11', 'g3'. Name them as in",
        ),
        (
            lambda table: table.assign(g3=11.0),
            "`X` must lie in [-10, 10], as `output_scale` says; got an absolute value of 11",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused_and_leave_no_run(
    saved: Saved, samples: pd.DataFrame, spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    saved.write(spoil(samples))
    with pytest.raises(ValueError, match=re.escape(message)):
        saved.bring_in(data=saved.data, label="kind")
    assert not saved.run.exists()


def test_samples_and_the_column_of_their_class_go_together(saved: Saved, samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="`label` must go with `data`; got only `data`"):
        saved.bring_in(data=saved.data)
    with pytest.raises(ValueError, match="`data` must go with `label`; got only `label`"):
        saved.bring_in(label="kind")
    assert not saved.run.exists()


def test_a_file_in_the_place_of_the_folder_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match="`out` must be a folder; got the file"):
        import_run(*[tmp_path / "nowhere"] * 3, tmp_path / "run")
