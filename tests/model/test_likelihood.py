"""The likelihoods against scipy and numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch.nn import functional

from svqvae.model.likelihood import LIKELIHOODS, Bernoulli, Bounded, Gaussian, Likelihood, NegativeBinomial

N, P = 7, 5


@pytest.fixture
def output() -> torch.Tensor:
    return torch.randn(N, P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ones() -> torch.Tensor:
    return torch.ones(N, dtype=torch.float64)


def negative_binomial() -> NegativeBinomial:
    likelihood = NegativeBinomial(P).double()
    with torch.no_grad():
        likelihood.log_dispersion.copy_(torch.linspace(-2, 3, P))
    return likelihood


def test_gaussian_mean_is_the_output_and_its_error_the_squared_one(output, ones) -> None:
    target = torch.full_like(output, 0.5)
    assert torch.equal(Gaussian().mean(output, ones), output)
    expected = ((output.numpy() - 0.5) ** 2).mean()
    assert Gaussian().error(output, target, ones).item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(N, P), (N, 3, 8, 8)])
def test_the_gradient_of_the_squared_error_is_that_of_torch(shape: tuple[int, ...]) -> None:
    seeded = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, *shape, dtype=torch.float64, generator=seeded)
    found, expected = output.clone().requires_grad_(), output.clone().requires_grad_()
    (3 * Gaussian().error(found, target, torch.ones(N))).backward()
    (3 * functional.mse_loss(expected, target)).backward()
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(5,), (3, 8, 8)])
def test_errors_of_samples_and_of_their_codes_are_those_of_a_row_per_sample(name: str, shape: tuple[int, ...]) -> None:
    if name == "negative_binomial" and len(shape) > 1:
        pytest.skip("counts come in rows")
    likelihood = LIKELIHOODS[name](P, 3.0).double()
    seeded = torch.Generator().manual_seed(0)
    output = torch.randn(N + 4, *shape, dtype=torch.float64, generator=seeded, requires_grad=True)
    sample_target, class_target = torch.rand(2, N, *shape, dtype=torch.float64, generator=seeded)
    # The third code stands for no sample.
    code_of_sample, size = torch.tensor([0, 1, 1, 3, 3, 3, 0]), torch.arange(1.0, N + 1).double()
    found = likelihood.errors(output, code_of_sample, sample_target, class_target, size)
    rows = output[N:][code_of_sample]
    expected = likelihood.error(output[:N], sample_target, size), likelihood.error(rows, class_target, size)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
    gradients = [torch.autograd.grad(own + 3 * of_codes, output)[0] for own, of_codes in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("which", [0, 1])
def test_one_of_the_two_errors_alone_has_its_own_gradient(which: int) -> None:
    output = torch.randn(N + 2, P, requires_grad=True)
    target, code_of_sample = torch.randn(N, P), torch.arange(N) % 2
    found = Gaussian().errors(output, code_of_sample, target, target, torch.ones(N))[which]
    expected = functional.mse_loss([output[:N], output[N:][code_of_sample]][which], target)
    gradients = [torch.autograd.grad(error, output)[0] for error in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-6), (10.0, 1e-4), (100.0, 1e-2)])
def test_what_targets_have_in_common_blurs_the_error_of_a_code_and_its_gradient_by_little(
    offset: float, tolerance: float
) -> None:
    seeded = torch.Generator().manual_seed(0)
    target = offset + torch.randn(200, 50, generator=seeded)
    code = torch.full((1, 50), offset + 0.1)
    output = torch.cat([target, code]).requires_grad_()
    _, found = Gaussian().errors(output, torch.zeros(200, dtype=torch.int64), target, target, torch.ones(200))
    expected = (code.double() - target.double()).square().mean()
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    (gradient,) = torch.autograd.grad(found, output)
    exact = 2 * (code.double() - target.double()).mean(0) / 50
    torch.testing.assert_close(gradient[200].double(), exact, rtol=1e-4 * max(1, offset), atol=1e-7 * max(1, offset))


def test_a_second_pass_back_through_the_squared_error_is_refused() -> None:
    output = torch.randn(N, P, requires_grad=True)
    error = Gaussian().error(output, torch.zeros(N, P), torch.ones(N))
    error.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        error.backward()


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_bounded_is_the_scaled_tanh_of_the_notebooks(output, ones, scale: float) -> None:
    target = torch.full_like(output, 0.5)
    mean = scale * np.tanh(output.numpy())
    bounded = Bounded(scale=scale)
    np.testing.assert_allclose(bounded.mean(bounded.activation(output), ones).numpy(), mean)
    error = bounded.error(bounded.activation(output), target, ones)
    assert error.item() == pytest.approx(((mean - 0.5) ** 2).mean())


def test_bernoulli_error_is_the_negative_log_likelihood_of_scipy(output, ones) -> None:
    target = (torch.arange(N * P).reshape(N, P) % 2).double()
    mean = special.expit(output.numpy())
    np.testing.assert_allclose(Bernoulli().mean(output, ones).numpy(), mean)
    expected = -stats.bernoulli.logpmf(target.numpy(), mean).mean()
    assert Bernoulli().error(output, target, ones).item() == pytest.approx(expected)


def test_negative_binomial_error_is_the_negative_log_likelihood_of_scipy(output) -> None:
    likelihood = negative_binomial()
    size = torch.tensor([1.0, 3, 10, 50, 200, 1000, 1e5], dtype=torch.float64)
    target = torch.poisson(size[:, None].expand(N, P) / P, generator=torch.Generator().manual_seed(1))
    mean = size.numpy()[:, None] * special.softmax(output.numpy(), axis=1)
    theta = np.exp(np.linspace(-2, 3, P))
    expected = -stats.nbinom.logpmf(target.numpy(), theta, theta / (theta + mean)).mean()
    np.testing.assert_allclose(likelihood.mean(output, size).detach().numpy(), mean)
    assert likelihood.error(output, target, size).item() == pytest.approx(expected)


def test_negative_binomial_means_add_up_to_the_size(output) -> None:
    size = torch.arange(1, N + 1).double()
    torch.testing.assert_close(negative_binomial().mean(output, size).sum(1), size)


def test_negative_binomial_nears_poisson_as_its_dispersion_grows(output) -> None:
    likelihood = NegativeBinomial(P).double()
    with torch.no_grad():
        likelihood.log_dispersion.fill_(20)
    size = torch.full((N,), 30.0, dtype=torch.float64)
    target = torch.arange(N * P).reshape(N, P).double() % 9
    expected = -stats.poisson.logpmf(target.numpy(), likelihood.mean(output, size).detach().numpy()).mean()
    assert likelihood.error(output, target, size).item() == pytest.approx(expected, rel=1e-5)


def test_negative_binomial_stays_finite_for_extreme_outputs_in_single_precision() -> None:
    likelihood = NegativeBinomial(2)
    output = torch.tensor([[80.0, -80.0]], requires_grad=True)
    error = likelihood.error(output, torch.tensor([[1e6, 0.0]]), torch.tensor([1e6]))
    error.backward()
    assert torch.isfinite(error)
    assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_order_of_features_and_samples_does_not_matter(output, name: str) -> None:
    likelihood = LIKELIHOODS[name](P, 3.0).double()
    size = torch.arange(1, N + 1).double()
    target = functional.one_hot(torch.arange(N) % P, P).double()
    rows, columns = torch.randperm(N), torch.randperm(P)
    moved = likelihood.error(output[rows][:, columns], target[rows][:, columns], size[rows])
    torch.testing.assert_close(moved, likelihood.error(output, target, size))


@pytest.mark.parametrize("name", ["gaussian", "bounded", "bernoulli"])
def test_images_are_taken_as_well_as_rows(name: str) -> None:
    likelihood = LIKELIHOODS[name](12, 1.0)
    images, target = torch.randn(3, 1, 3, 4), torch.rand(3, 1, 3, 4)
    assert likelihood.mean(images, torch.ones(3)).shape == images.shape
    flat = likelihood.error(images.flatten(1), target.flatten(1), torch.ones(3))
    torch.testing.assert_close(likelihood.error(images, target, torch.ones(3)), flat)


def test_every_likelihood_is_made_from_features_and_scale() -> None:
    kinds = [type(kind(P, 2.0)) for kind in LIKELIHOODS.values()]
    assert kinds == [Gaussian, Bounded, Bernoulli, NegativeBinomial]
    assert LIKELIHOODS["bounded"](P, 2.0).activation.scale == 2.0
    assert LIKELIHOODS["negative_binomial"](P, 2.0).log_dispersion.shape == (P,)


def test_the_error_against_a_mean_of_targets_has_the_minimum_of_their_mean_error_where_it_is_said_so(output) -> None:
    targets = (torch.rand(2, N, P, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2).round()
    sizes = targets.sum(2) + 1
    output.requires_grad_()
    for likelihood in (kind(P).double() for kind in LIKELIHOODS.values()):
        apart = sum(likelihood.error(output, *each) for each in zip(targets, sizes, strict=True)) / 2
        together = likelihood.error(output, targets.mean(0), sizes.mean(0))
        slopes = [torch.autograd.grad(error, output, retain_graph=True)[0] for error in (apart, together)]
        assert torch.allclose(*slopes) == likelihood.takes_means, type(likelihood).__name__


def drawn(likelihood: Likelihood, means: list[float], noise: float = 0.0, n: int = 40_000) -> NDArray[np.float64]:
    """Draw around the same expected data many times."""
    rows = np.tile(means, (n, 1))
    return likelihood.draw(rows, np.full(len(means), noise), np.random.default_rng(0))


def test_gaussian_draws_have_the_mean_and_the_noise() -> None:
    draws = drawn(Gaussian(), [-3.0, 0.0, 5.0], noise=2.0)
    np.testing.assert_allclose(draws.mean(0), [-3, 0, 5], atol=5 * 2 / 200)
    np.testing.assert_allclose(draws.std(0), 2, rtol=0.02)
    assert stats.kstest(draws[:, 1] / 2, "norm").pvalue > 1e-3


def test_gaussian_draws_are_the_means_where_they_lack_nothing() -> None:
    np.testing.assert_array_equal(drawn(Gaussian(), [-3.0, 0.0, 5.0]), np.tile([-3.0, 0.0, 5.0], (40_000, 1)))


def test_gaussian_noise_is_that_of_each_pixel() -> None:
    noise = np.array([[0.0, 1.0], [3.0, 0.0]])
    draws = Gaussian().draw(np.zeros((10_000, 2, 2)), noise, np.random.default_rng(0))
    np.testing.assert_allclose(draws.std(0), noise, rtol=0.05)


def test_bounded_draws_are_the_means() -> None:
    means = np.random.default_rng(1).uniform(-1, 1, (N, 1, 3, 4))
    np.testing.assert_array_equal(Bounded().draw(means, np.ones((1, 3, 4)), np.random.default_rng(0)), means)


def test_bernoulli_draws_are_zeros_and_ones_with_the_expected_share() -> None:
    means = [0.0, 0.1, 0.5, 1.0]
    draws = drawn(Bernoulli(), means, noise=3.0)
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), means, atol=5 * 0.5 / 200)
    assert not draws[:, 0].any()
    assert draws[:, 3].all()


def test_negative_binomial_draws_are_counts_of_the_mean_and_the_learnt_spread() -> None:
    means, theta = np.array([0.0, 0.5, 4.0, 20.0, 100.0]), np.exp(np.linspace(-2, 3, P))
    draws = drawn(negative_binomial(), means.tolist(), noise=3.0)
    np.testing.assert_array_equal(draws, np.round(draws))
    assert draws.min() == 0
    variance = means + means**2 / theta
    assert (np.abs(draws.mean(0) - means) <= 5 * np.sqrt(variance / len(draws))).all()
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.1)
    for k in range(1, P):
        seen = np.bincount(draws[:, k].astype(int), minlength=4)[:4] / len(draws)
        expected = stats.nbinom.pmf(np.arange(4), theta[k], theta[k] / (theta[k] + means[k]))
        np.testing.assert_allclose(seen, expected, atol=5 * 0.5 / 200)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_are_a_function_of_the_random_state(name: str) -> None:
    likelihood, means = LIKELIHOODS[name](P, 1.0), np.full((N, P), 0.5)
    first, second = (likelihood.draw(means, np.ones(P), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float64
