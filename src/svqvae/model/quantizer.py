"""Codebooks: one code per class by gradient (published) or as class mean (prototype), and unsupervised codes."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

Geometry = Literal["euclidean", "cosine"]
# Largest distance of a code to the mean code at which distances are told in single precision.
MAX_REACH = 10.0


def squared_distances(
    latents: Float[Tensor, "batch latent"], codes: Float[Tensor, "classes latent"], geometry: Geometry = "euclidean"
) -> Float[Tensor, "batch classes"]:
    """Return ‖z - e‖² of each latent to each code, after scaling both to unit length where geometry is cosine.

    Between unit vectors it equals 2 - 2·cosine similarity. Computed by a matrix product and never below 0. The gradient
    at z leaves out that of ‖z‖², which is the same for all codes: in that of a softmax it cancels.
    """
    if geometry == "cosine":
        latents, codes = functional.normalize(latents, dim=1), functional.normalize(codes, dim=1)
    squares = _squares(latents.detach())[:, None] + _squares(codes)
    distances = torch.addmm(squares, latents, codes.T, alpha=-2)
    with torch.no_grad():
        # In its value only: the gradient of one that rounding made negative counts, or those of a softmax would not
        # cancel.
        distances.clamp_min_(0)
    return distances


class RelativeDistances(nn.Module):
    """Squared distances of latents to codes, less that to the mean code.

    What the distances of a latent have in common tells neither which code is the nearest nor the probabilities, and its
    rounding would swamp what does. With c the mean code, ‖z - e‖² - ‖z - c‖² = ‖e - c‖² - 2 (e - c)·(z - c). Rounding
    errs by about 10⁻⁷ ‖e - c‖ ‖z - c‖ in single precision: where a code is farther than 10 from the mean code, all runs
    in double precision.

    Parameters
    ----------
    codes
        (n_classes, latent_dim).
    geometry
        Where cosine, both sides are scaled to unit length first.
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
        """Return the relative distances; only those of one latent can be compared."""
        latents = latents.to(self.center.dtype)
        latents = functional.normalize(latents, dim=1) if self.geometry == "cosine" else latents
        return functional.linear(latents - self.center, self.directions, self.offsets)


def _squares(rows: Tensor) -> Tensor:
    """Return ‖row‖² of each row; by its root, since that makes no table of squares."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()


class GradientCodes(nn.Module):
    """Codes learnt by gradient, started uniformly in (-1/K, 1/K), as published.

    Also the codebook of the unsupervised VQ-VAE (van den Oord et al., arXiv:1711.00937), where the nearest code
    takes the place of the class's.

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

    With n_k and s_k the running count and sum of class k, both started at 0 and updated by
    a ← decay·a + (1 - decay)·(batch's sum), the code is s_k / n_k; the common factor 1 - decay^t of a zero start
    cancels in the ratio. Source: van den Oord et al., arXiv:1711.00937, appendix A.1.

    Parameters
    ----------
    n_classes
        K, the number of codes.
    latent_dim
        Number of latent dimensions.
    decay
        Share of the past kept at each step.
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
        """Move the codes toward the class means of a batch; a class that is not in it stays where it is.

        Where several processes share the batch, `add_up` returns the sum of a tensor over all of them.
        """
        # Fabric brings what a network in double precision returns to single precision.
        counts, sums = (add_up(part) for part in class_sums(latents.to(self.sums.dtype), y, len(self.codes)))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        # Of classes that are not in the batch sums and counts shrink by the same factor, so that their codes stay.
        seen = torch.nonzero(counts).flatten()
        means = self.sums.index_select(0, seen) / self.counts.index_select(0, seen)[:, None]
        self.codes.index_copy_(0, seen, means)

    @torch.no_grad()
    def set_exact(self, counts: Float[Tensor, " classes"], sums: Float[Tensor, "classes latent"]) -> None:
        """Set the codes to sums / counts over all samples; a class without samples keeps its code."""
        seen = counts > 0
        self.codes[seen] = (sums[seen] / counts[seen, None]).to(self.codes.dtype)


def class_sums(
    latents: Float[Tensor, "batch latent"], y: Int[Tensor, " batch"], n_classes: int
) -> tuple[Float[Tensor, " classes"], Float[Tensor, "classes latent"]]:
    """Return how many samples each class has, (classes,), and the sums of their latents, (classes, latent)."""
    counts = torch.bincount(y, minlength=n_classes).to(latents.dtype)
    sums = latents.new_zeros(n_classes, latents.shape[1]).index_add_(0, y, latents)
    return counts, sums
