"""Simulated data with known truth: classes at the leaves of a tree, with the noise of L1000 signatures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Factor by which the share of the variance between classes falls from each level of the tree to the next one down;
# chosen by hand.
FALL = 0.8


@dataclass(frozen=True)
class Planted:
    """Samples of classes that form a tree.

    Attributes
    ----------
    X
        (n, n_features).
    y
        Class of each sample, (n,).
    profiles
        The true mean of each class, classes × features.
    clades
        Set of classes below each inner node of the tree, without the root.
    """

    X: NDArray[np.float32]
    y: NDArray[np.generic]
    profiles: pd.DataFrame
    clades: frozenset[frozenset[str]]


def plant_classes(
    n_classes: int = 30,
    n_features: int = 978,
    *,
    n_levels: int = 3,
    sizes: tuple[int, int] = (5, 2000),
    between_variance: float = 0.3,
    within_variance: float = 1.75,
    n_programmes: int = 50,
    programme_share: float = 0.5,
    random_state: int = 0,
) -> Planted:
    """Simulate classes that form a tree.

    Each node of the tree adds a random deviation, and the profile of a class is the sum of those of its ancestors and
    its own. The deviations of nodes, and of samples from their class, consist of programmes (directions along which
    features vary together, with variances that fall as 1, 1/2, 1/3, ...) and of independent noise in each feature.
    Class sizes are evenly spaced on a logarithmic scale, in random order. The default variances are those of level-5
    z-scores in GSE70138 by perturbagen class, judging by the errors of the published LINCS model: 2.07 in total, of
    which 1.75 within classes.

    Parameters
    ----------
    n_classes, n_features
        Number of classes, at least 2, and of features.
    n_levels
        Levels below the root; the classes are the last.
    sizes
        Number of samples in the smallest and in the largest class.
    between_variance, within_variance
        Mean variance of a feature between and within classes.
    n_programmes, programme_share
        Number of programmes, and their share of each variance.
    random_state
        Seed.

    Examples
    --------
    >>> planted = plant_classes(6, 20, n_levels=2, sizes=(3, 9))
    >>> planted.X.shape[1], len(planted.profiles), min(planted.profiles.index)
    (20, 6, 'class 0')
    """
    rng = np.random.default_rng(random_state)
    programmes = _programmes(n_programmes, n_features, rng)

    def deviations(n: int, variance: float) -> NDArray[np.float64]:
        together = rng.standard_normal((n, n_programmes)) @ programmes * np.sqrt(programme_share * variance)
        alone = rng.standard_normal((n, n_features)) * np.sqrt((1 - programme_share) * variance)
        return np.asarray(together + alone)

    shares = FALL ** np.arange(n_levels)
    levels = _levels(n_classes, n_levels, rng)
    profiles = np.zeros((n_classes, n_features))
    for node, share in zip(levels, shares / shares.sum(), strict=True):
        profiles += deviations(int(node.max()) + 1, float(share * between_variance))[node]
    n_each = rng.permutation(np.geomspace(*sizes, n_classes).round().astype(int))
    index = np.repeat(np.arange(n_classes), n_each)
    width = len(str(n_classes - 1))
    names = np.array([f"class {k:0{width}}" for k in range(n_classes)])
    members = {frozenset(names[node == number].tolist()) for node in levels for number in np.unique(node)}
    X = (profiles[index] + deviations(len(index), within_variance)).astype(np.float32)
    return Planted(
        X,
        names[index],
        pd.DataFrame(profiles, index=pd.Index(names, name="class"), columns=[f"gene {j}" for j in range(n_features)]),
        frozenset(clade for clade in members if 1 < len(clade) < n_classes),
    )


def _programmes(n: int, n_features: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return directions in descending order of length, (n, n_features), with a mean sum of squares of 1 per feature."""
    strengths = 1 / np.arange(1, n + 1)
    directions = rng.standard_normal((n, n_features))
    return np.asarray(directions * np.sqrt(strengths / strengths.sum())[:, None])


def _levels(n_classes: int, n_levels: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return for each level, from the top down, the index of the ancestor of each class, (n_classes,)."""
    levels = [np.arange(n_classes)]
    for level in range(n_levels - 1, 0, -1):
        n_below = int(levels[0].max()) + 1
        n_nodes = max(1, round(n_classes ** (level / n_levels)))
        # Every node has at least one child; the other children are distributed at random.
        parents = np.concatenate([np.arange(min(n_nodes, n_below)), rng.integers(n_nodes, size=n_below)])[:n_below]
        levels.insert(0, np.unique(rng.permutation(parents), return_inverse=True)[1][levels[0]])
    return levels
