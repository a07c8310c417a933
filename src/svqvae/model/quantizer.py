"""Codebooks: codes learnt by gradient (published, VQ-VAE) or as class means of latents (prototype), and distances."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

Geometry = Literal["euclidean", "cosine"]
# Largest distance of a code to the mean code at which distances are computed in single precision; chosen by hand.
MAX_REACH = 10.0


def squared_distances(
    latents: Float[Tensor, "batch latent"], codes: Float[Tensor, "classes latent"], geometry: Geometry = "euclidean"
) -> Float[Tensor, "batch classes"]:
    """Return ‖z - e‖² between each latent and each code, (batch, classes), never below 0.

    The gradient at z leaves out that of ‖z‖², which is the same for all codes and cancels in the gradient of a softmax.

    Parameters
    ----------
    latents
        z, (batch, latent).
    codes
        E, (classes, latent).
    geometry
        "euclidean", or "cosine": both are scaled to unit length first, which makes 2 - 2 × cosine similarity.

    Examples
    --------
    >>> squared_distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[25.,  0.]])
    """
    if geometry == "cosine":
        latents, codes = functional.normalize(latents, dim=1), functional.normalize(codes, dim=1)
    squares = _squares(latents.detach())[:, None] + _squares(codes)
    distances = torch.addmm(squares, latents, codes.T, alpha=-2)
    with torch.no_grad():
        # Clamped without gradient: a distance that rounding made negative keeps its gradient, or those of a softmax
        # would not cancel.
        distances.clamp_min_(0)
    return distances


class RelativeDistances(nn.Module):
    """Squared distances of latents to codes, minus the squared distance to the mean code.

    The nearest code and the probabilities depend only on differences between the distances of a latent, and rounding
    the part that all have in common would swamp these. With c the mean code,
    ‖z - e‖² - ‖z - c‖² = ‖e - c‖² - 2 (e - c)·(z - c). Rounding errors in single precision are about
    10⁻⁷ ‖e - c‖ ‖z - c‖; if a code is farther than 10 from the mean code, double precision is used.

    Parameters
    ----------
    codes
        (n_classes, latent_dim).
    geometry
        "euclidean", or "cosine": latents and codes are scaled to unit length first.
    """

    center: Tensor
    directions: Tensor
    offsets: Tensor

    def __init__(self, codes: Float[Tensor, "classes latent"], geometry: Geometry = "euclidean") -> None:
        super().__init__()
        self.geometry = geometry
        exact = codes.detach().double()
        exact = functional.normalize(exact, dim=1) if geometry == "cosine" else exact
        self.register_buffer("center", exact.mean(0).to(codes.dtype))
        apart = exact - self.center
        self.register_buffer("directions", -2 * apart)
        self.register_buffer("offsets", apart.square().sum(1))
        is_near = bool(apart.norm(dim=1).max() <= MAX_REACH)
        self.to(codes.dtype if is_near else torch.float64)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch classes"]:
        """Return the relative distances, (batch, classes), which are comparable within a row only."""
        latents = latents.to(self.center.dtype)
        latents = functional.normalize(latents, dim=1) if self.geometry == "cosine" else latents
        return functional.linear(latents - self.center, self.directions, self.offsets)


def _squares(rows: Tensor) -> Tensor:
    """Return ‖row‖² of each row, (n,), as a squared norm, which needs no table of squares."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()


class GradientCodes(nn.Module):
    """Codes learnt by gradient and initialised uniformly in (-1/K, 1/K), as published.

    Also the codebook of the unsupervised VQ-VAE (van den Oord et al., arXiv:1711.00937).

    Parameters
    ----------
    n_classes
        K, the number of codes.
    latent_dim
        Number of latent dimensions.
    """

    def __init__(self, n_classes: int, latent_dim: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(n_classes, latent_dim).uniform_(-1 / n_classes, 1 / n_classes))


class ClassMeanCodes(nn.Module):
    """Codes that follow the class means of the latents: bias-corrected running means, no gradient.

    The code of class k is s_k / n_k, with s_k and n_k the running sum and count of its latents. Both start at 0 and are
    updated by a ← decay · a + (1 - decay) · (sum or count in the batch). The bias 1 - decay^t of starting at 0 cancels
    in the ratio. Source, also of the decay: van den Oord et al., arXiv:1711.00937, appendix A.1.

    Parameters
    ----------
    n_classes
        K, the number of codes.
    latent_dim
        Number of latent dimensions.
    decay
        Factor of the running sums and counts at each step.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, n_classes: int, latent_dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.zeros(n_classes, latent_dim))
        self.register_buffer("counts", torch.zeros(n_classes))
        self.register_buffer("sums", torch.zeros(n_classes, latent_dim))

    @torch.no_grad()
    def update(
        self,
        latents: Float[Tensor, "batch latent"],
        y: Int[Tensor, " batch"],
        add_up: Callable[[Tensor], Tensor] = lambda part: part,
    ) -> None:
        """Move the codes toward the class means of a batch; classes that are not in the batch keep their codes.

        Parameters
        ----------
        latents
            (batch, latent).
        y
            Class index of each sample, (batch,).
        add_up
            Returns the sum of a tensor over all processes that share the batch.
        """
        # Fabric converts the output of a network in double precision to single precision.
        counts, sums = (add_up(part) for part in class_sums(latents.to(self.sums.dtype), y, len(self.codes)))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        # Sums and counts of classes that are not in the batch shrink by the same factor, so their codes do not change.
        seen = torch.nonzero(counts).flatten()
        means = self.sums.index_select(0, seen) / self.counts.index_select(0, seen)[:, None]
        self.codes.index_copy_(0, seen, means)

    @torch.no_grad()
    def set_exact(self, counts: Float[Tensor, " classes"], sums: Float[Tensor, "classes latent"]) -> None:
        """Set the codes to the exact class means; a class without samples keeps its code.

        Parameters
        ----------
        counts
            Number of samples of each class, (classes,).
        sums
            Sum of the latents of each class, (classes, latent).
        """
        seen = counts > 0
        self.codes[seen] = (sums[seen] / counts[seen, None]).to(self.codes.dtype)


def class_sums(
    latents: Float[Tensor, "batch latent"], y: Int[Tensor, " batch"], n_classes: int
) -> tuple[Float[Tensor, " classes"], Float[Tensor, "classes latent"]]:
    """Return the number of samples of each class, (classes,), and the sum of their latents, (classes, latent).

    Parameters
    ----------
    latents
        Latents, or other rows, (batch, latent).
    y
        Class index of each sample, (batch,).
    n_classes
        Number of classes.

    Examples
    --------
    >>> counts, sums = class_sums(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]), n_classes=2)
    >>> counts.tolist(), sums.tolist()
    ([2.0, 1.0], [[3.0], [5.0]])
    """
    counts = torch.bincount(y, minlength=n_classes).to(latents.dtype)
    sums = latents.new_zeros(n_classes, latents.shape[1]).index_add_(0, y, latents)
    return counts, sums
