"""Where the latents of each class lie: Gaussians with shrunk covariance, one or several a class."""

import warnings
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

# A class is split into clouds of at least so many samples, and into at most so many clouds.
MIN_CLOUD, MAX_CLOUDS = 40, 150
# Directions kept per cloud, and numbers kept for all clouds; the variance beyond them is spread evenly.
MAX_RANK, MAX_NUMBERS = 128, 2**24
# Cells of the table of latents to which clouds are fitted; more samples are thinned out, those of large classes first.
MAX_CELLS = 20_000_000


@dataclass(frozen=True)
class ClassDensity:
    """A mixture of Gaussians per class, as flat arrays over all clouds of all classes.

    The covariance of a cloud is F Fᵀ + v I with F its factors and v its even variance.

    Attributes
    ----------
    class_index
        Class of each cloud, (n_clouds,).
    weights
        Share of its class's samples that each cloud holds, (n_clouds,); sums to 1 within a class.
    means
        (n_clouds, latent_dim).
    factors
        (n_clouds, latent_dim, rank).
    even_variances
        (n_clouds,).
    """

    class_index: NDArray[np.int64]
    weights: NDArray[np.float64]
    means: NDArray[np.float32]
    factors: NDArray[np.float32]
    even_variances: NDArray[np.float32]

    def draw(self, class_index: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return n latents of a class, (n, latent_dim)."""
        clouds = np.flatnonzero(self.class_index == class_index)
        chosen = rng.choice(clouds, size=n, p=self.weights[clouds])
        latent_dim, rank = self.factors.shape[1:]
        along = rng.standard_normal((n, rank), dtype=np.float32)
        evenly = rng.standard_normal((n, latent_dim), dtype=np.float32)
        latents = self.means[chosen] + evenly * np.sqrt(self.even_variances[chosen])[:, None]
        for cloud in np.unique(chosen):
            rows = chosen == cloud
            latents[rows] += along[rows] @ self.factors[cloud].T
        return np.asarray(latents, dtype=np.float32)


def fit_density(latents: NDArray[np.float32], y: NDArray[np.int64], n_classes: int, seed: int) -> ClassDensity:
    """Fit the clouds of each class: k-means within the class, then a shrunk covariance per cloud.

    The covariance S of a cloud of n samples is shrunk toward its mean variance with the oracle approximating
    weight of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010). A cloud of a single sample takes the mean
    variance of all classes.

    Parameters
    ----------
    latents
        (n, latent_dim).
    y
        Class index of each sample, (n,); each class has at least one sample.
    n_classes
        Number of classes.
    seed
        Seed of k-means.
    """
    rng = np.random.default_rng(seed)
    class_index, weights, members = [], [], []
    for k in range(n_classes):
        own = latents[y == k].astype(np.float64)
        n_clouds = int(np.clip(len(own) // MIN_CLOUD, 1, MAX_CLOUDS))
        if n_clouds > 1:
            n_clouds = min(n_clouds, len(np.unique(own, axis=0)))
        cloud = np.zeros(len(own), dtype=np.int32)
        if n_clouds > 1:
            with warnings.catch_warnings():
                # A cloud that loses all its samples is left out below.
                warnings.filterwarnings("ignore", "One of the clusters is empty")
                cloud = kmeans2(own, _spread_seeds(own, n_clouds, rng), minit="matrix")[1]
        for number in np.unique(cloud):
            members.append(own[cloud == number])
            class_index.append(k)
            weights.append(len(members[-1]) / len(own))
    n_free = max(1, len(latents) - len(members))
    mean_variance = sum(((part - part.mean(0)) ** 2).sum() for part in members) / (n_free * latents.shape[1])
    affordable = max(1, MAX_NUMBERS // (len(members) * latents.shape[1]))
    largest = max(len(part) for part in members)
    rank = min(MAX_RANK, latents.shape[1], max(1, largest - 1), affordable)
    shapes = [_shrunk_factors(part, rank, mean_variance) for part in members]
    return ClassDensity(
        np.array(class_index, dtype=np.int64),
        np.array(weights),
        np.stack([part.mean(0) for part in members]).astype(np.float32),
        np.stack([factors for factors, _ in shapes]),
        np.array([even for _, even in shapes], dtype=np.float32),
    )


def thin_classes(y: NDArray[np.int64], n_classes: int, latent_dim: int, seed: int) -> NDArray[np.int64]:
    """Return the positions, in rising order, of as many samples as are enough for the clouds.

    Each class keeps all its samples or, where those of all are too many, as many as any other large class.

    Parameters
    ----------
    y
        Class index of each sample, (n,).
    n_classes
        Number of classes.
    latent_dim
        Number of latent dimensions.
    seed
        Seed of the draw.

    Examples
    --------
    >>> len(thin_classes(np.arange(100) % 2, 2, 256, seed=0))
    100
    """
    counts = np.bincount(y, minlength=n_classes)
    n_most = MAX_CELLS // latent_dim
    if len(y) <= n_most:
        return np.arange(len(y))
    cap = bisect_right(range(int(counts.max())), n_most, key=lambda most: int(np.minimum(counts, most).sum())) - 1
    # In random order, the first of each class.
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = order[np.argsort(y[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < max(1, cap)])


def _spread_seeds(rows: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return n of the rows, each drawn in proportion to its squared distance to the nearest of those before it.

    The seeding of k-means++ (Arthur and Vassilvitskii, SODA 2007); scipy's compares each row with all seeds at each
    step, which takes much longer.
    """
    squares = (rows**2).sum(1)
    chosen = [int(rng.integers(len(rows)))]
    gaps = np.full(len(rows), np.inf)
    while len(chosen) < n:
        last = chosen[-1]
        gaps = np.minimum(gaps, np.maximum(squares + squares[last] - 2 * rows @ rows[last], 0))
        gaps[chosen] = 0
        chosen.append(int(rng.choice(len(rows), p=gaps / gaps.sum() if gaps.any() else None)))
    return rows[chosen]


def _shrunk_factors(members: NDArray[np.float64], rank: int, mean_variance: float) -> tuple[NDArray[np.float32], float]:
    """Return factors, (latent_dim, rank), and even variance of one cloud's shrunk covariance."""
    n, latent_dim = members.shape
    factors = np.zeros((latent_dim, rank))
    if n < 2:
        return factors.astype(np.float32), mean_variance
    centered = (members - members.mean(0)) / np.sqrt(n - 1)
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    spectrum = singular**2
    total = spectrum.sum()
    pull = chen_weight(spectrum, latent_dim, n)
    kept = min(rank, len(spectrum))
    rest = total - spectrum[:kept].sum()
    mean = total / latent_dim
    even = pull * mean + (1 - pull) * (rest / (latent_dim - kept) if latent_dim > kept else 0.0)
    excess = np.maximum(0, (1 - pull) * spectrum[:kept] + pull * mean - even)
    factors[:, :kept] = directions[:kept].T * np.sqrt(excess)
    return factors.astype(np.float32), float(even)


def chen_weight(spectrum: NDArray[np.float64], n_dimensions: int, n: int) -> float:
    """Return the oracle approximating weight, in [0, 1], of the shrinkage of a covariance toward its mean variance.

    Equation 23 of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010).

    Parameters
    ----------
    spectrum
        Eigenvalues of the sample covariance, those that are 0 left out or not.
    n_dimensions
        Number of dimensions.
    n
        Number of samples.
    """
    total, squares = spectrum.sum(), (spectrum**2).sum()
    unevenness = squares - total**2 / n_dimensions
    weight = ((1 - 2 / n_dimensions) * squares + total**2) / max((n + 1 - 2 / n_dimensions) * unevenness, 1e-300)
    return float(np.clip(weight, 0, 1))
