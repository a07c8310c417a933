"""The atlas of classes: what is typical of each, how they relate and how sure that is, without the samples."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from svqvae import files
from svqvae.atlas import contrasts, relations
from svqvae.atlas.confidence import Calibration
from svqvae.atlas.density import ClassDensity
from svqvae.atlas.shrinkage import shrink
from svqvae.atlas.space import METRICS, OnResample, Space
from svqvae.atlas.spread import Spread
from svqvae.atlas.tree import Tree, build_tree
from svqvae.wording import closest, list_some

Array = NDArray[np.float64]
SPACES = ("profile", "code")
FILE, KIND = "atlas.safetensors", "svqvae_atlas"
N_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class ClassAtlas:
    """Classes as a fitted model sees them; needs neither the samples nor torch.

    Profiles and spreads are in the model's units: features as the encoder reads them, that is centred and scaled.
    `center` and `scale` lead back to the data's units; to those of log(1 + 10,000 × share of the total) for counts,
    which stand for the data's units in all that follows.

    Attributes
    ----------
    classes
        Names, (n_classes,).
    feature_names
        (n_features,).
    counts
        Training samples per class, (n_classes,); all 0 where no samples are known, as in an imported model.
    codes
        (n_classes, latent_dim).
    decoded
        Decoded codes in the model's units, (n_classes, n_features).
    means
        Plain means of the training samples in the model's units, (n_classes, n_features); NaN where none are known.
    center, scale
        data = center + scale × model's units, (n_features,).
    code_spread, profile_spread
        How latents and samples spread around their class, or None where no class had two unlike samples, or none are
        known. Then supports, intervals, p- and q-values are NaN, and there are no Mahalanobis distances.
    density
        Where the latents of each class lie, for simulation, or None.
    calibration
        What makes statements about new samples honest, see `svqvae.atlas.confidence`, or None where no samples, or
        none like others, are known.
    parents
        The group of each class toward whose mean the profiles of rare classes are drawn, or empty: toward all.
    sample_shape
        Shape of a sample: (n_features,), or that of an image.
    """

    classes: NDArray[np.generic]
    feature_names: tuple[str, ...]
    counts: NDArray[np.int64]
    codes: NDArray[np.float32]
    decoded: NDArray[np.float32]
    means: NDArray[np.float32]
    center: Array
    scale: Array
    code_spread: Spread | None = None
    profile_spread: Spread | None = None
    density: ClassDensity | None = None
    calibration: Calibration | None = None
    parents: tuple[str, ...] = ()
    sample_shape: tuple[int, ...] = ()

    @property
    def default_metric(self) -> str:
        """The metric of the commands: "mahalanobis", or "euclidean" where the spread within classes is not known."""
        return "euclidean" if self.profile_spread is None else "mahalanobis"

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(name) for name in self.classes.tolist())

    @cached_property
    def _shrunk(self) -> tuple[Array, Array]:
        if self.profile_spread is None:
            return self.decoded.astype(np.float64), np.ones(len(self.classes))
        return shrink(self.decoded, self.profile_spread.mean_variances(self.counts), self.parents)

    @property
    def profiles(self) -> pd.DataFrame:
        """What is typical of each class, classes × features, in the data's units.

        Decoded codes, those of rare classes drawn toward the mean of all classes, or of their parent's, by as much as
        chance moves them: see `weights`.
        """
        return self._frame(self._shrunk[0])

    @property
    def weights(self) -> pd.Series:
        """How much of its own decoded code the profile of each class keeps, 0 to 1."""
        return pd.Series(self._shrunk[1], index=self._index(), name="weight")

    @property
    def decoded_profiles(self) -> pd.DataFrame:
        """The decoded codes as they are, classes × features, in the data's units."""
        return self._frame(self.decoded)

    @cached_property
    def is_faithful(self) -> bool:
        """Whether decoded codes stand for the means of their classes, so that the errors of those are theirs.

        What the decoder misses must be less than a fifth of the errors, or than a hundredth of the variance between
        classes. Default models are; published ones, and those hardly trained, are not.
        """
        if self.profile_spread is None:
            return False
        missed = float(((self.decoded - self.means) ** 2).mean())
        errors = float(self.profile_spread.mean_variances(self.counts).mean())
        return missed <= max(0.2 * errors, 0.01 * float(self.means.var(0).mean()))

    def spread_in(self, space: str) -> Spread | None:
        """Return how the points of a space spread around their class, or None where that is not known."""
        if space not in SPACES:
            raise ValueError(f"`space` must be 'profile' or 'code'; got {space!r}.")
        return self.profile_spread if space == "profile" else self.code_spread

    def with_parents(self, parents: Mapping[Any, str]) -> "ClassAtlas":
        """Return the atlas with rare classes drawn toward the mean of their parent's classes instead of all.

        Parameters
        ----------
        parents
            The parent of each class by name; a class that is left out has "" as its parent, with all others left out.
        """
        given = {str(name): parent for name, parent in parents.items()}
        for name in given:
            self.find(name)
        return replace(self, parents=tuple(str(given.get(name, "")) for name in self.names))

    def find(self, name: Any) -> int:
        """Return the index of a class; an unknown name is refused, the closest are named."""
        if str(name) in self.names:
            return self.names.index(str(name))
        raise ValueError(
            f"`name` must be one of {len(self.names)} classes; got {name!r}. {closest(str(name), self.names)}"
            f"classes are {list_some(self.names)}."
        )

    def distances(self, metric: str = "mahalanobis", space: str = "profile", *, corrected: bool = True) -> pd.DataFrame:
        """Return how far classes are from each other, classes × classes, symmetric, 0 on the diagonal.

        Parameters
        ----------
        metric
            "mahalanobis": Euclidean distance where the covariance within classes is the identity, so that features
            which vary among the samples of a class count less. "euclidean", in the model's units. "cosine",
            "correlation": 1 - cosine similarity, 1 - Pearson correlation.
        space
            "profile": decoded codes. "code": the codes. The training of the codes pushes classes apart, so that
            distances between codes say less about how alike classes are.
        corrected
            Whether what chance adds is taken off, see `svqvae.atlas.space`; no distance is below 0. Profiles that are
            not faithful are left as they are.
        """
        values = self._space(metric, space, corrected).dissimilarities()
        return pd.DataFrame(np.maximum(values, 0), index=self._index(), columns=self._index("other"))

    def nearest(
        self,
        k: int = 1,
        metric: str = "mahalanobis",
        space: str = "profile",
        *,
        hubness_aware: bool = False,
        n_resamples: int = N_RESAMPLES,
        random_state: int = 0,
        on_resample: OnResample | None = None,
        refits: Sequence["ClassAtlas"] = (),
    ) -> pd.DataFrame:
        """Return the k nearest classes of each class, one row each.

        Parameters
        ----------
        k
            Number of nearest classes.
        metric, space
            As in `distances`.
        hubness_aware
            Whether a class that is near to everything counts as further off.
        n_resamples
            Resamples for the support; 0 for none.
        random_state
            Seed of the resamples.
        on_resample
            Called as ``on_resample(done, n_resamples)``.
        refits
            Atlases of the same samples, fitted with other seeds.

        Returns
        -------
        pandas.DataFrame
            ``class``, ``nearest``, ``distance`` and ``support``: how often it would be the nearest in a second study of
            the same sizes, so that those of a class add up to 1 at most; NaN without resamples or where the spread
            within classes is not known. With refits also ``refit_support``: in how many of them it is the nearest.
        """
        if not isinstance(k, int | np.integer) or not 1 <= k < len(self.classes):
            raise ValueError(f"`k` must be from 1 to {len(self.classes) - 1}, one less than the classes; got {k!r}.")
        room = self._space(metric, space)
        values = room.dissimilarities()
        partners = relations.nearest_partners(values, k, hubness_aware)
        drawn = room.resample(n_resamples, random_state, on_resample)
        table = pd.DataFrame(
            {
                "class": np.repeat(self.classes, k),
                "nearest": self.classes[partners.ravel()],
                "distance": np.maximum(np.take_along_axis(values, partners, 1), 0).ravel(),
                "support": relations.nearest_support(partners, drawn, hubness_aware).ravel(),
            }
        )
        if refits:
            others = self._refitted(refits, metric, space)
            table["refit_support"] = relations.nearest_support(partners, others, hubness_aware).ravel()
        return table

    def pairs(
        self,
        metric: str = "mahalanobis",
        space: str = "profile",
        *,
        n_permutations: int = N_RESAMPLES,
        random_state: int = 0,
        on_resample: OnResample | None = None,
    ) -> pd.DataFrame:
        """Test for each pair of classes whether they are closer than two unrelated classes of their sizes.

        Closer means: they deviate from the mean of all samples in the same direction.

        Returns
        -------
        pandas.DataFrame
            ``class``, ``other``, ``distance``, ``similarity`` (cosine of the two deviations), ``p`` and ``q`` (after
            Benjamini and Hochberg) of that, the nearest pair first. See `svqvae.atlas.relations.closer_than_chance`.
        """
        room = self._space(metric, space)
        values = room.dissimilarities()
        p = relations.closer_than_chance(room, n_permutations, random_state, on_resample)
        q = relations.control_false_discoveries(p)
        a, b = np.triu_indices(len(values), 1)
        table = {"class": self.classes[a], "other": self.classes[b], "distance": np.maximum(values[a, b], 0)}
        table |= {"similarity": relations.similarities(room)[a, b], "p": p[a, b], "q": q[a, b]}
        order = np.argsort(values[a, b], kind="stable")
        return pd.DataFrame(table).iloc[order].reset_index(drop=True)

    def network(
        self,
        k: int = 3,
        metric: str = "mahalanobis",
        space: str = "profile",
        *,
        mutual: bool = True,
        n_resamples: int = N_RESAMPLES,
        random_state: int = 0,
        on_resample: OnResample | None = None,
        refits: Sequence["ClassAtlas"] = (),
    ) -> "nx.Graph[Any]":
        """Return the network of classes, joined where each is among the k nearest of the other.

        Parameters
        ----------
        k, metric, space
            As in `nearest`, at most as many as there are other classes.
        mutual
            Whether both must be among the k nearest of the other, or one is enough.
        n_resamples, random_state, on_resample, refits
            As in `nearest`.

        Returns
        -------
        networkx.Graph
            Nodes: class names with ``count``, ``community`` (Louvain) and ``community_support``, the mean share of
            resamples in which another class of its community is in its community again. Edges: ``distance``,
            ``weight`` = exp(-(distance / median distance)²) and ``support``. With refits both have a
            ``refit_support`` beside each support.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"`k` must be a whole number of at least 1; got {k!r}.")
        room = self._space(metric, space)
        others = self._refitted(refits, metric, space)
        return relations.network_with_support(
            room, self.names, k, mutual, n_resamples, random_state, on_resample, others
        )

    def tree(
        self,
        metric: str = "mahalanobis",
        space: str = "profile",
        *,
        linkage: str = "average",
        n_resamples: int = N_RESAMPLES,
        random_state: int = 0,
        on_resample: OnResample | None = None,
        refits: Sequence["ClassAtlas"] = (),
    ) -> Tree:
        """Return the tree of classes by hierarchical clustering.

        Parameters
        ----------
        metric, space
            As in `distances`.
        linkage
            "average", "complete", "single", "ward" or "weighted", as in `scipy.cluster.hierarchy.linkage`.
        n_resamples, random_state, on_resample, refits
            As in `nearest`; the support of a clade is how often it would return in a second study.
        """
        room, others = self._space(metric, space), self._refitted(refits, metric, space)
        return build_tree(room, self.names, linkage, n_resamples, random_state, on_resample, others)

    def agreement(self) -> pd.DataFrame:
        """Compare all metrics in both spaces with the default.

        Returns
        -------
        pandas.DataFrame
            One row per ``space`` and ``metric``: ``rank_correlation`` (Spearman, over pairs of classes) and
            ``same_nearest`` (share of classes with the same nearest class), both against "mahalanobis" in profile
            space, or "euclidean" where the spread is not known.
        """
        standard = self._space(self.default_metric, "profile").dissimilarities()
        rows = []
        for space in SPACES:
            for metric in METRICS:
                if metric == "mahalanobis" and self.spread_in(space) is None:
                    continue
                values = self._space(metric, space).dissimilarities()
                same = relations.nearest_partners(values, 1) == relations.nearest_partners(standard, 1)
                rank = _rank_correlation(values, standard)
                rows.append(
                    {"space": space, "metric": metric, "rank_correlation": rank, "same_nearest": float(same.mean())}
                )
        return pd.DataFrame(rows)

    def contrast(self, a: Any, b: Any, *, level: float = 0.95) -> pd.DataFrame:
        """Compare the decoded codes of two classes feature by feature.

        Parameters
        ----------
        a, b
            Two classes.
        level
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            Index: features, the surest difference first. ``difference`` a - b of the decoded codes in the data's units;
            ``low``, ``high``: its interval; ``t``, ``p``, ``q``; and beside them ``class_means_difference``, the
            plain difference of the class means. `attrs["agreement"]` is the correlation of the two differences.
            What is not known is NaN; without t the largest difference is first. See `svqvae.atlas.contrasts`.
        """
        first, second = self.find(a), self.find(b)
        if first == second:
            raise ValueError(f"`b` must be another class than `a`; got {str(a)!r} twice.")
        weights = np.zeros(len(self.classes))
        weights[first], weights[second] = 1, -1
        return self._compare(weights, level)

    def profile(self, name: Any, *, level: float = 0.95) -> pd.DataFrame:
        """Compare the decoded code of a class with the mean of all other samples; as `contrast` otherwise.

        Where no samples are known, with the mean of all other classes.
        """
        k = self.find(name)
        counts = self.counts if self.counts.any() else np.ones(len(self.classes))
        weights = -counts / (counts.sum() - counts[k])
        weights[k] = 1
        return self._compare(weights, level)

    def save(self, folder: Path | str) -> None:
        """Write `atlas.safetensors` into a folder."""
        folder = Path(folder)
        files.make_folder(folder, "folder")
        tensors, header = self._to_parts()
        files.write_tensors(folder / FILE, tensors, KIND, header)

    @classmethod
    def load(cls, folder: Path | str) -> "ClassAtlas":
        """Read `atlas.safetensors` from a run folder, or from the file itself."""
        path = Path(folder)
        tensors, header = files.read_tensors(path if path.is_file() else path / FILE, KIND, "an atlas of svqvae")
        return cls._from_parts(tensors, header)

    def _to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays by name, and what JSON can hold."""
        tensors: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in ARRAYS}
        for part, names in PARTS.items():
            value = getattr(self, part)
            if value is not None:
                tensors |= {f"{part}.{name}": getattr(value, name) for name in names}
        header = {
            "classes": self.classes.tolist(),
            "feature_names": list(self.feature_names),
            "parents": list(self.parents),
            "sample_shape": list(self.sample_shape),
        }
        return tensors, header

    @classmethod
    def _from_parts(cls, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> "ClassAtlas":
        arrays: dict[str, Any] = {name: tensors[name] for name in ARRAYS}
        # Runs of earlier versions lack parts, as imported models do.
        parts: dict[str, Any] = {
            part: KINDS[part](**{name: tensors[f"{part}.{name}"] for name in names})
            for part, names in PARTS.items()
            if f"{part}.{names[0]}" in tensors
        }
        return cls(
            classes=np.asarray(header["classes"]),
            feature_names=tuple(header["feature_names"]),
            **arrays,
            **parts,
            parents=tuple(header["parents"]),
            sample_shape=tuple(header["sample_shape"]),
        )

    def _compare(self, weights: Array, level: float) -> pd.DataFrame:
        table = contrasts.compare(self.decoded, self.means, self.profile_spread, self.counts, weights, level)
        columns = ["difference", "low", "high", "class_means_difference"]
        table[columns] = table[columns].mul(self.scale, axis=0)
        table.index = pd.Index(self.feature_names, name="feature")
        by = contrasts.ranking(table)
        return table.sort_values(by, key=np.abs, ascending=False, kind="stable")

    def _space(self, metric: str, space: str, is_corrected: bool = True) -> Space:
        spread = self.spread_in(space)
        if space == "code":
            return Space(self.codes, metric, spread, self.counts, is_corrected)
        if is_corrected and spread is not None and not self.is_faithful:
            warnings.warn(
                "Decoded codes miss the means of their classes by more than chance would (see `is_faithful`): the "
                "distances between profiles are not corrected for chance, and supports are those of the class means.",
                UserWarning,
                stacklevel=3,
            )
            is_corrected = False
        return Space(self.decoded, metric, spread, self.counts, is_corrected)

    def _refitted(self, refits: Sequence["ClassAtlas"], metric: str, space: str) -> list[Array]:
        """Return the dissimilarities of other fits, classes in the order of this one."""
        found = []
        for atlas in refits:
            if sorted(atlas.names) != sorted(self.names):
                differing = sorted(set(atlas.names) ^ set(self.names))
                raise ValueError(
                    f"`refits` must have the {len(self.names)} classes of this atlas; {differing[0]!r} is in one only. "
                    "Fit the same samples with other seeds."
                )
            order = [atlas.names.index(name) for name in self.names]
            found.append(atlas._space(metric, space).dissimilarities()[np.ix_(order, order)])
        return found

    def _frame(self, units: NDArray[np.floating]) -> pd.DataFrame:
        return pd.DataFrame(self.center + self.scale * units, index=self._index(), columns=list(self.feature_names))

    def _index(self, name: str = "class") -> "pd.Index[Any]":
        return pd.Index(self.classes, name=name)


ARRAYS = ("counts", "codes", "decoded", "means", "center", "scale")
KINDS: dict[str, Any] = {
    "code_spread": Spread,
    "profile_spread": Spread,
    "density": ClassDensity,
    "calibration": Calibration,
}
PARTS = {part: tuple(field.name for field in fields(kind)) for part, kind in KINDS.items()}


def _rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation of two matrices over pairs of classes; NaN where all pairs of one are the same."""
    pairs = np.triu_indices(len(a), 1)
    first, second = a[pairs], b[pairs]
    # scipy warns of constant input; a single pair, or classes that are all equally far apart, are no mistake here.
    if (first == first[:1]).all() or (second == second[:1]).all():
        return float("nan")
    return float(spearmanr(first, second).statistic)
