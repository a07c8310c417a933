"""Figures of a cross-validation as a file, against those of the function."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.data.stored import open_table
from svqvae.evaluation.cross_validation import Comparison, cross_validate
from svqvae.jobs.evaluate import evaluate_model

Evaluated = tuple[anndata.AnnData, Comparison, dict[str, Any]]
NAMES: dict[type, Callable[[pd.Series], pd.Series]] = {
    str: lambda kind: kind,
    int: lambda kind: kind.map({"B": 2, "NK": 0, "T": 1}),
    bool: lambda kind: kind == "B",
}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found


@pytest.fixture(scope="module", params=NAMES)
def evaluated(
    request: pytest.FixtureRequest,
    make_cells: Callable[[], anndata.AnnData],
    short: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Evaluated:
    """Return samples with labels of a kind, what was found on them, and what was written."""
    folder, cells = tmp_path_factory.mktemp("evaluated"), make_cells()
    table = cells.to_df().assign(kind=NAMES[request.param](cells.obs["kind"]), batch=cells.obs["batch"])
    table.to_csv(folder / "t.csv", index_label="sample")
    cells, out = open_table(folder / "t.csv", label="kind", group="batch"), folder / "deep" / "quality.json"
    found = evaluate_model(cells, "kind", "batch", out, short, n_folds=3, n_seeds=2)
    assert [path.name for path in out.parent.iterdir()] == ["quality.json"]
    return cells, found, read(out)


def test_the_figures_are_those_of_the_function(evaluated: Evaluated, short: dict[str, Any]) -> None:
    cells, found, content = evaluated
    expected = cross_validate(
        cells.X, cells.obs["kind"], {"svqvae": SVQVAE(**short)}, groups=cells.obs["batch"], n_folds=3, seeds=(0, 1)
    )
    assert content["methods"] == found.to_dict() == expected.to_dict()
    pd.testing.assert_frame_equal(found.runs, expected.runs)


def test_each_class_has_its_samples_groups_and_confusion(evaluated: Evaluated) -> None:
    cells, found, content = evaluated
    y, names = cells.obs["kind"].to_numpy(), [entry["class"] for entry in content["classes"]]
    assert names == np.unique(y).tolist()
    for k, entry in enumerate(content["classes"]):
        own = y == entry["class"]
        assert type(entry["class"]) is type(y.tolist()[0])
        assert (entry["n_samples"], entry["n_groups"]) == (own.sum(), cells.obs["batch"][own].nunique())
        guesses = np.concatenate([found.predictions["svqvae", seed].to_numpy()[own] for seed in (0, 1)])
        assert entry["right"] == pytest.approx((guesses == entry["class"]).mean())
        assert content["confusion"][k] == [(guesses == name).sum() / 2 for name in names]


def test_what_was_evaluated_is_told(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    evaluate_model(cells, "kind", "batch", tmp_path / "q.json", short, n_folds=2, n_seeds=1)
    content = read(tmp_path / "q.json")
    expected = {"label": "kind", "group": "batch", "n_samples": 60, "n_unlabelled": 0, "n_features": 9, "n_classes": 3}
    expected |= {"n_groups": 15, "n_folds": 2, "n_seeds": 1, "n_plain": None}
    assert {name: content[name] for name in expected} == expected
    assert content["n_near_duplicates"] >= 0
    theirs = SVQVAE(**short).get_params(deep=False)
    ours = {name: tuple(value) if isinstance(value, list) else value for name, value in content["settings"].items()}
    assert ours == {name: value for name, value in theirs.items() if name not in ("random_state", "verbose")}


def test_without_groups_there_are_none_and_a_single_seed_has_no_spread(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path
) -> None:
    evaluate_model(cells, "kind", None, tmp_path / "q.json", short, n_folds=2, n_seeds=1)
    content = read(tmp_path / "q.json")
    assert content["n_groups"] is content["group"] is content["classes"][0]["n_groups"] is None
    assert content["methods"]["svqvae"]["accuracy"]["std"] is None


def test_samples_without_a_class_are_counted(
    cells: anndata.AnnData, new_cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path
) -> None:
    found = evaluate_model(
        cells, "kind", "batch", tmp_path / "q.json", short, n_folds=2, n_seeds=1, unlabelled=new_cells
    )
    assert read(tmp_path / "q.json")["n_unlabelled"] == 24
    plain = evaluate_model(cells, "kind", "batch", tmp_path / "q.json", short, n_folds=2, n_seeds=1)
    assert not found.runs.query("method == 'svqvae'").equals(plain.runs.query("method == 'svqvae'"))
    pd.testing.assert_frame_equal(found.runs.query("method != 'svqvae'"), plain.runs.query("method != 'svqvae'"))


def test_a_file_that_cannot_be_written_is_refused_before_the_folds(
    cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        pytest.fail("folds were drawn")

    monkeypatch.setattr("svqvae.jobs.evaluate.cross_validate", fail)
    with pytest.raises(IsADirectoryError, match="`out` must be a file; got the folder"):
        evaluate_model(cells, "kind", None, tmp_path, short, n_folds=2, n_seeds=1)


def test_mistakes_leave_no_file(cells: anndata.AnnData, short: dict[str, Any], tmp_path: Path) -> None:
    for changes, message in (
        ({"n_folds": 1}, "`n_folds` must be a whole number from 2 to 15, the number of groups; got 1"),
        ({"settings": {"geometry": "flat"}}, "`geometry` must be one of 'euclidean', 'cosine'; got 'flat'"),
    ):
        given: dict[str, Any] = {"settings": short, "n_folds": 2, "n_seeds": 1} | changes
        with pytest.raises(ValueError, match=message):
            evaluate_model(cells, "kind", "batch", tmp_path / "q.json", **given)
    assert not list(tmp_path.iterdir())
