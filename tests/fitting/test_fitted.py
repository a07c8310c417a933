"""What was learnt answers as the estimator does, and takes no samples but those like the fit's."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from svqvae import SVQVAE
from svqvae.data.samples import read_samples
from svqvae.fitting.fitted import Fitted

pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

NAMES = ["g0", "g1", "g2", "g3"]
Y = np.array(["a", "b", "c"])[np.arange(45) % 3]
MEANS = 3 * np.eye(3, 4)[np.arange(45) % 3]
TABLE = pd.DataFrame(MEANS + np.random.default_rng(0).normal(size=(45, 4)), columns=NAMES)
COUNTS = np.random.default_rng(0).poisson(5 + 3 * MEANS)
IMAGES = np.random.default_rng(0).uniform(size=(45, 8, 8)) + MEANS[:, :1, None]
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "table": (TABLE, {}),
    "cosine": (TABLE, {"geometry": "cosine"}),
    "published": (TABLE, {"objective": "published"}),
    "counts": (COUNTS, {"likelihood": "negative_binomial"}),
    "images": (IMAGES, {"architecture": "conv"}),
}


def fit(X: Any, **changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 2, "latent_dim": 4, "hidden": (8,), "random_state": 0, **changes}).fit(X, Y)


@pytest.fixture(scope="module")
def models() -> dict[str, SVQVAE]:
    return {name: fit(X, **changes) for name, (X, changes) in CASES.items()}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, models: dict[str, SVQVAE]) -> tuple[SVQVAE, Fitted, Any, NDArray[Any]]:
    """Return a model, what it learnt, samples, and the same as rows."""
    X = CASES[request.param][0]
    return models[request.param], models[request.param].fitted_, X, np.asarray(X).reshape(len(X), -1)


@pytest.fixture
def fitted(models: dict[str, SVQVAE]) -> Fitted:
    return models["table"].fitted_


def test_encoding_and_decoding_agree_with_the_estimator(case: Any) -> None:
    model, fitted, X, rows = case
    latents = fitted.encode(rows)
    np.testing.assert_array_equal(latents.numpy(), model.transform(X))
    np.testing.assert_array_equal(fitted.decode(latents), model.inverse_transform(latents.numpy()))
    assert fitted.decode(latents).shape == np.shape(X)
    np.testing.assert_array_equal(fitted.encode_read(fitted.read(rows)).numpy(), latents.numpy())


def test_reconstructions_and_profiles_agree_with_the_estimator(case: Any) -> None:
    model, fitted, X, rows = case
    np.testing.assert_array_equal(fitted.reconstruct(rows), model.reconstruct(X))
    np.testing.assert_array_equal(fitted.reconstruct(rows, fitted.encode(rows)), fitted.reconstruct(rows))
    assert fitted.reconstruct(rows).shape == np.shape(X)
    np.testing.assert_array_equal(fitted.class_profiles(), model.class_profiles())


def test_draws_agree_with_the_estimator(case: Any) -> None:
    model, fitted, X, _ = case
    drawn = fitted.sample("b", 7, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, model.sample("b", 7, random_state=3))
    assert drawn.shape == (7, *np.shape(X)[1:])


def test_classes_and_probabilities_agree_with_the_estimator_and_scipy(case: Any) -> None:
    model, fitted, X, rows = case
    recognizer, latents = fitted.recognizer(), fitted.encode(rows)
    np.testing.assert_array_equal(fitted.classes[recognizer.nearest(latents)], model.predict(X))
    shares = recognizer.probabilities(latents)
    np.testing.assert_array_equal(shares, model.predict_proba(X))
    points = latents.numpy().astype(np.float64)
    is_cosine = fitted.recipe.design.geometry == "cosine"
    codes = fitted.codebook / (np.linalg.norm(fitted.codebook, axis=1, keepdims=True) if is_cosine else 1)
    distances = np.square(points[:, None] - codes[None]).sum(-1)
    expected = softmax(-distances / fitted.recipe.design.temperature, axis=1)
    np.testing.assert_allclose(shares, expected, rtol=1e-3, atol=1e-4)


def test_counts_are_reconstructed_at_their_own_total_and_decoded_at_the_median(models: dict[str, SVQVAE]) -> None:
    fitted = models["counts"].fitted_
    np.testing.assert_allclose(fitted.reconstruct(COUNTS).sum(1), COUNTS.sum(1), rtol=1e-4)
    decoded = fitted.decode(fitted.encode(COUNTS))
    np.testing.assert_allclose(decoded.sum(1), np.median(COUNTS.sum(1)), rtol=1e-4)
    doubled = fitted.decode(fitted.encode(COUNTS), torch.full((45,), 2 * np.median(COUNTS.sum(1))))
    np.testing.assert_allclose(doubled, 2 * decoded, rtol=1e-4)


def test_the_published_decoder_is_given_the_nearest_code(models: dict[str, SVQVAE]) -> None:
    fitted, rows = models["published"].fitted_, TABLE.to_numpy()
    own = fitted.recognizer().nearest(fitted.encode(rows))
    np.testing.assert_allclose(fitted.reconstruct(rows), fitted.class_profiles()[own], rtol=1e-5, atol=1e-5)


def test_labelled_samples_have_the_classes_of_the_fit(fitted: Fitted) -> None:
    found = fitted.labelled(TABLE[1:3], Y[1:3])
    assert (found.classes.tolist(), found.y.tolist()) == (["a", "b", "c"], [1, 2])
    assert found.labels.tolist() == ["b", "c"]
    np.testing.assert_array_equal(found.rows, TABLE[1:3])
    assert fitted.labelled(found, found.labels).y.tolist() == [1, 2]


def test_labels_of_unknown_classes_are_refused(fitted: Fitted) -> None:
    with pytest.raises(ValueError, match=r"`y_test` must hold classes of the fit; got .*'d'.*, which is none of them"):
        fitted.labelled(TABLE[:3], ["a", "d", "b"], "y_test")
    with pytest.raises(ValueError, match=r"`y` must hold classes of the fit; got "):
        fitted.labelled(TABLE[:3], [0, 1, 2])


@pytest.mark.parametrize("n", [2, 4])
def test_labels_for_another_number_of_samples_are_refused(n: int, fitted: Fitted) -> None:
    with pytest.raises(ValueError, match=rf"`y` must have a label for each of the 3 samples; got {n}"):
        fitted.labelled(TABLE[:3], Y[:n])


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_labels_are_refused_in_a_sentence(missing: Any, fitted: Fitted) -> None:
    with pytest.raises(ValueError, match=r"`y` must "):
        fitted.labelled(TABLE[:3], np.array(["a", missing, "b"], dtype=object))


def test_samples_with_the_features_of_the_fit_are_accepted_as_they_are(fitted: Fitted) -> None:
    for X in (TABLE, TABLE.to_numpy()):
        samples = read_samples(X)
        assert fitted.accept(samples) is samples


def test_samples_with_other_features_are_refused(fitted: Fitted) -> None:
    for X, message in (
        (TABLE[NAMES[::-1]], r"in the order of the fit; feature 0 is 'g3', was 'g0'"),
        (TABLE.rename(columns={"g3": "h"}), r"the 4 features of the fit; missing: 'g3'; not known: 'h'"),
        (TABLE[NAMES[:3]], r"the 4 features of the fit; missing: 'g3'; not known: none"),
        (TABLE.to_numpy()[:, :3], r"X has 3 features, but SVQVAE is expecting 4 features as input"),
        (TABLE.to_numpy().reshape(45, 2, 2), r"samples of shape \(4,\), as in the fit; got shape \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.accept(read_samples(X))


def test_images_of_another_shape_are_refused(models: dict[str, SVQVAE]) -> None:
    with pytest.raises(ValueError, match=r"samples of shape \(8, 8\), as in the fit; got shape \(4, 16\)"):
        models["images"].fitted_.accept(read_samples(IMAGES.reshape(45, 4, 16)))


@pytest.mark.parametrize("n_most", [1, 7, 45, 99])
def test_blocks_are_all_rows_in_order(n_most: int, fitted: Fitted) -> None:
    parts = list(fitted.blocks(read_samples(TABLE), n_most))
    assert max(len(part) for part in parts) == min(n_most, 45)
    np.testing.assert_array_equal(np.concatenate(parts), TABLE)


def test_new_samples_that_are_no_counts_are_refused_by_row(models: dict[str, SVQVAE]) -> None:
    wrong = COUNTS.copy()
    wrong[23] = 0
    with pytest.raises(ValueError, match=r"at least one count in each sample; 1 have none, the first in row 23"):
        list(models["counts"].fitted_.blocks(read_samples(wrong), 10))


def test_more_can_be_said_of_what_it_was_made_of(fitted: Fitted) -> None:
    before = dict(fitted.origin)
    found = fitted.made_of(label="kind", n_samples=7)
    assert found.origin == {**before, "label": "kind", "n_samples": 7}
    assert fitted.origin == before
    assert (found.module, found.atlas, found.fingerprint) == (fitted.module, fitted.atlas, fitted.fingerprint)


def test_what_is_known_of_the_fit_is_that_of_its_parts(fitted: Fitted, models: dict[str, SVQVAE]) -> None:
    assert (fitted.classes.tolist(), fitted.sample_shape, fitted.seed) == (["a", "b", "c"], (4,), 0)
    assert fitted.codebook.shape == (3, 4)
    assert fitted.feature_names is not None
    assert fitted.feature_names.tolist() == NAMES
    assert models["images"].fitted_.sample_shape == (8, 8)
    assert fitted.origin["n_samples"] == fitted.origin["n_trained"] == 45
    assert fitted.origin["sha256"] == read_samples(TABLE, Y).fingerprint


@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_a_fit_that_was_stopped_says_so(fitted: Fitted) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    model = SVQVAE(n_epochs=3, latent_dim=4, hidden=(8,), random_state=0).fit(TABLE, Y, on_epoch=stop)
    assert (model.fitted_.is_interrupted, model.fitted_.n_iter) == (True, 1)
    assert not fitted.is_interrupted


def test_a_class_is_drawn_by_its_name_only(fitted: Fitted) -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of 3 classes; got 'd'"):
        fitted.sample("d", 1, np.random.default_rng(0))
