"""Data whose truth is known: classes at the leaves of a tree, with the noise of L1000 signatures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Shares of the variance between classes that arise at the levels of the tree fall by this factor from one level down
# to the next, and shares of the programmes in signal and noise fall as 1, 1/2, 1/3, ...
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
        The classes below each inner node of the tree, root and leaves left out.
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

    A class is the sum of what each of its ancestors and itself adds. What a node adds, and what a sample deviates
    from its class, is in part made of programmes (directions of feature space in which features move together) and in
    part independent between features. Class sizes run evenly on a logarithmic scale from the smallest to the
    largest, in random order. The default variances are those of GSE70138's level-5 z-scores of perturbagen classes
    as the published LINCS model left them: 2.07 in all, 1.75 of it within classes.

    Parameters
    ----------
    n_classes, n_features
        Number of classes, at least 2, and of features.
    n_levels
        Levels below the root; the last holds the classes.
    sizes
        Samples in the smallest and the largest class.
    between_variance, within_variance
        Mean variance of a feature between and within classes.
    n_programmes, programme_share
        Number of programmes and the share of each variance that they make up.
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
    """Return directions, (n, n_features), whose sum of squares is 1 per feature on average, the first the strongest."""
    strengths = 1 / np.arange(1, n + 1)
    directions = rng.standard_normal((n, n_features))
    return np.asarray(directions * np.sqrt(strengths / strengths.sum())[:, None])


def _levels(n_classes: int, n_levels: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return per level, from the top to the classes themselves, the number of the node that each class lies below."""
    levels = [np.arange(n_classes)]
    for level in range(n_levels - 1, 0, -1):
        n_below = int(levels[0].max()) + 1
        n_nodes = max(1, round(n_classes ** (level / n_levels)))
        # Every node has one child at least; the others fall at random.
        parents = np.concatenate([np.arange(min(n_nodes, n_below)), rng.integers(n_nodes, size=n_below)])[:n_below]
        levels.insert(0, np.unique(rng.permutation(parents), return_inverse=True)[1][levels[0]])
    return levels
