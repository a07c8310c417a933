"""Samples from any container stay aligned; wrong input gets one sentence of what was wrong, seen and to be done."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from svqvae import SVQVAE
from svqvae.data.samples import Samples, check_features, read_samples, read_unlabelled
from svqvae.data.stored import open_table

# Random data have no classes worth a code, and the model says so.
pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

X = np.random.default_rng(0).normal(size=(20, 4))
Y = np.repeat(["a", "b"], 10)


def model(**changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 2, "latent_dim": 3, "hidden": (4,), "random_state": 0, **changes})


def replaced(row: int, column: int, value: float) -> np.ndarray:
    changed = X.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (X[:0], Y[:0], r"Found array with 0 sample\(s\)"),
        (X, np.repeat("a", 20), r"`y` must hold at least 2 classes; got 1 class, .*'a'"),
        (
            replaced(3, 2, np.nan),
            Y,
            r"`X` must be finite; got 1 NaN or infinite cells, the first \(nan\) in row 3, feature 2",
        ),
        (replaced(0, 1, np.inf), Y, r"`X` must be finite; got 1 .* the first \(inf\) in row 0, feature 1"),
        (X.reshape(20, 2, 2), Y, r"`X` must be a table .* got shape \(20, 2, 2\)\. Use architecture='conv'"),
        (X, Y[:19], r"`y` must have a label for each of the 20 samples of `X`; got 19"),
        (X, np.array([*Y[:19], np.nan], dtype=object), r"1 are NaN or infinite, the first in row 19"),
        (X, np.array([*Y[:19], 3], dtype=object), r"`y` must hold labels of one kind; got int and str_?"),
        (X, None, r"requires y to be passed"),
        (
            X,
            np.linspace(0, 1, 20),
            r"Unknown label type: continuous\. `y` must hold classes; got 0\.0 and others\. Name",
        ),
        (X, [f"id{k}" for k in range(20)], r"`y` must have classes of several samples; got 20 classes of one each"),
        (
            pd.DataFrame(replaced(3, 2, np.nan), columns=["a", "b", "c", "d"]).replace({"d": {X[5, 3]: np.inf}}),
            Y,
            r"got 2 NaN or infinite cells, .*, feature 'c'\. 2 features have such cells: 'c', 'd'\. Impute",
        ),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(data: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model().fit(data, labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "paper"}, r"`objective` must be one of 'prototype', .*; got 'paper'"),
        ({"architecture": "deep"}, r"`architecture` must be one of 'dense', 'conv'.*; got 'deep'"),
        ({"likelihood": "normal"}, r"`likelihood` must be one of .*; got 'normal'"),
        ({"geometry": "angle"}, r"`geometry` must be one of 'euclidean', 'cosine'; got 'angle'"),
        ({"precision": "8"}, r"`precision` must be one of .*; got '8'"),
        ({"latent_dim": 0}, r"`latent_dim` must be a whole number of at least 1; got 0"),
        ({"n_epochs": 2.5}, r"`n_epochs` must be a whole number of at least 1 or None; got 2.5"),
        ({"learning_rate": 0}, r"`learning_rate` must be a number above 0 or None; got 0"),
        ({"w_label": -1}, r"`w_label` must be a number of at least 0; got -1"),
        ({"hidden": (4, 0)}, r"`hidden` must hold whole numbers of at least 1; got \(4, 0\)"),
        ({"dropout": 1.0}, r"`dropout` must be at least 0 and below 1; got 1.0"),
        ({"validation_fraction": 1}, r"`validation_fraction` must be at least 0 and below 1; got 1"),
        ({"early_stopping": "yes"}, r"`early_stopping` must be True, False or 'auto'; got 'yes'"),
        ({"early_stopping": True}, r"`validation_fraction` must hold out .* 0.05 of 20 samples holds out none"),
        ({"accelerator": "mps"}, r"`accelerator` must be one of 'auto', .*; got 'mps'"),
        ({"architecture": ("a", "b")}, r"`architecture` must be .* or a tuple of two modules, .*; got a tuple"),
        ({"hidden": 256}, r"`hidden` must be a sequence of widths, such as \(256,\); got 256"),
        ({"image_shape": 8}, r"`image_shape` must be \(height, width\) .*; got 8"),
        ({"devices": 0}, r"`devices` must be a whole number of at least 1; got 0"),
        ({"random_state": -3}, r"`random_state` must be None, .*; got -3"),
        ({"early_stopping": True, "validation_fraction": 0.0}, r"`validation_fraction` must be above 0"),
        ({"output_scale": 10.0}, r"`output_scale` must be None unless likelihood='bounded'; got 10.0"),
        ({"likelihood": "bounded", "output_scale": 0.5}, r"`X` must lie in \[-0.5, 0.5\].* got an absolute value"),
        ({"likelihood": "bernoulli"}, r"`X` must lie in \[0, 1\] for likelihood='bernoulli'; got values from -"),
        ({"likelihood": "negative_binomial"}, r"`X` must hold counts .*; got -"),
        ({"architecture": "conv"}, r"`X` must hold images .* got rows of 4 features"),
        (
            {"objective": "published", "divergence_cost": 0.25},
            r"`divergence_cost` must be below `commitment_cost`.* got 0.25 and 0.25",
        ),
        (
            {"objective": "published", "geometry": "cosine"},
            r"`geometry` must be 'euclidean' with objective='published'",
        ),
    ],
)
def test_settings_that_break_a_rule_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**changes).fit(X, Y)


def test_fractional_counts_and_empty_samples_are_refused() -> None:
    counts = np.arange(80.0).reshape(20, 4)
    with pytest.raises(ValueError, match=r"`X` must hold whole counts .*; got 0.5"):
        model(likelihood="negative_binomial").fit(counts + 0.5, Y)
    counts[7] = 0
    with pytest.raises(ValueError, match=r"at least one count in each sample; 1 have none, the first in row 7"):
        model(likelihood="negative_binomial").fit(counts, Y)


def test_features_in_another_order_or_number_are_refused() -> None:
    frame = pd.DataFrame(X, columns=["g0", "g1", "g2", "g3"])
    fitted = model().fit(frame, Y)
    with pytest.raises(ValueError, match=r"features in the order of the fit; feature 0 is 'g1', was 'g0'"):
        fitted.predict(frame[["g1", "g0", "g2", "g3"]])
    with pytest.raises(ValueError, match=r"the 4 features of the fit; missing: 'g3'; not known: 'h'"):
        fitted.predict(frame.rename(columns={"g3": "h"}))
    with pytest.raises(ValueError, match="X has 3 features, but SVQVAE is expecting 4 features"):
        model().fit(X, Y).predict(X[:, :3])


def test_images_of_another_shape_are_refused() -> None:
    images = np.random.default_rng(0).normal(size=(20, 8, 8))
    fitted = model(architecture="conv").fit(images, Y)
    with pytest.raises(ValueError, match=r"samples of shape \(8, 8\), as in the fit; got shape \(4, 16\)"):
        fitted.predict(images.reshape(20, 4, 16))
    with pytest.raises(ValueError, match=r"`image_shape` must be .* of 64 pixels in all; got \(8, 9\)"):
        model(architecture="conv", image_shape=(8, 9)).fit(images.reshape(20, 64), Y)


def test_a_label_column_that_does_not_exist_is_named() -> None:
    adata = anndata.AnnData(X.astype(np.float32), obs=pd.DataFrame({"kind": Y}, index=[str(i) for i in range(20)]))
    with pytest.raises(ValueError, match=r"`label` must be a column of .*; got 'knd'.*kind"):
        model().fit(adata, label="knd")
    with pytest.raises(TypeError, match=r"`label` and `layer` go with AnnData; got a ndarray"):
        model().fit(X, Y, label="kind")


def test_an_unknown_class_is_answered_with_the_closest_names() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of 2 classes; got 'c'. The classes are 'a', 'b'"):
        model().fit(X, Y).sample("c")


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_a_number_of_samples_that_is_none_is_refused(n: Any) -> None:
    with pytest.raises(ValueError, match=r"`n` must be a whole number of at least 1; got"):
        model().fit(X, Y).sample("a", n)


def test_labels_twice_or_of_an_odd_type_are_refused() -> None:
    adata = anndata.AnnData(X.astype(np.float32), obs=pd.DataFrame({"kind": Y}, index=[str(i) for i in range(20)]))
    with pytest.raises(TypeError, match=r"`label` and `y` cannot both be given; got label='kind' and 20 labels"):
        model().fit(adata, Y, label="kind")


NAMES = [f"s{k}" for k in range(20)]
KINDS = np.array(["c", "a", "b", "a"] * 5)
DONORS = np.repeat(["p", "q", "r", "t"], 5)


def annotated(matrix: Any = X, **parts: Any) -> anndata.AnnData:
    obs = pd.DataFrame({"kind": pd.Categorical(KINDS), "donor": DONORS}, index=NAMES)
    return anndata.AnnData(matrix, obs, pd.DataFrame(index=["g0", "g1", "g2", "g3"]), **parts)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[anndata.AnnData]:
    annotated().write_h5ad(tmp_path / "a.h5ad")
    adata = open_table(tmp_path / "a.h5ad", on_disk=True)
    yield adata
    adata.X.file.close()


@pytest.fixture(params=["memory", "disk"])
def samples(request: pytest.FixtureRequest, on_disk: anndata.AnnData) -> Samples:
    return read_samples(annotated() if request.param == "memory" else on_disk, label="kind", groups="donor")


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, pd.DataFrame])
def test_any_container_becomes_the_same_dense_rows(form: Callable[[Any], Any]) -> None:
    found = read_samples(form(X))
    assert type(found.rows) is np.ndarray
    np.testing.assert_array_equal(found.rows, X)
    assert (found.sample_shape, found.image_shape, found.feature_names) == ((4,), None, None)
    assert (found.y.tolist(), len(found.classes), found.groups) == ([-1] * 20, 0, None)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_annotated_data_become_dense_rows_with_names_labels_and_groups(form: Callable[[Any], Any]) -> None:
    found = read_samples(annotated(form(X), layers={"raw": form(2 * X)}), label="kind", groups="donor")
    assert type(found.rows) is np.ndarray
    np.testing.assert_array_equal(found.rows, X)
    assert found.feature_names is not None
    assert (found.feature_names.tolist(), found.labels.tolist()) == (["g0", "g1", "g2", "g3"], KINDS.tolist())
    np.testing.assert_array_equal(read_samples(annotated(layers={"raw": form(2 * X)}), layer="raw").rows, 2 * X)


def test_flags_become_numbers() -> None:
    assert read_samples(X > 0).rows.dtype == np.float32


def test_images_become_rows_that_know_their_shape() -> None:
    images = read_samples(X.reshape(10, 2, 2, 2))
    assert (images.rows.shape, images.sample_shape, images.image_shape) == ((10, 8), (2, 2, 2), None)
    flat = read_samples(annotated(uns={"image_shape": [2, 2]}))
    assert (flat.rows.shape, flat.sample_shape, flat.image_shape) == ((20, 4), (4,), (2, 2))


def test_groups_by_the_name_of_a_column_are_those_of_the_column(samples: Samples) -> None:
    by_array = read_samples(annotated(), groups=DONORS).groups
    np.testing.assert_array_equal(samples.groups, by_array)
    np.testing.assert_array_equal(samples.groups, np.repeat(np.arange(4), 5))
    with pytest.raises(ValueError, match=r"`groups` must be a column of adata.obs; got 'doner'. .* 'donor'"):
        read_samples(annotated(), groups="doner")
    adata = annotated()
    adata.obs["donor"] = [None, *DONORS[1:]]
    with pytest.raises(ValueError, match=r"`groups` must be a column without missing values; .* 1 of 20 .*: 's0'"):
        read_samples(adata, groups="donor")


def test_a_missing_group_in_an_array_is_a_group_of_its_own() -> None:
    found = read_samples(X[:4], groups=np.array(["p", None, "p", None], dtype=object)).groups
    np.testing.assert_array_equal(found, [0, 1, 0, 1])


def test_samples_are_read_again_as_they_are_or_with_other_labels_and_groups(samples: Samples) -> None:
    assert read_samples(samples, are_labelled=True) is samples
    other = read_samples(samples, y=Y, groups=np.arange(20) % 2)
    assert other.rows is samples.rows
    assert (other.labels.tolist(), other.groups.tolist()) == (Y.tolist(), [0, 1] * 10)
    with pytest.raises(ValueError, match="requires y to be passed"):
        read_samples(read_samples(X), are_labelled=True)


def test_a_subset_keeps_rows_labels_and_groups_aligned(samples: Samples) -> None:
    chosen = np.array([1, 2, 7, 8, 19])
    part = samples.subset(chosen)
    assert (len(part), part.stay_on_disk) == (5, samples.stay_on_disk)
    np.testing.assert_array_equal(part.rows[:], X[chosen])
    assert part.labels.tolist() == KINDS[chosen].tolist()
    assert part.groups.tolist() == [0, 0, 1, 1, 3]
    again = part.subset(np.array([0, 3]))
    np.testing.assert_array_equal(again.rows[:], X[[1, 8]])
    assert (again.labels.tolist(), again.classes.tolist()) == (KINDS[[1, 8]].tolist(), ["a", "b", "c"])
    assert part.fingerprint != samples.fingerprint


def test_renumbered_samples_count_only_classes_and_groups_that_are_there(samples: Samples) -> None:
    chosen = np.flatnonzero((KINDS != "a") & (DONORS != "q"))
    part = samples.subset(chosen).renumbered()
    assert part.classes.tolist() == ["b", "c"]
    assert part.labels.tolist() == KINDS[chosen].tolist()
    assert sorted(set(part.groups.tolist())) == [0, 1, 2]
    np.testing.assert_array_equal(part.groups, pd.factorize(DONORS[chosen])[0])
    np.testing.assert_array_equal(part.rows[:], X[chosen])


def test_renumbered_samples_without_a_label_stay_without() -> None:
    assert read_samples(X).renumbered().y.tolist() == [-1] * 20


@pytest.mark.parametrize("n_most", [2, 5, 7, 20, 99])
def test_some_samples_on_disk_come_into_memory_evenly_spaced(on_disk: anndata.AnnData, n_most: int) -> None:
    stored = read_samples(on_disk, label="kind", groups="donor")
    found = stored.in_memory(n_most)
    positions = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in found.rows]
    assert (len(found), found.stay_on_disk) == (min(n_most, 20), False)
    assert (positions[0], positions[-1]) == (0, 19)
    assert np.ptp(np.diff(positions)) <= 1
    assert found.labels.tolist() == KINDS[positions].tolist()
    assert found.groups.tolist() == pd.factorize(DONORS)[0][positions].tolist()
    in_memory = read_samples(annotated())
    assert in_memory.in_memory(n_most) is in_memory


def fingerprint_as_version_0_1_0(rows: NDArray[Any], index: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(f"{rows.shape} {rows.dtype}".encode())
    for start in range(0, len(rows), 8192):
        digest.update(np.ascontiguousarray(rows[start : start + 8192]).data)
    digest.update(np.ascontiguousarray(index).data)
    return digest.hexdigest()


def test_the_fingerprint_is_the_one_that_earlier_runs_hold(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    index = np.unique(KINDS, return_inverse=True)[1].astype(np.int64)
    monkeypatch.setattr("svqvae.data.samples.CHUNK", 7)
    assert samples.fingerprint == fingerprint_as_version_0_1_0(X, index)
    known = read_samples(np.arange(12.0).reshape(4, 3), [1, 0, 1, 0]).fingerprint
    assert known == "a516d947e393ca8aa0a87e6973b4f8be7fce0d6a1e7601a633ce810b7b739c4d"


def test_the_fingerprint_is_of_values_and_labels_alone(samples: Samples) -> None:
    bare = read_samples(X, KINDS)
    assert bare.fingerprint == read_samples(sparse.csr_matrix(X), KINDS).fingerprint == samples.fingerprint
    others = (read_samples(replaced(0, 0, 1.0), KINDS), read_samples(X, KINDS[::-1]), read_samples(X))
    others += (read_samples(X.astype(np.float32), KINDS), read_samples(X.T, KINDS[:4]))
    assert len({bare.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_the_fingerprint_is_computed_once(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    first = samples.fingerprint
    monkeypatch.setattr(hashlib, "sha256", None)
    assert samples.fingerprint == first


@pytest.mark.parametrize("n_most", [1, 6, 20, 99, None])
def test_blocks_are_all_rows_in_order(samples: Samples, n_most: int | None) -> None:
    parts = list(samples.blocks(n_most))
    assert [len(part) for part in parts[:-1]] == [n_most] * (len(parts) - 1)
    np.testing.assert_array_equal(np.concatenate(parts), X)


def test_rows_on_disk_are_found_infinite_where_they_are_read(tmp_path: Path) -> None:
    annotated(replaced(13, 2, np.inf)).write_h5ad(tmp_path / "b.h5ad")
    adata = open_table(tmp_path / "b.h5ad", on_disk=True)
    blocks = read_samples(adata).blocks(6)
    assert len(next(blocks)) == 6
    with pytest.raises(ValueError, match=r"got 1 NaN or infinite cells, the first \(inf\) in row 13, feature 'g2'"):
        list(blocks)
    adata.X.file.close()


def test_the_first_row_has_the_names_of_the_features(samples: Samples) -> None:
    head = samples.head()
    assert list(head.columns) == ["g0", "g1", "g2", "g3"]
    np.testing.assert_array_equal(head, X[:1])
    np.testing.assert_array_equal(read_samples(X).head(), X[:1])


def test_column_names_of_several_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match=r"column names that are all text, or none that is; got 3 among others"):
        read_samples(pd.DataFrame(X, columns=["g0", "g1", "g2", 3]))
    assert read_samples(pd.DataFrame(X, columns=[0, 1, 2, 3])).feature_names is None


def test_features_are_compared_where_both_sides_have_names() -> None:
    names = np.array(["g0", "g1"], dtype=object)
    check_features(None, names)
    check_features(names, None)
    check_features(names, names.copy())
    with pytest.raises(ValueError, match=r"in the order of the fit; feature 0 is 'g1', was 'g0'"):
        check_features(names[::-1], names)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_unlabelled_samples_without_a_group_are_left_out(missing: Any) -> None:
    groups = np.array(["p", missing, "q", "p", missing], dtype=object)
    found = read_unlabelled(X[:5], groups, None)
    assert found is not None
    np.testing.assert_array_equal(found.rows, X[[0, 2, 3]])
    assert (found.groups.tolist(), found.y.tolist()) == ([0, 1, 0], [-1, -1, -1])


def test_unlabelled_samples_name_a_column_or_bring_their_groups(on_disk: anndata.AnnData) -> None:
    brought = read_unlabelled(read_samples(annotated(), groups="donor"), None, None)
    for found in (brought, read_unlabelled(annotated(), "donor", None), read_unlabelled(on_disk, "donor", None)):
        assert found is not None
        np.testing.assert_array_equal(found.rows, X)
        assert found.groups.tolist() == np.repeat(np.arange(4), 5).tolist()
    raw = read_unlabelled(annotated(layers={"raw": 2 * X}), DONORS, "raw")
    assert raw is not None
    np.testing.assert_array_equal(raw.rows, 2 * X)


def test_unlabelled_samples_and_their_groups_come_together_or_not_at_all() -> None:
    assert read_unlabelled(None, None, None) is None
    with pytest.raises(ValueError, match=r"`unlabelled` must be given with `unlabelled_groups`; got None"):
        read_unlabelled(None, DONORS, None)
    with pytest.raises(ValueError, match=r"`unlabelled_groups` must say which .* got None\. Nothing is learnt"):
        read_unlabelled(X, None, None)
    with pytest.raises(ValueError, match=r"`groups` must name a group for each of 20 samples; got 3"):
        read_unlabelled(X, DONORS[:3], None)


def test_numpy_text_names_features_as_plain_text_does() -> None:
    frame = pd.DataFrame(X, columns=pd.Index([np.str_(f"g{k}") for k in range(X.shape[1])], dtype=object))
    fitted = model().fit(frame, Y)
    assert fitted.feature_names_in_.tolist() == fitted.fitted_.feature_names.tolist() == list(frame.columns)
    assert {type(name) for name in fitted.fitted_.feature_names} == {str}


def test_numbers_for_names_are_refused_where_features_have_names() -> None:
    fitted = model().fit(pd.DataFrame(X, columns=["a", "b", "c", "d"]), Y)
    with pytest.raises(ValueError, match=r"`X` must have the 4 features of the fit; missing: 'a', .* not known: '0'"):
        fitted.predict(pd.DataFrame(X))
