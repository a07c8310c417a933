"""Samples without a label: what is learnt from them, and what is said where nothing can be."""

import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from svqvae import SVQVAE, cli
from svqvae.atlas.health import CodeHealthWarning
from svqvae.evaluation.cross_validation import cross_validate

P, LOUD = 60, 3
Array = NDArray[Any]


def draw(n: int, classes: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return samples and their classes, whose means are drowned in what varies along a few directions."""
    y = np.arange(n) % classes
    means = 0.2 * np.random.default_rng(classes).normal(size=(classes, P))
    directions = 0.5 * np.random.default_rng(0).normal(size=(LOUD, P))
    return means[y] + 0.3 * rng.normal(size=(n, P)) + rng.normal(size=(n, LOUD)) @ directions, y


@pytest.fixture
def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    X, y = draw(40, 4, rng)
    # Other classes, of which only the groups are known.
    others, groups = draw(600, 100, rng)
    return {"X": X, "y": y, "others": others, "groups": groups}


def tiny(**changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 10, "latent_dim": 8, "hidden": (16,), "random_state": 0, **changes})


def test_what_varies_within_groups_is_left_aside(data: dict[str, Array]) -> None:
    X, y = draw(2000, 4, np.random.default_rng(9))
    others = {"unlabelled": data["others"], "unlabelled_groups": data["groups"]}
    gains = []
    for seed in range(3):
        few = draw(8, 4, np.random.default_rng(seed))
        gains.append(tiny().fit(*few, **others).score(X, y) - tiny().fit(*few).score(X, y))
    assert np.mean(gains) > 0.03


def test_labels_and_classes_are_those_of_the_labelled_samples(data: dict[str, Array]) -> None:
    others = {"unlabelled": data["others"], "unlabelled_groups": data["groups"]}
    plain, informed = tiny().fit(data["X"], data["y"]), tiny().fit(data["X"], data["y"], **others)
    np.testing.assert_array_equal(informed.classes_, plain.classes_)
    np.testing.assert_array_equal(informed.atlas_.counts, plain.atlas_.counts)
    assert informed.fitted_.origin == plain.fitted_.origin | {"n_unlabelled": 600}


def test_the_order_of_groups_and_their_names_do_not_matter(data: dict[str, Array]) -> None:
    order = np.random.default_rng(1).permutation(600)
    one = tiny().fit(data["X"], data["y"], unlabelled=data["others"], unlabelled_groups=data["groups"])
    names = np.char.add("compound ", (99 - data["groups"][order]).astype(str))
    other = tiny().fit(data["X"], data["y"], unlabelled=data["others"][order], unlabelled_groups=names)
    np.testing.assert_allclose(one.transform(data["X"]), other.transform(data["X"]), rtol=1e-2, atol=1e-2)


def test_samples_alone_or_without_a_group_teach_nothing(data: dict[str, Array]) -> None:
    plain = tiny().fit(data["X"], data["y"])
    for groups in (np.arange(600), np.full(600, None)):
        same = tiny().fit(data["X"], data["y"], unlabelled=data["others"], unlabelled_groups=groups)
        np.testing.assert_array_equal(same.transform(data["X"]), plain.transform(data["X"]))


def test_containers_are_held_against_the_features_of_the_fit(data: dict[str, Array]) -> None:
    names = [f"g{j}" for j in range(P)]
    frame, others = (pd.DataFrame(data[key], columns=names) for key in ("X", "others"))
    adata = anndata.AnnData(others, obs=pd.DataFrame(index=[f"s{k}" for k in range(600)]))
    one = tiny().fit(frame, data["y"], unlabelled=others, unlabelled_groups=data["groups"])
    two = tiny().fit(frame, data["y"], unlabelled=adata, unlabelled_groups=data["groups"])
    np.testing.assert_array_equal(one.codebook_, two.codebook_)
    with pytest.raises(ValueError, match="g59"):
        tiny().fit(frame, data["y"], unlabelled=others.rename(columns={"g59": "h"}), unlabelled_groups=data["groups"])


def test_what_cannot_be_used_is_said(data: dict[str, Array]) -> None:
    X, y = data["X"], data["y"]
    with pytest.raises(ValueError, match=r"`unlabelled_groups` must say .* got None\. Nothing is learnt"):
        tiny().fit(X, y, unlabelled=data["others"])
    with pytest.raises(ValueError, match=r"`unlabelled` must be given with `unlabelled_groups`; got None"):
        tiny().fit(X, y, unlabelled_groups=data["groups"])
    with pytest.raises(ValueError, match=r"`groups` must name a group for each of 600 samples; got 5"):
        tiny().fit(X, y, unlabelled=data["others"], unlabelled_groups=np.arange(5))
    with (
        warnings.catch_warnings(action="ignore", category=CodeHealthWarning),
        pytest.warns(UserWarning, match=r"of use with objective='prototype' and architecture='dense' only"),
    ):
        tiny(objective="published").fit(X, y, unlabelled=data["others"], unlabelled_groups=data["groups"])


def test_cross_validation_gives_them_to_the_models_in_each_fold(data: dict[str, Array]) -> None:
    def predicted(**others: Any) -> pd.DataFrame:
        return cross_validate(data["X"], data["y"], {"m": tiny()}, n_folds=2, seeds=[0], **others).predictions

    plain, informed = predicted(), predicted(unlabelled=data["others"], unlabelled_groups=data["groups"])
    assert not plain["m"].equals(informed["m"])
    pd.testing.assert_frame_equal(plain.drop(columns="m", level=0), informed.drop(columns="m", level=0))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_commands_take_them_from_a_file(
    data: dict[str, Array], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"g{j}" for j in range(P)]
    table = pd.DataFrame(data["X"], columns=names).assign(kind=[f"k{k}" for k in data["y"]], drug=np.arange(40) * 7)
    table.to_csv(tmp_path / "t.csv", index_label="sample")
    others = pd.DataFrame(data["others"], columns=names).assign(drug=data["groups"])
    others.to_csv(tmp_path / "u.csv", index_label="sample")
    given = [tmp_path / "t.csv", "--label", "kind", "--unlabelled", tmp_path / "u.csv", "--epochs", 1, "--quiet"]
    assert run("fit", *given, "--group", "drug", "--no-report", "--out", tmp_path / "run") == 0
    assert SVQVAE.load(tmp_path / "run").fitted_.origin["n_unlabelled"] == 600
    few = ["--folds", 2, "--seeds", 1, "--out", tmp_path / "q.json"]
    assert run("evaluate", *given, "--group", "drug", *few) == 0
    assert '"n_unlabelled": 600' in (tmp_path / "q.json").read_text()
    assert run("fit", *given, "--out", tmp_path / "none") == 2
    assert "`--group` must be given with `--unlabelled`" in capfd.readouterr().err
