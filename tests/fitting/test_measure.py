"""What is known of the classes once the network is trained, against numpy on networks of one layer."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from torch import Tensor, nn

from svqvae import SVQVAE
from svqvae.atlas.confidence import cross_fitted_surprises
from svqvae.data.samples import read_samples
from svqvae.data.units import UNITS, Units
from svqvae.fitting.measure import (
    Findings,
    Picked,
    Trained,
    calibrate,
    give_codes_to_classes,
    know_codes_only,
    look_once,
    measure,
    missing_noise,
    surprises_of,
)
from svqvae.fitting.reading import batches_of
from svqvae.model import inference
from svqvae.model.batches import Batches
from svqvae.model.likelihood import LIKELIHOODS
from svqvae.model.module import SVQVAEModule
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes
from svqvae.parameters import Facts, resolve

K, P, D, N = 3, 5, 2, 90
NAMES = np.array(["B", "NK", "T"])
Y = np.arange(N) % K
# The samples of each class.
OWN = [np.arange(k, N, K) for k in range(K)]
X = (np.random.default_rng(0).normal(size=(N, P)) + 3 * np.eye(K, P)[Y]) * [1, 2, 3, 1, 1] + 7
COUNTS = np.random.default_rng(0).poisson(4 + 30 * np.eye(K, P)[Y] * np.random.default_rng(1).uniform(1, 9, (N, 1)))
Array = NDArray[Any]


def train(data: Array = X, likelihood: str = "gaussian", is_supervised: bool = True) -> Trained:
    """Return a network of one layer each way, and codes at the class means of its latents."""
    given = {**SVQVAE(latent_dim=D, likelihood=likelihood).get_params(deep=False), "temperature": 0.5}
    recipe = resolve(given, Facts(len(data), len(data), n_features=P, n_classes=K), seed=3)
    torch.manual_seed(0)
    codebook = ClassMeanCodes(K, D) if is_supervised else GradientCodes(K, D)
    parts = (nn.Linear(P, D), codebook, nn.Linear(D, P), LIKELIHOODS[likelihood](P))
    module = SVQVAEModule(*parts, is_supervised=is_supervised).eval()
    # By the first two features the classes are told apart.
    module.encoder.weight.data.mul_(0.2).add_(torch.eye(D, P))
    units = UNITS[recipe.design.units].measure(data)
    latents = module.encoder(torch.as_tensor(units.apply(data))).detach()
    with torch.no_grad():
        codebook.codes.copy_(torch.stack([latents[own].mean(0) for own in OWN]))
    return Trained(recipe, module, units, NAMES, None, (P,), "fingerprint")


def batches(data: Array, units: Units, chosen: Array | None = None, batch_size: int = 16) -> Batches:
    samples = read_samples(data, NAMES[Y])
    chosen = np.arange(len(data)) if chosen is None else chosen
    return batches_of(samples, chosen, units, (P,), batch_size, seed=0, max_shift=0)


def latents_of(trained: Trained, data: Array = X) -> Array:
    weight, bias = (part.detach().numpy().astype(np.float64) for part in trained.module.encoder.parameters())
    return trained.units.apply(data) @ weight.T + bias


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train()


@pytest.fixture(scope="module")
def found(trained: Trained) -> Findings:
    return measure(trained, batches(X, trained.units))


def test_counts_means_and_codes_are_those_of_numpy(trained: Trained, found: Findings) -> None:
    atlas, rows = found.atlas, (X - X.mean(0)) / trained.units.scale
    assert (atlas.names, atlas.counts.tolist()) == (("B", "NK", "T"), [30, 30, 30])
    np.testing.assert_allclose(atlas.means, [rows[own].mean(0) for own in OWN], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(atlas.codes, [latents_of(trained)[own].mean(0) for own in OWN], atol=1e-5)
    weight, bias = (part.detach().numpy().astype(np.float64) for part in trained.module.decoder.parameters())
    np.testing.assert_allclose(atlas.decoded, atlas.codes @ weight.T + bias, atol=1e-6)
    assert atlas.feature_names == ("x0", "x1", "x2", "x3", "x4")
    np.testing.assert_allclose(atlas.center, X.mean(0))
    assert (atlas.fingerprint, atlas.sample_shape, atlas.scale.shape) == ("fingerprint", (P,), (P,))


def test_the_nearest_code_of_each_sample_is_that_of_scipy(trained: Trained, found: Findings) -> None:
    nearest = cdist(latents_of(trained), found.atlas.codes).argmin(1)
    np.testing.assert_array_equal(look_once(trained, batches(X, trained.units)).nearest, nearest)
    n_foreign = np.bincount(nearest[nearest != Y], minlength=K)
    assert found.health["n_foreign"].tolist() == n_foreign.tolist()
    assert found.health["n_own"].tolist() == [30, 30, 30]
    assert found.health["displacement"].max() < 1e-5


def test_noise_is_the_spread_that_decoded_draws_lack(trained: Trained, found: Findings) -> None:
    def within(rows: Array) -> Array:
        return sum(((rows[own] - rows[own].mean(0)) ** 2).sum(0) for own in OWN) / (N - K)

    weight, bias = (part.detach().numpy().astype(np.float64) for part in trained.module.decoder.parameters())
    rng, draws = np.random.default_rng(3), np.empty((N, D))
    for k, own in enumerate(OWN):
        draws[own] = found.atlas.density.draw(k, 30, rng)
    lacking = within(trained.units.apply(X).astype(np.float64)) - within(draws @ weight.T + bias)
    np.testing.assert_allclose(found.noise, np.sqrt(np.maximum(0, lacking)), rtol=1e-3)
    assert found.noise.max() > 0.3


@pytest.mark.parametrize("gain", [0.0, 100.0])
def test_a_decoder_that_gives_nothing_lacks_all_noise_and_one_that_gives_too_much_none(
    gain: float, trained: Trained, found: Findings
) -> None:
    other, real = train().module, np.full(P, 4.0)
    other.decoder.weight.data.mul_(gain)
    noise = missing_noise(other, Y, real, found.atlas.density, seed=0)
    np.testing.assert_allclose(noise, 0.0 if gain else 2.0)


@pytest.mark.parametrize("batch_size", [1, 7, 90])
def test_findings_do_not_depend_on_the_batches(batch_size: int, trained: Trained, found: Findings) -> None:
    again = measure(trained, batches(X, trained.units, batch_size=batch_size))
    np.testing.assert_allclose(again.atlas.means, found.atlas.means, rtol=1e-5)
    np.testing.assert_allclose(again.atlas.density.means, found.atlas.density.means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again.atlas.profile_spread.pooled, found.atlas.profile_spread.pooled, rtol=1e-5)
    np.testing.assert_allclose(again.noise, found.noise, rtol=1e-4)
    assert again.health["n_foreign"].tolist() == found.health["n_foreign"].tolist()


def test_each_sample_is_encoded_once(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, encoded = inference.encode, []

    def counted(module: SVQVAEModule, inputs: Tensor) -> Tensor:
        encoded.append(len(inputs))
        return encode(module, inputs)

    monkeypatch.setattr(inference, "encode", counted)
    measure(trained, batches(X, trained.units))
    assert sum(encoded) == N


def test_without_samples_held_out_surprises_alone_are_calibrated(trained: Trained, found: Findings) -> None:
    calibration = found.atlas.calibration
    assert calibration is not None
    assert not calibration.covers
    lengths = [len(getattr(calibration, name)) for name in ("surprises", "code_surprises", "own_probabilities")]
    assert lengths == [N, 0, 0]
    expected = cross_fitted_surprises(trained.units.apply(X), Y, None, 3)
    np.testing.assert_allclose(calibration.surprises, expected)
    np.testing.assert_array_equal(calibration.means, found.atlas.means)


def test_groups_are_kept_whole_where_surprises_are_calibrated(trained: Trained) -> None:
    training, groups = batches(X, trained.units), np.arange(N) // 9
    found = measure(trained, training, groups=groups).atlas.calibration
    assert found is not None
    expected = cross_fitted_surprises(trained.units.apply(X), Y, groups, 3)
    np.testing.assert_allclose(found.surprises, expected)
    np.testing.assert_allclose(surprises_of(training, groups, 3), expected)


def test_samples_held_out_have_all_scores_in_rising_order(trained: Trained) -> None:
    kept, held_out = np.arange(60), np.arange(60, N)
    parts = [batches(X, trained.units, chosen) for chosen in (kept, held_out)]
    found = measure(trained, *parts).atlas
    calibration = found.calibration
    assert calibration is not None
    assert calibration.covers
    distances = cdist(latents_of(trained, X[held_out]), found.codes, "sqeuclidean")
    shares = softmax(-distances / 0.5, axis=1)[np.arange(30), Y[held_out]]
    np.testing.assert_allclose(calibration.own_probabilities, np.sort(shares), rtol=1e-4)
    for scores in (calibration.surprises, calibration.code_surprises):
        assert len(scores) == 30
        assert (np.diff(scores) >= 0).all()
    assert found.counts.tolist() == [20, 20, 20]


def test_without_a_spread_of_latents_codes_surprise_nobody(trained: Trained, found: Findings) -> None:
    spread = found.atlas.profile_spread
    assert spread is not None
    scores = calibrate(trained, batches(X, trained.units), found.atlas.means, spread, None)
    assert (len(scores.surprises), len(scores.code_surprises), len(scores.own_probabilities)) == (N, 0, N)


def test_classes_of_one_sample_each_have_no_spread_and_no_calibration(trained: Trained) -> None:
    found = measure(trained, batches(X, trained.units, np.arange(K))).atlas
    assert found.counts.tolist() == [1, 1, 1]
    assert found.profile_spread is found.code_spread is found.calibration is None


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0], [0, 1, 2]])
def test_unsupervised_codes_are_given_to_the_classes_they_serve(order: list[int]) -> None:
    trained, expected = train(is_supervised=False), train().module.quantizer.codes
    with torch.no_grad():
        trained.module.quantizer.codes.copy_(expected[order])
    found = measure(trained, batches(X, trained.units))
    np.testing.assert_array_equal(found.atlas.codes, expected)
    torch.testing.assert_close(trained.module.quantizer.codes.detach(), expected)
    assert found.health["n_foreign"].sum() < N / 4


def test_as_many_samples_as_can_be_lie_nearest_to_the_code_of_their_class() -> None:
    trained, rng = train(is_supervised=False), np.random.default_rng(0)
    nearest, before = rng.integers(K, size=N), trained.module.quantizer.codes.detach().clone()
    renamed = give_codes_to_classes(trained.module, nearest, Y)
    best = max(np.mean(np.array(order)[nearest] == Y) for order in itertools.permutations(range(K)))
    assert (renamed == Y).mean() == best
    # The code that was nearest to a sample is so under its new name.
    torch.testing.assert_close(trained.module.quantizer.codes.detach()[renamed], before[nearest])


def test_supervised_codes_stay_where_they_are(trained: Trained, found: Findings) -> None:
    np.testing.assert_array_equal(found.atlas.codes, train().module.quantizer.codes)


def test_of_counts_shares_are_averaged() -> None:
    trained = train(COUNTS, "negative_binomial")
    found = measure(trained, batches(COUNTS, trained.units)).atlas
    shares = COUNTS / COUNTS.sum(1, keepdims=True)
    means = np.stack([shares[own].mean(0) for own in OWN])
    logs = np.log1p(1e4 * shares)
    scale = trained.units.scale
    np.testing.assert_allclose(found.means, (np.log1p(1e4 * means) - logs.mean(0)) / scale, rtol=1e-4, atol=1e-5)
    assert np.abs(found.means - [((logs - logs.mean(0)) / scale)[own].mean(0) for own in OWN]).max() > 0.01
    weight, bias = (part.detach().numpy().astype(np.float64) for part in trained.module.decoder.parameters())
    decoded = np.log1p(1e4 * softmax(found.codes @ weight.T + bias, axis=1))
    np.testing.assert_allclose(found.decoded, (decoded - logs.mean(0)) / scale, rtol=1e-4, atol=1e-4)


def test_a_deeper_count_of_the_same_samples_has_the_same_means() -> None:
    trained = train(COUNTS, "negative_binomial")
    plain, deep = (measure(trained, batches(factor * COUNTS, trained.units)).atlas for factor in (1, 7))
    np.testing.assert_allclose(deep.means, plain.means, rtol=1e-5)
    np.testing.assert_allclose(deep.codes, plain.codes)


def test_a_network_without_samples_tells_its_codes_alone(trained: Trained, found: Findings) -> None:
    known = know_codes_only(replace(trained, feature_names=np.array(list("abcde"), dtype=object)))
    np.testing.assert_array_equal(known.atlas.codes, found.atlas.codes)
    np.testing.assert_array_equal(known.atlas.decoded, found.atlas.decoded)
    assert known.atlas.feature_names == tuple("abcde")
    assert (known.atlas.counts.tolist(), known.noise.tolist()) == ([0] * K, [0.0] * P)
    assert np.isnan(known.atlas.means).all()
    parts = (known.atlas.code_spread, known.atlas.profile_spread, known.atlas.density, known.atlas.calibration)
    assert parts == (None, None, None, None)
    assert known.health["is_silent"].isna().all()


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 4, 3], [9, 1]])
def test_rows_are_picked_whatever_parts_they_come_in(sizes: list[int]) -> None:
    rows, positions = np.arange(30, dtype=np.float32).reshape(10, 3), np.array([0, 2, 3, 9])
    picked = Picked(positions, 3)
    start = 0
    for size in sizes:
        picked.add(start, rows[start : start + size])
        start += size
    np.testing.assert_array_equal(picked.rows, rows[positions])
