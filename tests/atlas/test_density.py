"""Class densities against planted Gaussians and scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import OAS, empirical_covariance, shrunk_covariance

from svqvae.atlas import density as density_module
from svqvae.atlas.density import MAX_CLOUDS, MIN_CLOUD, ClassDensity, fit_density

D = 5
Latents = NDArray[np.float32]


def planted(n: int, seed: int = 0, latent_dim: int = D) -> Latents:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(latent_dim, latent_dim))
    return (3 + rng.normal(size=(n, latent_dim)) @ mixing).astype(np.float32)


def one_class(latents: Latents) -> ClassDensity:
    return fit_density(latents, np.zeros(len(latents), dtype=np.int64), 1, seed=0)


def covariance(density: ClassDensity, cloud: int = 0) -> NDArray[np.float64]:
    factors = density.factors[cloud].astype(np.float64)
    return factors @ factors.T + density.even_variances[cloud] * np.eye(len(factors))


def chen_weight(S: NDArray[np.float64], n: int) -> float:
    """Transcribe equation 23 of Chen et al. (2010)."""
    p, squares, total = len(S), np.trace(S @ S), np.trace(S) ** 2
    return float(min(1, ((1 - 2 / p) * squares + total) / ((n + 1 - 2 / p) * (squares - total / p))))


@pytest.mark.parametrize(("n", "latent_dim"), [(70, D), (12, D), (7, 30), (2, 3), (79, 60)])
def test_the_covariance_is_shrunk_as_by_chen(n: int, latent_dim: int) -> None:
    latents = planted(n, latent_dim=latent_dim).astype(np.float64)
    density = one_class(latents.astype(np.float32))
    S = empirical_covariance(latents) * n / (n - 1)
    expected = shrunk_covariance(S, chen_weight(S, n))
    np.testing.assert_allclose(covariance(density), expected, rtol=1e-4, atol=1e-4 * np.trace(S) / latent_dim)
    np.testing.assert_allclose(density.means[0], latents.mean(0), rtol=1e-6)


@pytest.mark.parametrize(("n", "latent_dim"), [(40, 60), (79, 100)])
def test_the_covariance_nears_that_of_scikit_learn(n: int, latent_dim: int) -> None:
    latents = planted(n, latent_dim=latent_dim)
    oracle = OAS().fit(latents).covariance_ * n / (n - 1)
    # scikit-learn leaves out the terms 2 / latent_dim of the weight.
    difference = np.linalg.norm(covariance(one_class(latents)) - oracle) / np.linalg.norm(oracle)
    assert difference < 2 / latent_dim


@pytest.mark.parametrize("n", [6, 79])
def test_a_low_rank_keeps_the_total_variance_and_the_first_directions(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    latents = planted(n, latent_dim=20)
    whole = covariance(one_class(latents))
    monkeypatch.setattr(density_module, "MAX_RANK", 3)
    cut = one_class(latents)
    assert cut.factors.shape == (1, 20, 3)
    assert np.trace(covariance(cut)) == pytest.approx(np.trace(whole), rel=1e-5)
    first = np.linalg.eigvalsh(whole)[-3:]
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance(cut))[-3:], first, rtol=1e-4)


def test_draws_have_the_mean_and_the_covariance_of_the_density() -> None:
    density = one_class(planted(79))
    drawn = density.draw(0, 50_000, np.random.default_rng(0))
    spread = np.sqrt(np.diag(covariance(density)))
    np.testing.assert_allclose((drawn.mean(0) - density.means[0]) / spread, 0, atol=0.02)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(spread, spread), covariance(density) / np.outer(spread, spread), atol=0.03
    )


def test_draws_follow_the_planted_gaussian() -> None:
    latents = planted(90_000)
    drawn = one_class(latents[:5000]).draw(0, 50_000, np.random.default_rng(0))
    spread = latents.std(0)
    np.testing.assert_allclose((drawn.mean(0) - latents.mean(0)) / spread, 0, atol=0.06)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(latents.T), atol=0.08)
    np.testing.assert_allclose(drawn.std(0) / spread, 1, atol=0.08)


def test_weights_add_up_to_one_in_each_class() -> None:
    y = np.repeat(np.arange(4), [1, 30, 250, 700])
    density = fit_density(planted(len(y)), y, 4, seed=0)
    np.testing.assert_allclose(np.bincount(density.class_index, density.weights), 1)
    assert density.weights.min() > 0


@pytest.mark.parametrize(
    ("n", "n_clouds"), [(1, 1), (2 * MIN_CLOUD - 1, 1), (3 * MIN_CLOUD, 3), (MIN_CLOUD * (MAX_CLOUDS + 9), MAX_CLOUDS)]
)
def test_a_big_class_gets_several_clouds(n: int, n_clouds: int) -> None:
    assert len(one_class(planted(n)).weights) == n_clouds


def test_clouds_find_the_parts_of_a_class() -> None:
    centers = np.array([[0.0, 0], [50, 0]])
    n = MIN_CLOUD // 2
    latents = np.repeat(centers, [3 * n, 2 * n], axis=0) + np.random.default_rng(0).normal(size=(5 * n, 2))
    density = one_class(latents.astype(np.float32))
    order = density.means[:, 0].argsort()
    np.testing.assert_allclose(density.weights[order], [0.6, 0.4])
    np.testing.assert_allclose(density.means[order], centers, atol=0.5)
    assert not ((density.draw(0, 1000, np.random.default_rng(0))[:, 0] - 25) ** 2 < 15**2).any()


def test_draws_come_from_the_clouds_of_the_asked_class_only() -> None:
    y = np.repeat([0, 1, 2], [250, 30, 1])
    latents = planted(len(y)) / 10 + 100 * y[:, None].astype(np.float32)
    density = fit_density(latents, y, 3, seed=0)
    for k in range(3):
        drawn = density.draw(k, 400, np.random.default_rng(k))
        assert drawn.shape == (400, D)
        assert drawn.dtype == np.float32
        assert (np.abs(drawn - 100 * k) < 50).all()


def test_a_class_of_one_sample_takes_the_mean_variance_of_the_others() -> None:
    y = np.repeat([0, 1, 2], [60, 39, 1])
    latents = planted(len(y))
    density = fit_density(latents, y, 3, seed=0)
    within = sum(((latents[y == k] - latents[y == k].mean(0)) ** 2).sum() for k in range(3))
    assert density.even_variances[2] == pytest.approx(within / (100 - 3) / D, rel=1e-5)
    assert not density.factors[2].any()
    np.testing.assert_array_equal(density.means[2], latents[-1])


def test_one_sample_in_all_draws_itself() -> None:
    latents = planted(1)
    np.testing.assert_array_equal(
        one_class(latents).draw(0, 3, np.random.default_rng(0)), np.repeat(latents, 3, axis=0)
    )


@pytest.mark.parametrize("n", [2, 50, 300])
def test_samples_that_are_all_alike_draw_themselves(n: int) -> None:
    latents = np.full((n, D), 2.5, dtype=np.float32)
    np.testing.assert_allclose(one_class(latents).draw(0, 4, np.random.default_rng(0)), 2.5)


def test_a_big_class_of_few_distinct_samples_is_fitted() -> None:
    latents = np.repeat(np.eye(2, D, dtype=np.float32), [499, 1], axis=0)
    density = one_class(latents)
    assert density.weights.sum() == pytest.approx(1)
    assert np.isfinite(density.means).all()


def test_the_same_seed_gives_the_same_density_and_draws() -> None:
    y = np.repeat([0, 1], [400, 20])
    first, second = (fit_density(planted(420), y, 2, seed=3) for _ in range(2))
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(second, name))
    drawn = [each.draw(0, 9, np.random.default_rng(1)) for each in (first, second)]
    np.testing.assert_array_equal(*drawn)


def test_permuting_the_classes_permutes_the_clouds() -> None:
    y = np.repeat([0, 1, 2], [40, 30, 1])
    latents, order = planted(71), np.array([2, 0, 1])
    plain, permuted = fit_density(latents, y, 3, seed=0), fit_density(latents, order[y], 3, seed=0)
    np.testing.assert_allclose(permuted.means[order], plain.means)
    np.testing.assert_allclose(permuted.even_variances[order], plain.even_variances, rtol=1e-5)
    for k in range(3):
        np.testing.assert_allclose(covariance(permuted, order[k]), covariance(plain, k), rtol=1e-4, atol=1e-5)
