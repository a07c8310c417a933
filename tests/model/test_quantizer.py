"""Distances and codebooks against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.nn import functional

from svqvae.model.quantizer import (
    ClassMeanCodes,
    Geometry,
    GradientCodes,
    RelativeDistances,
    class_sums,
    squared_distances,
)

N, D, K = 23, 4, 3


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y() -> torch.Tensor:
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(1))


def class_means(latents: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    return np.stack([latents.numpy()[y.numpy() == k].mean(0) for k in range(K)])


def test_squared_distances_are_those_of_scipy(latents) -> None:
    codes = latents[:K] + 0.1
    expected = cdist(latents.numpy(), codes.numpy(), "sqeuclidean")
    np.testing.assert_allclose(squared_distances(latents, codes).numpy(), expected, atol=1e-12)


def test_cosine_distances_are_twice_those_of_scipy(latents) -> None:
    codes = 5 * latents[:K] + 0.1
    expected = 2 * cdist(latents.numpy(), codes.numpy(), "cosine")
    np.testing.assert_allclose(squared_distances(latents, codes, "cosine").numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_distances_are_never_negative(geometry) -> None:
    codes = 1000 + torch.randn(50, 30, generator=torch.Generator().manual_seed(2))
    assert squared_distances(codes, codes, geometry).min() >= 0


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_relative_distances_err_by_no_more_than_rounding_the_latents(geometry: Geometry, offset: float) -> None:
    drawn = offset + torch.randn(200, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    latents, codes = drawn.float(), drawn[:K].float()
    exact = squared_distances(latents.double(), codes.double(), geometry)
    exact -= exact[:, :1].clone()
    found = RelativeDistances(codes, geometry)(latents).double()
    found -= found[:, :1].clone()
    # What a change of z by a rounding can do to the difference of two distances: 2 (e - e')·dz.
    if geometry == "cosine":
        latents, codes = (functional.normalize(part.double(), dim=1) for part in (latents, codes))
    gap = torch.cdist(codes.double(), codes.double()).max()
    assert (found - exact).abs().max() <= 2 * gap * torch.finfo(torch.float32).eps * latents.double().norm(dim=1).max()


def test_relative_distances_of_codes_close_to_each_other_and_far_from_others_are_exact() -> None:
    seeded = torch.Generator().manual_seed(4)
    places = 1000 * torch.randn(4, 1, 50, generator=seeded) + torch.randn(4, 2, 50, generator=seeded) / 7
    codes = places.flatten(0, 1)
    latents = codes.repeat(20, 1) + torch.randn(160, 50, generator=seeded) / 7
    exact = squared_distances(latents.double(), codes.double())
    found = RelativeDistances(codes)(latents)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found - found[:, :1], exact - exact[:, :1], rtol=1e-9, atol=1e-6)


def test_class_sums_are_those_of_numpy(latents, y) -> None:
    counts, sums = class_sums(latents, y, K + 1)
    np.testing.assert_array_equal(counts.numpy(), np.bincount(y.numpy(), minlength=K + 1))
    expected = np.zeros((K + 1, D))
    np.add.at(expected, y.numpy(), latents.numpy())
    np.testing.assert_allclose(sums.numpy(), expected)


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_first_update_gives_the_class_means_of_the_batch(latents, y, decay: float) -> None:
    quantizer = ClassMeanCodes(K, D, decay).double()
    quantizer.update(latents, y)
    np.testing.assert_allclose(quantizer.codes.numpy(), class_means(latents, y))


def test_later_updates_follow_a_numpy_loop() -> None:
    rng = np.random.default_rng(0)
    quantizer = ClassMeanCodes(K, D, decay=0.9).double()
    counts, sums = np.zeros(K), np.zeros((K, D))
    for _ in range(6):
        z, labels = rng.normal(size=(8, D)), rng.integers(K, size=8)
        quantizer.update(torch.as_tensor(z), torch.as_tensor(labels))
        for k in range(K):
            counts[k] = 0.9 * counts[k] + 0.1 * (labels == k).sum()
            sums[k] = 0.9 * sums[k] + 0.1 * z[labels == k].sum(0)
    np.testing.assert_allclose(quantizer.codes.numpy(), sums / counts[:, None])


def test_a_class_that_is_in_no_batch_stays(latents) -> None:
    quantizer = ClassMeanCodes(K, D).double()
    quantizer.codes.fill_(7)
    quantizer.update(latents, torch.zeros(N, dtype=torch.int64))
    assert (quantizer.codes[1:] == 7).all()
    assert not (quantizer.codes[0] == 7).any()


def test_a_class_stays_however_long_it_is_absent() -> None:
    quantizer = ClassMeanCodes(2, 1, decay=0.9)
    quantizer.update(torch.tensor([[3.0], [1.0]]), torch.tensor([0, 1]))
    for _ in range(1200):
        quantizer.update(torch.tensor([[1.0]]), torch.tensor([1]))
    torch.testing.assert_close(quantizer.codes, torch.tensor([[3.0], [1.0]]))


def test_exact_codes_are_sums_over_counts_and_a_class_without_samples_keeps_its_code(latents, y) -> None:
    quantizer = ClassMeanCodes(K + 1, D)
    quantizer.codes.fill_(7)
    quantizer.set_exact(*class_sums(latents, y, K + 1))
    np.testing.assert_allclose(quantizer.codes[:K].numpy(), class_means(latents, y), rtol=1e-6)
    assert (quantizer.codes[K] == 7).all()


def test_permuting_the_classes_permutes_the_codes(latents, y) -> None:
    plain, permuted = ClassMeanCodes(K, D).double(), ClassMeanCodes(K, D).double()
    order = torch.tensor([2, 0, 1])
    for rows in (slice(0, 12), slice(12, N)):
        plain.update(latents[rows], y[rows])
        permuted.update(latents[rows], order[y[rows]])
    torch.testing.assert_close(permuted.codes[order], plain.codes)
    torch.testing.assert_close(
        squared_distances(latents, permuted.codes)[:, order], squared_distances(latents, plain.codes)
    )


def test_class_mean_codes_get_no_gradient_and_are_stored() -> None:
    quantizer = ClassMeanCodes(K, D)
    assert not list(quantizer.parameters())
    assert set(quantizer.state_dict()) == {"codes", "counts", "sums"}


def test_gradient_codes_start_within_one_over_the_number_of_classes() -> None:
    torch.manual_seed(0)
    codes = GradientCodes(50, 40).codes.detach()
    assert codes.abs().max() <= 1 / 50
    assert codes.std().item() == pytest.approx(1 / 50 / np.sqrt(3), rel=0.05)


def test_the_gradient_of_a_softmax_of_distances_is_exact_where_a_latent_is_a_code() -> None:
    seeded = torch.Generator().manual_seed(5)
    for _ in range(50):
        codes = 3 * torch.randn(6, 20, generator=seeded)
        found, exact = [], []
        for kind, gradients in ((torch.float32, found), (torch.float64, exact)):
            z = codes.to(kind, copy=True).requires_grad_()
            logits = -squared_distances(z, codes.to(kind)) / 50
            functional.cross_entropy(logits, torch.arange(6), label_smoothing=0.2).backward()
            gradients.append(z.grad)
        torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-4, atol=1e-5)
