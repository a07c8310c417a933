"""Whitened features against scikit-learn's shrunken discriminant analysis, and their invariants."""

import pytest
import torch
from sklearn.covariance import shrunk_covariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from svqvae.model import whitening
from svqvae.model.networks import dense
from svqvae.model.quantizer import class_sums
from svqvae.model.whitening import WhitenedEncoder, Whitening, asinh

K, N = 4, 15


def draw(n_features: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    y = torch.arange(K).repeat(N)
    spread = torch.linspace(0.2, 2, n_features)
    return torch.randn(K, n_features)[y] + spread * torch.randn(K * N, n_features), y


def measured(rows: Tensor, y: Tensor, rank: int | None = None) -> Whitening:
    found = Whitening(rows.shape[1], rank)
    found.measure(rows, y)
    return found


def class_means(rows: Tensor, y: Tensor) -> Tensor:
    counts, sums = class_sums(rows.double(), y, K)
    return sums / counts[:, None]


@pytest.mark.parametrize("n_features", [3, 30, 100])
def test_nearest_means_are_those_of_scikit_learns_shrunken_discriminant_analysis(n_features: int) -> None:
    rows, y = draw(n_features)
    new = torch.randn(500, n_features)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=whitening.SHRINKAGE)
    oracle.fit(torch.asinh(rows).double().numpy(), y.numpy())
    whiten = measured(rows, y)
    nearest = torch.cdist(whiten(new).double(), class_means(whiten(rows), y)).argmin(1)
    assert (nearest.numpy() == oracle.predict(torch.asinh(new).double().numpy())).mean() > 0.995


def test_the_covariance_within_classes_becomes_that_of_the_formula() -> None:
    rows, y = draw(10)
    compressed = torch.asinh(rows).double()
    residuals = compressed - class_means(compressed, y)[y]
    covariance = (residuals.T @ residuals / len(y)).numpy()
    shrunken = torch.as_tensor(shrunk_covariance(covariance, whitening.SHRINKAGE)) / covariance.diagonal().mean()
    whitened = measured(rows, y)(rows).double() @ torch.linalg.cholesky(shrunken)
    # W S' W = I: W L is a rotation.
    torch.testing.assert_close(whitened @ whitened.T, compressed @ compressed.T, rtol=1e-4, atol=1e-3)


def test_the_inverse_hyperbolic_sine_is_torchs_and_finite_beyond_its_square() -> None:
    sizes = torch.logspace(-30, 18, 10_000)
    values = torch.cat([-sizes, torch.zeros(1), sizes])
    torch.testing.assert_close(asinh(values).double(), torch.asinh(values.double()), rtol=5e-7, atol=0)
    far = torch.tensor([-3e38, 1e30])
    torch.testing.assert_close(asinh(far), torch.asinh(far), rtol=0.01, atol=0)
    assert asinh(torch.tensor([torch.nan])).isnan().all()
    slope = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    asinh(slope).sum().backward()
    torch.testing.assert_close(slope.grad, (1 + slope.detach() ** 2).rsqrt())


def test_outliers_are_brought_near_and_small_values_kept_before_measuring() -> None:
    whiten = Whitening(1)
    torch.testing.assert_close(whiten(torch.tensor([[0.01]])), torch.tensor([[0.01]]), rtol=1e-4, atol=0)
    assert whiten(torch.tensor([[1000.0]])) < 8


def test_directions_beyond_the_rank_are_treated_alike() -> None:
    rows, y = draw(30)
    whole, part = measured(rows, y)(rows), measured(rows, y, rank=12)(rows)
    assert not torch.equal(whole, part)
    assert ((whole - part) ** 2).mean() < 0.1 * (whole**2).mean()


def test_a_covariance_from_some_of_the_rows_is_near_that_from_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, y = draw(10)
    rows, y = rows.repeat(50, 1) + 0.01 * torch.randn(50 * len(rows), 10), y.repeat(50)
    whole = measured(rows, y)(rows)
    monkeypatch.setattr(whitening, "MAX_ROWS", 1000)
    torch.testing.assert_close(measured(rows, y)(rows), whole, rtol=0.1, atol=0.1)


def test_rows_alone_in_their_class_teach_nothing() -> None:
    rows, y = draw(10)
    more, alone = torch.cat([rows, 100 * torch.randn(7, 10)]), torch.cat([y, torch.arange(K, K + 7)])
    torch.testing.assert_close(measured(more, alone)(rows), measured(rows, y)(rows))


def test_classes_in_another_order_change_nothing() -> None:
    rows, y = draw(30)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(measured(rows, y)(rows), measured(rows, order[y])(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [torch.zeros(6, 5), torch.randn(6, 5), torch.randn(6, 1)])
@pytest.mark.parametrize("y", [[0] * 6, [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])
def test_degenerate_data_stay_finite(rows: Tensor, y: list[int]) -> None:
    whitened = measured(rows, torch.tensor(y))(rows)
    assert whitened.shape == rows.shape
    assert torch.isfinite(whitened).all()


def test_whitening_is_stored_and_not_trained() -> None:
    rows, y = draw(30)
    encoder = WhitenedEncoder(measured(rows, y), nn.Linear(30, 8))
    assert encoder(rows).shape == (len(rows), 8)
    assert {name for name, _ in encoder.named_parameters()} == {"network.weight", "network.bias"}
    assert "whitening.axes" in encoder.state_dict()


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_folded_into_the_first_layer_it_gives_the_same_latents(hidden: tuple[int, ...]) -> None:
    rows, y = draw(30)
    network, _ = dense(30, 8, hidden, 30, dropout=0.1)
    encoder = WhitenedEncoder(measured(rows, y), network).eval()
    apart = encoder(rows)
    encoder.fold()
    assert not encoder.whitening.axes.numel()
    torch.testing.assert_close(encoder(rows), apart, rtol=1e-5, atol=1e-5)
