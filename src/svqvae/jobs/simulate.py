"""What `svqvae simulate` does: from a run folder to a file of simulated samples."""

from pathlib import Path

import numpy as np
import pandas as pd

from svqvae.data.stored import write_h5ad
from svqvae.files import check_file, write_whole
from svqvae.fitting.run_folder import read_fitted
from svqvae.parameters import resolve_seed


def simulate_samples(folder: Path, name: str, n: int, out: Path, seed: int) -> int:
    """Write n simulated samples of a class and return the number of features.

    The suffix says the format: .h5ad, .gctx, .gct or .csv. The class stands in the column ``class``, so
    that the file can be read as labelled data again.
    """
    suffix = out.suffix.lower()
    if suffix not in (".h5ad", ".gctx", ".gct", ".csv"):
        raise ValueError(f"`out` must end in .h5ad, .gctx, .gct or .csv; got {out.name}.")
    check_file(out)
    if n < 1:
        raise ValueError(f"`n` must be a whole number of at least 1; got {n!r}.")
    fitted = read_fitted(folder)
    atlas = fitted.atlas
    taken = {"class", "sample"} & set(atlas.feature_names)
    if suffix == ".csv" and taken:
        raise ValueError(
            f"`out` must end in .h5ad where a feature has the name of a column, {sorted(taken)[0]!r}; got {out.name}."
        )
    name = atlas.names[atlas.find(name)]
    rows = fitted.sample(name, n, np.random.default_rng(resolve_seed(seed))).reshape(n, -1)
    index = pd.Index([f"{name} {number}" for number in range(1, n + 1)], name="sample")
    if suffix == ".csv":
        table = pd.DataFrame(rows, index=index, columns=list(atlas.feature_names))
        table.insert(0, "class", name)
        write_whole(out, table.to_csv().encode())
    else:
        import anndata

        var = pd.DataFrame(index=pd.Index(atlas.feature_names, dtype=object))
        obs = pd.DataFrame({"class": [name] * n}, index=index.astype(object))
        adata = anndata.AnnData(rows.astype(np.float32), obs=obs, var=var)
        if fitted.recipe.design.image_shape:
            adata.uns["image_shape"] = np.array(fitted.sample_shape)
        if suffix in (".gctx", ".gct"):
            from svqvae.data import gctx

            gctx.write(adata, out)
        else:
            write_h5ad(adata, out)
    return rows.shape[1]
