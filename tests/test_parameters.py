"""How hyper-parameters that are left open are chosen."""

import numpy as np
import pytest

from svqvae import SVQVAE, parameters


@pytest.mark.parametrize(("n_samples", "expected"), [(10, 16), (1000, 50), (10**6, 256)])
def test_a_batch_is_a_twentieth_of_the_samples_within_bounds(n_samples: int, expected: int) -> None:
    assert parameters.resolve_batch_size(SVQVAE(), n_samples) == expected


@pytest.mark.parametrize(("n_batches", "expected"), [(1, 100), (40, 50), (10_000, 25)])
def test_there_are_about_2000_steps(n_batches: int, expected: int) -> None:
    assert parameters.resolve_n_epochs(SVQVAE(), n_batches) == expected
    assert parameters.resolve_n_epochs(SVQVAE(n_epochs=7), n_batches) == 7


@pytest.mark.parametrize(("architecture", "expected"), [("dense", 1.0), ("conv", 0.05)])
def test_dense_networks_decay_faster(architecture: str, expected: float) -> None:
    assert parameters.resolve_weight_decay(SVQVAE(architecture=architecture)) == expected
    assert parameters.resolve_weight_decay(SVQVAE(architecture=architecture, weight_decay=0.2)) == 0.2
    assert parameters.resolve_weight_decay(SVQVAE(architecture=architecture, weight_decay=0)) == 0


def test_the_published_values_stay() -> None:
    model = SVQVAE.published("lincs")
    assert parameters.resolve_commitment_cost(model) == 0.25
    assert parameters.resolve_learning_rate(model) == 1e-4
    assert parameters.resolve_hidden(model) == ()
    assert parameters.resolve_n_settling_epochs(model, 900) == 0
    assert parameters.resolve_max_shift(SVQVAE.published("mnist"), (1, 28, 28)) == 0


def test_a_seed_comes_from_all_that_scikit_learn_takes() -> None:
    a, b = np.random.RandomState(1), np.random.RandomState(1)
    assert parameters.resolve_seed(a) == parameters.resolve_seed(b)
    assert parameters.resolve_seed(np.random.default_rng(1)) == parameters.resolve_seed(np.random.default_rng(1))
    assert parameters.resolve_seed(5) == 5
    assert parameters.resolve_seed(None) >= 0
    with pytest.raises(ValueError, match=r"`random_state` must be None, a generator or a whole number from 0; got -1"):
        parameters.resolve_seed(-1)
