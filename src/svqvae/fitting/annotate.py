"""The class of new samples, and how sure it is."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.atlas.confidence import class_sets
from svqvae.data.l1000 import rename_genes
from svqvae.data.samples import CHUNK, Samples, is_anndata, read_samples
from svqvae.fitting.fitted import Fitted

if TYPE_CHECKING:
    from anndata import AnnData

# Samples with a smaller p-value are said to be of no known class: as many of the known classes are by chance.
UNKNOWN = 0.05
SEPARATOR = "|"


def tell_classes(fitted: Fitted, X: Any, unknown: float = UNKNOWN) -> pd.DataFrame:
    """Return the class of each sample and how sure it is, a row each.

    Parameters
    ----------
    fitted
        What was learnt, `SVQVAE.fitted_`.
    X : (n, n_features), table or images
        New samples.
    unknown
        Samples with a `novelty_p` of at most this are said to be of no known class.

    Returns
    -------
    pandas.DataFrame
        ``class``, that of the nearest code; its ``probability``, which is not calibrated; ``set``, the classes among
        which it is nine times in ten (see `svqvae.atlas.confidence.class_sets` for when that is promised), apart by
        "|", the most probable first; ``novelty_p``, how often a sample of the known classes is as unlike all of them
        (`ClassAtlas.novelty`); ``is_unknown``, whether that is rarer than `unknown`. The last two are
        missing where the run knows no samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from svqvae import SVQVAE
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SVQVAE(n_epochs=5, latent_dim=8, random_state=0).fit(X, y)
    >>> table = tell_classes(model.fitted_, [[5.0, 3.4, 1.5, 0.2], [50.0, 34.0, 15.0, 2.0]])
    >>> table["is_unknown"].tolist()
    [False, True]
    """
    parts = _tell_parts(fitted, _samples(fitted, X), unknown)
    return pd.concat([table for table, _ in parts], ignore_index=True)


def annotate_anndata(fitted: Fitted, adata: "AnnData", unknown: float = UNKNOWN) -> pd.DataFrame:
    """Add to AnnData what a model makes of its samples, for scanpy and its like, and return it as `tell_classes` does.

    ``obsm["X_svqvae"]``, the latents; ``obs["svqvae_class"]``, categorical, and with the same beginning
    ``probability``, ``set``, ``novelty_p`` and ``is_unknown``; ``uns["svqvae"]``, the classes, their codes and the
    versions and seed of the fit.

    Parameters
    ----------
    fitted
        What was learnt, `SVQVAE.fitted_`.
    adata : (n, n_features)
        With the features of the fit, in any order and among others.
    unknown
        As in `tell_classes`.

    Examples
    --------
    >>> import anndata
    >>> from svqvae import SVQVAE
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["T", "B"], 20)
    >>> obs = pd.DataFrame({"kind": y}, index=[f"s{k}" for k in range(40)])
    >>> adata = anndata.AnnData(rng.normal(size=(40, 5)) + 3 * (y == "T")[:, None], obs)
    >>> model = SVQVAE(n_epochs=5, latent_dim=8, random_state=0).fit(adata, label="kind")
    >>> table = annotate_anndata(model.fitted_, adata)
    >>> adata.obsm["X_svqvae"].shape
    (40, 8)
    """
    parts = list(_tell_parts(fitted, _samples(fitted, adata), unknown))
    table = pd.concat([table for table, _ in parts], ignore_index=True)
    adata.obsm["X_svqvae"] = np.concatenate([latents for _, latents in parts])
    for column in table:
        adata.obs[f"svqvae_{column}"] = table[column].array
    adata.obs["svqvae_class"] = pd.Categorical(table["class"], categories=fitted.classes)
    adata.uns["svqvae"] = {
        "classes": fitted.classes.astype(str),
        "codes": fitted.codebook,
        "seed": fitted.seed,
        "version": version("svqvae"),
    }
    return table


def with_features_of(fitted: Fitted, adata: "AnnData") -> "AnnData":
    """Return the data with the features of the fit alone, in their order, where it has them all."""
    names = fitted.feature_names
    # As they are where nothing is to be picked: a view of backed data cannot be viewed again.
    if names is None or list(adata.var_names) == list(names):
        return adata
    adata = rename_genes(adata, names)
    return adata[:, list(names)] if set(names) <= set(adata.var_names) else adata


def _samples(fitted: Fitted, X: Any) -> Samples:
    if is_anndata(X):
        return fitted.accept(read_samples(with_features_of(fitted, X), layer=fitted.layer))
    return fitted.accept(read_samples(X))


def _tell_parts(fitted: Fitted, samples: Samples, unknown: float) -> Iterator[tuple[pd.DataFrame, NDArray[np.float32]]]:
    """Yield what is told of samples, and their latents, part by part; each sample is read and encoded once."""
    if not 0 <= unknown <= 1:
        raise ValueError(f"`unknown` must be from 0 to 1; got {unknown!r}.")
    recognizer = fitted.recognizer()
    for block in fitted.blocks(samples, CHUNK):
        read = fitted.read(block)
        latents = fitted.encode_read(read)
        yield _tell(fitted, recognizer.probabilities(latents), read, latents.numpy(), unknown), latents.numpy()


def _tell(
    fitted: Fitted,
    probabilities: NDArray[np.float32],
    read: NDArray[np.float32],
    latents: NDArray[np.float32],
    unknown: float,
) -> pd.DataFrame:
    best = probabilities.argmax(1)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    chosen = np.take_along_axis(class_sets(probabilities, fitted.atlas.calibration), order, 1)
    names = np.array(fitted.atlas.names, dtype=object)
    p = fitted.atlas.novelty(read, latents)
    is_unknown = pd.array(p <= unknown, dtype="boolean")
    is_unknown[np.isnan(p)] = pd.NA
    return pd.DataFrame(
        {
            "class": fitted.classes[best],
            "probability": probabilities[np.arange(len(best)), best],
            "set": [SEPARATOR.join(names[row[own]]) for row, own in zip(order, chosen, strict=True)],
            "novelty_p": p,
            "is_unknown": is_unknown,
        }
    )
