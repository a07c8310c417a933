"""The atlas of classes: what is typical of each, how they relate and how sure that is, stored without the samples."""

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
from svqvae.atlas.confidence import Calibration, p_values, surprise
from svqvae.atlas.density import ClassDensity
from svqvae.atlas.shrinkage import shrink
from svqvae.atlas.space import METRICS, OnResample, Space
from svqvae.atlas.spread import Spread
from svqvae.atlas.tree import Tree, build_tree
from svqvae.wording import closest, list_some

Array = NDArray[np.float64]
SPACES = ("profile", "code")
FILE, KIND = "atlas.safetensors", "svqvae_atlas"
# Resamples for supports, permutations for p-values; chosen by hand: the standard error of a support is at most 0.016.
N_RESAMPLES = 1000
# Decoded codes stand for the class means if their mean squared difference from these is at most this share of the mean
# squared sampling error of the means, or this share of the variance between classes; both are chosen by hand.
MAX_MISS_OF_ERROR, MAX_MISS_OF_BETWEEN = 0.2, 0.01


@dataclass(frozen=True, eq=False)
class ClassAtlas:
    """What a fitted model knows about its classes; needs neither the samples nor torch.

    Arrays are in the model's units, those of features after centring and scaling. `center` and `scale` convert them to
    the data's units, in which methods return profiles and differences. For counts, log(1 + 10,000 × share of the
    sample's total) takes the place of the data's units.

    Attributes
    ----------
    classes
        Names of the classes, (n_classes,).
    feature_names
        Names of the features, (n_features,).
    counts
        Training samples per class, (n_classes,); all 0 where no samples are known, as in an imported model.
    codes
        (n_classes, latent_dim).
    decoded
        Decoded codes in the model's units, (n_classes, n_features).
    means
        Means of the training samples of each class in the model's units, (n_classes, n_features); NaN where no samples
        are known.
    center, scale
        The data's units are center + scale × the model's units, (n_features,).
    code_spread, profile_spread
        How latents and samples spread around their class; None where no samples are known, or no class had two that
        differ. Without them supports, intervals, p- and q-values are NaN, and there are no Mahalanobis distances.
    density
        Density of the latents of each class, from which samples are simulated, or None.
    calibration
        Scores of calibration samples, to which new samples are compared (see `svqvae.atlas.confidence`), or None.
    parents
        Group of each class, (n_classes,), toward whose mean profiles are shrunk; if empty, toward the mean of all
        classes.
    sample_shape
        Shape of a sample: (n_features,), or that of an image.
    fingerprint
        That of the fit that it comes from, which the other files of a run carry too; empty where it is not known.

    Examples
    --------
    >>> from svqvae import SVQVAE
    >>> from svqvae.data.simulate import plant_classes
    >>> data = plant_classes(3, 40, sizes=(20, 40))
    >>> atlas = SVQVAE(n_epochs=2, random_state=0).fit(data.X, data.y).to_atlas()
    >>> atlas.names, atlas.profiles.shape
    (('class 0', 'class 1', 'class 2'), (3, 40))
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
    fingerprint: str = ""

    @property
    def default_metric(self) -> str:
        """The metric to use unless one is chosen: "mahalanobis", or "euclidean" where there is no `profile_spread`."""
        return "euclidean" if self.profile_spread is None else "mahalanobis"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes as text, (n_classes,)."""
        return tuple(str(name) for name in self.classes.tolist())

    @cached_property
    def _shrunk(self) -> tuple[Array, Array]:
        if self.profile_spread is None:
            return self.decoded.astype(np.float64), np.ones(len(self.classes))
        return shrink(self.decoded, self.profile_spread.mean_variances(self.counts), self.parents)

    @property
    def profiles(self) -> pd.DataFrame:
        """What is typical of each class, classes × features, in the data's units.

        Decoded codes, shrunk toward the mean of all classes or of their group (`parents`), the more the fewer samples a
        class has: see `weights` and `svqvae.atlas.shrinkage`.
        """
        return self._frame(self._shrunk[0])

    @property
    def weights(self) -> pd.Series:
        """The weight of its own decoded code in the profile of each class, 0 to 1, (n_classes,)."""
        return pd.Series(self._shrunk[1], index=self._index(), name="weight")

    @property
    def decoded_profiles(self) -> pd.DataFrame:
        """The decoded codes without shrinkage, classes × features, in the data's units."""
        return self._frame(self.decoded)

    @cached_property
    def is_faithful(self) -> bool:
        """Whether decoded codes stand for the means of their classes, so that both have the same sampling errors.

        They do if the mean squared difference between decoded codes and class means is at most a fifth of the mean
        squared sampling error of the class means, or a hundredth of the variance between classes. This holds for the
        default objective, but not for the published one, and not after very little training.
        """
        if self.profile_spread is None:
            return False
        missed = float(((self.decoded - self.means) ** 2).mean())
        errors = float(self.profile_spread.mean_variances(self.counts).mean())
        return missed <= max(MAX_MISS_OF_ERROR * errors, MAX_MISS_OF_BETWEEN * float(self.means.var(0).mean()))

    def spread_in(self, space: str) -> Spread | None:
        """Return how samples ("profile") or latents ("code") spread around their class, or None where it is unknown.

        Raises
        ------
        ValueError
            The space is neither "profile" nor "code".
        """
        if space not in SPACES:
            raise ValueError(f"`space` must be 'profile' or 'code'; got {space!r}.")
        return self.profile_spread if space == "profile" else self.code_spread

    def with_parents(self, parents: Mapping[Any, str]) -> "ClassAtlas":
        """Return the atlas with profiles that are shrunk toward the mean of a group of classes instead of all classes.

        Parameters
        ----------
        parents
            Name of the group of each class, by the name of the class. Classes that are left out form one more group.

        Raises
        ------
        ValueError
            A class is not in the atlas.
        """
        given = {str(name): parent for name, parent in parents.items()}
        for name in given:
            self.find(name)
        return replace(self, parents=tuple(str(given.get(name, "")) for name in self.names))

    def find(self, name: Any) -> int:
        """Return the index of a class.

        Parameters
        ----------
        name
            Name of the class, or what becomes its name as text.

        Raises
        ------
        ValueError
            There is no such class; the message tells the closest names.
        """
        if str(name) in self.names:
            return self.names.index(str(name))
        raise ValueError(
            f"`name` must be one of {len(self.names)} classes; got {name!r}. {closest(str(name), self.names)}"
            f"classes are {list_some(self.names)}."
        )

    def distances(self, metric: str = "mahalanobis", space: str = "profile", *, corrected: bool = True) -> pd.DataFrame:
        """Return the distances between classes, classes × classes, symmetric, 0 on the diagonal.

        Parameters
        ----------
        metric
            "mahalanobis": Euclidean distance after whitening the covariance within classes, so that directions in which
            the samples of a class vary count less. "euclidean": in the model's units. "cosine": 1 - cosine similarity.
            "correlation": 1 - Pearson correlation.
        space
            "profile": decoded codes. "code": codes. Training pushes the codes of different classes apart, so that
            distances between codes say less about how alike the classes are.
        corrected
            Whether the average effect of sampling errors is subtracted, see `svqvae.atlas.space`; distances that would
            become negative are 0. Decoded codes that do not stand for their class means (`is_faithful`) are not
            corrected, with a warning.

        Raises
        ------
        ValueError
            The metric or space is unknown, or the metric is "mahalanobis" and the spread in this space is not known.
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
            Whether a class that is close to all others counts as farther off, see
            `svqvae.atlas.relations.nearest_partners`.
        n_resamples
            Number of resamples for the support; 0 for none.
        random_state
            Seed of the resamples.
        on_resample
            Called as ``on_resample(done, n_resamples)`` after each resample.
        refits
            Atlases of the same samples, fitted with other seeds.

        Returns
        -------
        pandas.DataFrame
            ``class``, ``nearest``, ``distance`` and ``support``. The support is the share of simulated studies of the
            same sizes in which this class is the nearest, so that the supports of the k nearest classes add up to 1 at
            most; it is NaN without resamples or where the spread within classes is not known. With refits also
            ``refit_support``, the share of them in which it is the nearest.

        Raises
        ------
        ValueError
            `k` is not from 1 to the number of other classes, `n_resamples` is negative, refits have other classes, or
            as in `distances`.
        """
        if not isinstance(k, int | np.integer) or not 1 <= k < len(self.classes):
            raise ValueError(
                f"`k` must be a whole number from 1 to {len(self.classes) - 1}, one less than the classes; got {k!r}. "
                "Use 1 for the nearest class alone."
            )
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
        """Test for each pair of classes whether they are closer than two unrelated classes of the same sizes.

        Closer means that both deviate from the mean of all samples in the same direction, see
        `svqvae.atlas.relations.closer_than_chance`.

        Parameters
        ----------
        metric, space
            As in `distances`.
        n_permutations
            Number of permutations of the labels.
        random_state
            Seed of the permutations.
        on_resample
            Called as ``on_resample(done, n_permutations)`` after each permutation.

        Returns
        -------
        pandas.DataFrame
            One row per pair, the closest first: ``class``, ``other``, ``distance``, ``similarity`` (the cosine between
            the two deviations, corrected for sampling errors), its p-value ``p``, and ``q`` after Benjamini and
            Hochberg.

        Raises
        ------
        ValueError
            There are fewer than 4 classes, the spread within classes is not known, or as in `distances`.
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
        """Return the network of classes, in which two are joined if each is among the k nearest of the other.

        Parameters
        ----------
        k
            Number of nearest classes; all other classes where there are fewer.
        metric, space
            As in `distances`.
        mutual
            Whether each of the two must be among the k nearest of the other; if False, one is enough.
        n_resamples, random_state, on_resample, refits
            As in `nearest`.

        Returns
        -------
        networkx.Graph
            Nodes are class names, with ``count`` (training samples), ``community`` (by the method of Louvain) and
            ``community_support``: the share of resamples in which another class of its community is in the same
            community again, averaged over these classes. Edges have ``distance``,
            ``weight`` = exp(-(distance / median distance)²) and ``support``. With refits there are ``refit_support``
            and ``community_refit_support`` as well.

        Raises
        ------
        ValueError
            `k` is no whole number of at least 1, or as in `nearest`.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"`k` must be a whole number of at least 1; got {k!r}. Use 3, say.")
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
            As in `nearest`; the support of a clade is the share of simulated studies whose tree contains it.

        Raises
        ------
        ValueError
            The linkage is unknown, or as in `nearest`.
        """
        room, others = self._space(metric, space), self._refitted(refits, metric, space)
        return build_tree(room, self.names, linkage, n_resamples, random_state, on_resample, others)

    def agreement(self) -> pd.DataFrame:
        """Compare distances by all metrics in both spaces with those by `default_metric` in profile space.

        Returns
        -------
        pandas.DataFrame
            One row per ``space`` and ``metric``: ``rank_correlation``, Spearman's over pairs of classes, NaN where all
            pairs are equally far apart; and ``same_nearest``, the share of classes with the same nearest class.
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
            Names of two classes.
        level
            Confidence level of the intervals, in (0, 1).

        Returns
        -------
        pandas.DataFrame
            One row per feature, the largest absolute t first: ``difference``, a - b of the decoded codes in the data's
            units; its interval ``low`` to ``high``; ``t``, ``p`` and ``q``, see `svqvae.atlas.contrasts`; and
            ``class_means_difference``, that of the plain class means in the data's units. What is not known is NaN;
            without t the largest absolute difference is first. ``attrs["agreement"]`` is the correlation of the two
            differences over features.

        Raises
        ------
        ValueError
            A class is unknown, both are the same, or `level` does not lie between 0 and 1.
        """
        first, second = self.find(a), self.find(b)
        if first == second:
            raise ValueError(
                f"`b` must be another class than `a`; got {str(a)!r} twice. Compare it with another class."
            )
        weights = np.zeros(len(self.classes))
        weights[first], weights[second] = 1, -1
        return self._compare(weights, level)

    def profile(self, name: Any, *, level: float = 0.95) -> pd.DataFrame:
        """Compare the decoded code of a class with those of all others, weighted by their numbers of samples.

        Where no samples are known, all classes have the same weight.

        Parameters
        ----------
        name
            Name of the class.
        level
            Confidence level of the intervals, in (0, 1).

        Returns
        -------
        pandas.DataFrame
            As in `contrast`.

        Raises
        ------
        ValueError
            The class is unknown, or `level` does not lie between 0 and 1.
        """
        k = self.find(name)
        counts = self.counts if self.counts.any() else np.ones(len(self.classes))
        weights = -counts / (counts.sum() - counts[k])
        weights[k] = 1
        return self._compare(weights, level)

    def novelty(self, rows: NDArray[np.floating], latents: NDArray[np.floating]) -> Array:
        """Return the p-value of each new sample for belonging to one of the classes, (n,).

        A small p-value means that the sample is unlike all classes. It is that of the surprise of the features; where
        the fit held samples out, it is twice the smaller of the p-values of features and latents (Bonferroni). NaN
        where no samples are known.

        Parameters
        ----------
        rows
            New samples in the model's units, (n, n_features).
        latents
            Their latents, (n, latent_dim).
        """
        known, spread = self.calibration, self.profile_spread
        if known is None or spread is None:
            return np.full(len(rows), np.nan)
        p = p_values(surprise(rows, known.means, spread), known.surprises)
        if self.code_spread is None or not len(known.code_surprises):
            return p
        p_codes = p_values(surprise(latents, self.codes, self.code_spread), known.code_surprises)
        return np.asarray(np.minimum(1, 2 * np.fmin(p, p_codes)))

    def save(self, folder: Path | str) -> None:
        """Write `atlas.safetensors` into a folder, which is created if it does not exist."""
        folder = Path(folder)
        files.make_folder(folder, "folder")
        files.write_whole(folder / FILE, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of `atlas.safetensors`."""
        tensors, header = self._to_parts()
        return files.to_bytes(tensors, KIND, header)

    @classmethod
    def load(cls, folder: Path | str) -> "ClassAtlas":
        """Read an atlas from the `atlas.safetensors` of a run folder, or from the file itself.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is damaged, no atlas, or of another format version.
        """
        path = Path(folder)
        path = path if path.is_file() else files.current(path, FILE)
        tensors, header = files.read_tensors(path, KIND, "an atlas of svqvae")
        return cls._from_parts(tensors, header)

    def _to_parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays by name, and a dict for JSON with all else."""
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
            "fingerprint": self.fingerprint,
        }
        return tensors, header

    @classmethod
    def _from_parts(cls, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> "ClassAtlas":
        arrays: dict[str, Any] = {name: tensors[name] for name in ARRAYS}
        # Imported models lack some parts, and so do runs of earlier versions.
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
            fingerprint=header.get("fingerprint", ""),
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
        """Return the dissimilarities of other fits, (n_classes, n_classes) each, in the order of the classes here."""
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
