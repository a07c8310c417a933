"""What `svqvae annotate` does: the class of new samples, and how sure it is."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from svqvae.atlas.confidence import class_sets, novelty
from svqvae.data.inputs import dense, parts
from svqvae.data.l1000 import rename_genes
from svqvae.estimator import SVQVAE

if TYPE_CHECKING:
    from anndata import AnnData

UNKNOWN = 0.05
SEPARATOR = "|"


def tell_classes(model: SVQVAE, X: Any, unknown: float = UNKNOWN) -> pd.DataFrame:
    """Return the class of each sample and how sure it is, a row each.

    Parameters
    ----------
    model
        Fitted.
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
        (`svqvae.atlas.confidence.novelty`); ``is_unknown``, whether that is rarer than `unknown`. The last two are
        missing where the run knows no samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SVQVAE(n_epochs=5, latent_dim=8, random_state=0).fit(X, y)
    >>> table = tell_classes(model, [[5.0, 3.4, 1.5, 0.2], [50.0, 34.0, 15.0, 2.0]])
    >>> table["is_unknown"].tolist()
    [False, True]
    """
    if not 0 <= unknown <= 1:
        raise ValueError(f"`unknown` must be from 0 to 1; got {unknown!r}.")
    return pd.concat([_tell(model, part, unknown) for part in parts(model, X)], ignore_index=True)


def _tell(model: SVQVAE, X: Any, unknown: float) -> pd.DataFrame:
    atlas, probabilities = model.to_atlas(), model.predict_proba(X)
    best = probabilities.argmax(1)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    chosen = np.take_along_axis(class_sets(probabilities, atlas.calibration), order, 1)
    names = np.array(atlas.names, dtype=object)
    p = novelty(atlas, model.scaling_.apply(dense(model._rows(X))), model.transform(X))
    is_unknown = pd.array(p <= unknown, dtype="boolean")
    is_unknown[np.isnan(p)] = pd.NA
    return pd.DataFrame(
        {
            "class": model.classes_[best],
            "probability": probabilities[np.arange(len(best)), best],
            "set": [SEPARATOR.join(names[row[own]]) for row, own in zip(order, chosen, strict=True)],
            "novelty_p": p,
            "is_unknown": is_unknown,
        }
    )


def annotate_anndata(model: SVQVAE, adata: "AnnData", unknown: float = UNKNOWN) -> pd.DataFrame:
    """Add to AnnData what a model makes of its samples, for scanpy and its like, and return it as `tell_classes` does.

    ``obsm["X_svqvae"]``, the latents; ``obs["svqvae_class"]``, categorical, and with the same beginning
    ``probability``, ``set``, ``novelty_p`` and ``is_unknown``; ``uns["svqvae"]``, the classes, their codes and the
    versions and seed of the fit.

    Parameters
    ----------
    model
        Fitted.
    adata : (n, n_features)
        With the features of the fit, in any order and among others.
    unknown
        As in `tell_classes`.

    Examples
    --------
    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["T", "B"], 20)
    >>> obs = pd.DataFrame({"kind": y}, index=[f"s{k}" for k in range(40)])
    >>> adata = anndata.AnnData(rng.normal(size=(40, 5)) + 3 * (y == "T")[:, None], obs)
    >>> model = SVQVAE(n_epochs=5, latent_dim=8, random_state=0).fit(adata, label="kind")
    >>> table = annotate_anndata(model, adata)
    >>> adata.obsm["X_svqvae"].shape
    (40, 8)
    """
    own = with_features_of(model, adata)
    table = tell_classes(model, own, unknown)
    adata.obsm["X_svqvae"] = model.transform(own)
    for column in table:
        adata.obs[f"svqvae_{column}"] = table[column].array
    adata.obs["svqvae_class"] = pd.Categorical(table["class"], categories=model.classes_)
    adata.uns["svqvae"] = {
        "classes": model.classes_.astype(str),
        "codes": model.codebook_,
        "seed": model.seed_,
        "version": version("svqvae"),
    }
    return table


def with_features_of(model: SVQVAE, adata: "AnnData") -> "AnnData":
    """Return the data with the features of the fit alone, in their order, where it has them all."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return adata
    adata = rename_genes(adata, names)
    return adata[:, list(names)] if set(names) <= set(adata.var_names) else adata
