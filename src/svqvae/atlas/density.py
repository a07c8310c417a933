"""The density of the latents of each class: a mixture of Gaussians with shrunk covariances."""

import warnings
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

# Least average number of samples per cloud, and most clouds per class: the finest split with which digits drawn on
# MNIST lie at least 0.9 times as far from the nearest training digit as unseen digits do (docs/defaults.md).
MIN_CLOUD, MAX_CLOUDS = 40, 150
# Directions kept per cloud, chosen by hand; the variance in all others is spread evenly over the dimensions.
MAX_RANK = 128
# Numbers in the factors of all clouds together: a guard for memory and the size of a run, 64 MB in single precision.
MAX_NUMBERS = 2**24
# Cells of the table of latents to which clouds are fitted: a guard for memory and time, 80 MB in single precision. Of
# more samples a random subset is used, at the expense of the largest classes.
MAX_CELLS = 20_000_000


@dataclass(frozen=True)
class ClassDensity:
    """A mixture of Gaussians per class, as flat arrays over all clouds (the Gaussians) of all classes.

    The covariance of a cloud is F Fᵀ + v I, with F its factors and v its even variance, the same in all directions.

    Attributes
    ----------
    class_index
        Class of each cloud, (n_clouds,).
    weights
        Share of the samples of its class in each cloud, (n_clouds,); they sum to 1 within a class.
    means
        (n_clouds, latent_dim).
    factors
        F, (n_clouds, latent_dim, rank).
    even_variances
        v, (n_clouds,).
    """

    class_index: NDArray[np.int64]
    weights: NDArray[np.float64]
    means: NDArray[np.float32]
    factors: NDArray[np.float32]
    even_variances: NDArray[np.float32]

    def draw(self, class_index: int, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw latents of a class.

        Parameters
        ----------
        class_index
            Index of the class.
        n
            Number of latents.
        rng
            Source of the draws.

        Returns
        -------
        (n, latent_dim) array
        """
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
    """Fit a mixture of Gaussians to each class: k-means within the class, then a shrunk covariance per cloud.

    The sample covariance of a cloud is shrunk toward the identity times its mean variance, by the oracle approximating
    weight of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010). A cloud of a single sample gets the mean
    variance within all clouds.

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
    """Return the positions, ascending, of the samples to which the clouds are fitted.

    These are all samples, or where they are too many a random subset: classes above a common size are cut down to it.

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
    # The first of each class in a random order.
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = order[np.argsort(y[order], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[rank < max(1, cap)])


def _spread_seeds(rows: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return n of the rows as seeds, drawn as in k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Each row is drawn with a probability in proportion to its squared distance to the nearest seed so far. scipy
    compares each row with all seeds at each step, which takes much longer.
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
    """Return the factors, (latent_dim, rank), and the even variance of the shrunk covariance of one cloud."""
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
    """Return the weight, in [0, 1], by which a covariance is shrunk toward the identity times its mean variance.

    The oracle approximating shrinkage of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010), equation 23.

    Parameters
    ----------
    spectrum
        Eigenvalues of the sample covariance; zeros may be left out.
    n_dimensions
        Number of dimensions.
    n
        Number of samples.

    Examples
    --------
    >>> chen_weight(np.array([1.0, 1.0]), n_dimensions=2, n=10)
    1.0
    """
    total, squares = spectrum.sum(), (spectrum**2).sum()
    unevenness = squares - total**2 / n_dimensions
    weight = ((1 - 2 / n_dimensions) * squares + total**2) / max((n + 1 - 2 / n_dimensions) * unevenness, 1e-300)
    return float(np.clip(weight, 0, 1))
