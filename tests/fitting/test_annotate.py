"""What annotate says of new samples."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from torch import Tensor

from svqvae import SVQVAE, ClassAtlas
from svqvae.atlas.atlas import FILE
from svqvae.fitting.annotate import tell_classes
from svqvae.jobs.annotate import annotate_samples
from svqvae.model import inference
from svqvae.model.module import SVQVAEModule

rng = np.random.default_rng(0)
Y = np.array(["a", "b", "c"])[np.arange(300) % 3]
X = rng.normal(size=(300, 10)) + 1.5 * np.eye(3, 10)[np.arange(300) % 3]
SHORT = {"n_epochs": 8, "latent_dim": 8, "random_state": 0}


@pytest.fixture(scope="module")
def plain() -> SVQVAE:
    return SVQVAE(**SHORT).fit(X, Y)


@pytest.fixture(scope="module")
def watched() -> SVQVAE:
    return SVQVAE(**SHORT, early_stopping=True, validation_fraction=0.3).fit(X, Y)


def new_samples(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    kind = np.arange(n) % 3
    return np.random.default_rng(1).normal(size=(n, 10)) + 1.5 * np.eye(3, 10)[kind], np.array(["a", "b", "c"])[kind]


def test_the_most_probable_class_comes_first_in_its_set(plain: SVQVAE, watched: SVQVAE) -> None:
    for model in (plain, watched):
        table = tell_classes(model.fitted_, X)
        assert list(table) == ["class", "probability", "set", "novelty_p", "is_unknown"]
        assert table["class"].tolist() == model.predict(X).tolist()
        assert table["set"].str.split("|").str[0].tolist() == table["class"].tolist()
        assert table["is_unknown"].tolist() == (table["novelty_p"] <= 0.05).tolist()


def test_only_held_out_samples_make_sets_promise_coverage(plain: SVQVAE, watched: SVQVAE) -> None:
    calibrations = [model.to_atlas().calibration for model in (plain, watched)]
    assert [part is not None and part.covers for part in calibrations] == [False, True]
    assert [len(part.surprises) for part in calibrations if part] == [300, 90]
    rows, labels = new_samples()
    chosen = tell_classes(watched.fitted_, rows)["set"].str.split("|")
    covered = np.mean([label in names for label, names in zip(labels, chosen, strict=True)])
    assert covered == pytest.approx(0.9, abs=0.08)


def test_known_samples_are_seldom_unknown_and_far_ones_always(plain: SVQVAE, watched: SVQVAE) -> None:
    rows, _ = new_samples()
    for model in (plain, watched):
        assert tell_classes(model.fitted_, rows)["is_unknown"].mean() < 0.12
        assert tell_classes(model.fitted_, rows + 8)["is_unknown"].all()
        assert not tell_classes(model.fitted_, rows + 8, unknown=0)["is_unknown"].any()


def test_a_digit_that_was_left_out_is_told() -> None:
    images, labels = load_digits(return_X_y=True)
    known = labels != 4
    model = SVQVAE(n_epochs=5, random_state=0).fit(images[known][::2], labels[known][::2])
    assert tell_classes(model.fitted_, images[~known])["is_unknown"].mean() > 0.5
    assert tell_classes(model.fitted_, images[known][1::2])["is_unknown"].mean() < 0.1


def test_the_calibration_stays_in_the_run_folder(watched: SVQVAE, tmp_path: Path) -> None:
    watched.save(tmp_path)
    pd.testing.assert_frame_equal(tell_classes(SVQVAE.load(tmp_path).fitted_, X), tell_classes(watched.fitted_, X))


def test_a_run_of_an_earlier_version_is_annotated_without_novelty(plain: SVQVAE, tmp_path: Path) -> None:
    plain.save(tmp_path)
    replace(ClassAtlas.load(tmp_path), calibration=None).save(tmp_path)
    assert (tmp_path / FILE).is_file()
    table = tell_classes(SVQVAE.load(tmp_path).fitted_, X)
    assert table["novelty_p"].isna().all()
    assert table["is_unknown"].isna().all()
    assert table["class"].tolist() == plain.predict(X).tolist()


def test_groups_stand_on_one_side_of_calibration() -> None:
    # Twenty copies of each of 30 rows: a fold that splits copies would find nothing surprising.
    rows, labels = np.repeat(X[:30], 20, axis=0) + 0.01 * rng.normal(size=(600, 10)), np.repeat(Y[:30], 20)
    split = SVQVAE(**SHORT).fit(rows, labels)
    whole = SVQVAE(**SHORT).fit(rows, labels, groups=np.repeat(np.arange(30), 20))
    new, _ = new_samples()
    assert (
        tell_classes(whole.fitted_, new)["novelty_p"].mean()
        > tell_classes(split.fitted_, new)["novelty_p"].mean() + 0.1
    )


def test_unknown_is_a_share(plain: SVQVAE) -> None:
    with pytest.raises(ValueError, match="`unknown` must be from 0 to 1; got 5"):
        tell_classes(plain.fitted_, X, unknown=5)


@pytest.mark.parametrize("suffix", [".csv", ".h5ad"])
def test_each_sample_is_encoded_once(
    suffix: str, plain: SVQVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.save(tmp_path / "run")
    encoded: list[int] = []

    def counted(module: SVQVAEModule, inputs: Tensor) -> Tensor:
        encoded.append(len(inputs))
        return encode(module, inputs)

    encode = inference.encode
    monkeypatch.setattr(inference, "encode", counted)
    annotate_samples(tmp_path / "run", anndata.AnnData(X), tmp_path / f"out{suffix}")
    assert sum(encoded) == len(X)


def test_a_view_of_backed_data_is_annotated(tmp_path: Path) -> None:
    names = [f"g{k}" for k in range(X.shape[1])]
    fitted = SVQVAE(**SHORT).fit(pd.DataFrame(X, columns=names), Y).fitted_
    anndata.AnnData(X, var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert len(tell_classes(fitted, backed[10:30])) == 20
    backed.file.close()
