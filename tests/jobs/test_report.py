"""What it takes to write the page of a run: its figures, and the samples at hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from svqvae import SVQVAE
from svqvae.data.samples import read_samples
from svqvae.data.stored import open_table
from svqvae.evaluation.beside import GIVEN, HELD_OUT, TEST, TRAINING
from svqvae.evaluation.quality import Quality
from svqvae.fitting.run_folder import read_fitted
from svqvae.jobs import report
from svqvae.jobs.report import read_figures, report_fitted, report_run, split_as_fitted

FIGURES = Quality(0.5, 0.25, 1.0, 0.75, 0.5, 60).to_dict()


@pytest.fixture
def folder(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, for a page of its own."""
    return shutil.copytree(folder, tmp_path / "run")


@pytest.fixture
def watched(watched: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that held samples out."""
    return shutil.copytree(watched, tmp_path / "watched")


@pytest.fixture
def file(cells: anndata.AnnData, tmp_path: Path) -> Path:
    """Return the file of the samples that the runs were fitted to, features in another order and one more."""
    more = anndata.AnnData(np.ones((60, 1), dtype=np.float32), cells.obs)
    anndata.concat([cells[:, ::-1], more], axis=1, merge="first").write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_a_run_alone_has_a_page_with_its_figures(watched: Path) -> None:
    found = report_run(watched)
    assert (found.page, found.numbers) == (watched / "report.html", watched / "report.json")
    assert found.summary["quality"] == read_figures(watched)
    assert found.summary["accuracy"] is found.summary["map"] is None
    assert json.loads(found.numbers.read_text()) == found.summary


def test_the_data_of_the_fit_are_told_by_their_fingerprint(watched: Path, file: Path) -> None:
    found = report_run(watched, file).summary
    n_held_out = len(read_fitted(watched).held_out)
    assert found["accuracy"]["set"] == HELD_OUT
    assert {kind: quality["n_samples"] for kind, quality in found["quality"].items()} == {
        TRAINING: 60 - n_held_out,
        HELD_OUT: n_held_out,
    }
    for kind, figures in read_figures(watched).items():
        assert found["quality"][kind] == pytest.approx(figures)


def test_other_samples_are_held_against_the_class_means_of_the_fit(
    watched: Path, new_cells: anndata.AnnData, tmp_path: Path
) -> None:
    new_cells.write_h5ad(tmp_path / "new.h5ad")
    found = report_run(watched, tmp_path / "new.h5ad").summary
    # Those held out are known not to have been trained on; of the samples given that is not known.
    assert set(found["quality"]) == {TRAINING, HELD_OUT, GIVEN}
    right = SVQVAE.load(watched).predict(new_cells) == new_cells.obs["kind"].to_numpy()
    assert found["quality"][GIVEN]["accuracy"] == pytest.approx(right.mean())
    assert (found["accuracy"]["set"], found["accuracy"]["n_samples"]) == (GIVEN, 24)


def test_the_parts_are_those_of_the_fit(watched: Path, folder: Path, cells: anndata.AnnData) -> None:
    fitted, samples = read_fitted(watched), read_samples(cells, label="kind")
    parts = split_as_fitted(fitted, samples)
    assert list(parts) == [TRAINING, HELD_OUT]
    np.testing.assert_array_equal(parts[HELD_OUT].rows, cells.X[fitted.held_out])
    np.testing.assert_array_equal(parts[TRAINING].rows, np.delete(cells.X, fitted.held_out, axis=0))
    assert list(split_as_fitted(read_fitted(folder), samples)) == [TRAINING]


def test_each_part_tells_of_its_progress(folder: Path, cells: anndata.AnnData, tmp_path: Path) -> None:
    opened: dict[str, list[tuple[int, int]]] = {}

    def progress(title: str) -> Callable[[int, int], None]:
        steps = opened.setdefault(title, [])
        return lambda done, in_all: steps.append((done, in_all))

    fitted = read_fitted(folder)
    sets = {TEST: fitted.labelled(cells, cells.obs["kind"])}
    found = report_fitted(fitted, tmp_path, {TEST: FIGURES}, sets, progress, title="Cells")
    assert opened["comparing"] == [(1, 1)]
    assert all(steps[-1][0] == steps[-1][1] for steps in opened.values())
    assert len(opened) > 2
    assert "Cells" in found.page.read_text(encoding="utf-8")


def test_of_samples_on_disk_some_are_read(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch, cells: anndata.AnnData
) -> None:
    monkeypatch.setattr(report, "MAX_SAMPLES", 20)
    opened = open_table(file, label="kind", on_disk=True)
    monkeypatch.setattr(report, "open_table", lambda *_, **__: opened)
    found = report_run(folder, file).summary
    assert found["accuracy"]["n_samples"] == 20
    assert found["quality"][TRAINING]["n_samples"] == 60
    opened.X.file.close()


def test_classes_are_known_by_their_text(
    make_cells: Callable[..., anndata.AnnData], short: dict[str, Any], tmp_path: Path
) -> None:
    cells, names = make_cells(), {"B": 10, "NK": 2, "T": 33}
    cells.obs["kind"] = cells.obs["kind"].map(names)
    SVQVAE(**short).fit(cells, label="kind").save(tmp_path / "run")
    cells.obs["kind"] = cells.obs["kind"].astype(str)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    found = report_run(tmp_path / "run", tmp_path / "cells.h5ad", "kind").summary
    assert [entry["name"] for entry in found["classes"]] == ["2", "10", "33"]
    assert set(found["quality"]) == {TRAINING}


def test_figures_of_other_kinds_and_files_are_left_out(tmp_path: Path) -> None:
    assert read_figures(tmp_path) == {}
    figures = {"training": FIGURES, "notes": {"accuracy": 0.5}, "test": {**FIGURES, "more": 1}}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    assert read_figures(tmp_path) == {"training": FIGURES, "test": {**FIGURES, "more": 1}}


@pytest.mark.parametrize("content", ["{", "[1]", '{"training": 3}', '"text"'])
def test_damaged_figures_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json must hold figures as `svqvae fit` writes them; it is damaged"):
        read_figures(tmp_path)


def test_labels_that_the_run_does_not_know_are_refused(folder: Path, file: Path, cells: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match=r"`label` must go with `data`; got only 'kind'\. Give both, or none"):
        report_run(folder, label="kind")
    with pytest.raises(
        ValueError, match=r"`label` must name a column that holds classes of the run only; others are '0'"
    ):
        report_run(folder, file, "batch")
    with pytest.raises(ValueError, match=r"`label` must be a column of .*cells\.h5ad; got 'knd'"):
        report_run(folder, file, "knd")


def test_a_run_that_knows_no_column_must_be_told(
    file: Path, cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path
) -> None:
    SVQVAE(**short).fit(cells, label="kind").save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"`label` must name the column that holds the class, which the run does not"):
        report_run(tmp_path / "run", file)


def test_samples_that_lack_a_feature_are_refused(folder: Path, cells: anndata.AnnData, tmp_path: Path) -> None:
    cells[:, :8].copy().write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(ValueError, match=r"`X` must have the 9 features of the fit; missing: 'gene 8'"):
        report_run(folder, tmp_path / "few.h5ad")
