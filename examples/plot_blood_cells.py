"""
Blood cells in scanpy
=====================

From an ``.h5ad`` file with a column of cell types to latents, classes and a map that scanpy draws: 700 blood cells of
ten types × 765 genes, which scanpy ships as ``pbmc68k_reduced``. The same three steps work on any AnnData.
"""

# %%
# The data. ``SVQVAE_TEST_DATA`` may name a folder that holds the file; otherwise scanpy has it.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from sklearn.model_selection import train_test_split

from svqvae import SVQVAE
from svqvae.data.tables import read_table
from svqvae.fitting.annotate import annotate_anndata

if "SVQVAE_TEST_DATA" in os.environ:
    cells = read_table(Path(os.environ["SVQVAE_TEST_DATA"]) / "pbmc68k_reduced.h5ad", label="bulk_labels")
else:
    cells = sc.datasets.pbmc68k_reduced()
print(cells)

# %%
# Fit on one half of the cells of each type. The label is a column of ``obs``; what each class looks like is in the
# atlas.
types = cells.obs["bulk_labels"]
is_fitted = np.isin(np.arange(cells.n_obs), train_test_split(np.arange(cells.n_obs), stratify=types, random_state=0)[0])
model = SVQVAE(random_state=0).fit(cells[is_fitted], label="bulk_labels")
atlas = model.to_atlas()
print(atlas.nearest().round(3).to_string())

# %%
# Which genes tell CD14+ monocytes from all other cells? Differences are in the units of the data, with intervals.
print(atlas.profile("CD14+ Monocyte").head(8).round(3).to_string())

# %%
# ``annotate_anndata`` adds latents, classes and codes, as ``svqvae annotate run cells.h5ad --out new.h5ad`` does; here
# to the cells that the model has not seen. From here on it is plain scanpy: latents are an embedding like any other.
new = cells[~is_fitted].copy()
annotate_anndata(model.fitted_, new)
print(f"{(new.obs['svqvae_class'].astype(str) == new.obs['bulk_labels'].astype(str)).mean():.3f} of {new.n_obs} right")
new.obs["svqvae_class"] = new.obs["svqvae_class"].cat.reorder_categories(new.obs["bulk_labels"].cat.categories)
new.uns["svqvae_class_colors"] = new.uns["bulk_labels_colors"]
sc.pp.neighbors(new, use_rep="X_svqvae", random_state=0)
sc.tl.umap(new, random_state=0)
sc.pl.umap(new, color=["bulk_labels", "svqvae_class"], wspace=0.9, show=False)
plt.gcf().set_size_inches(15, 4.5)
plt.subplots_adjust(left=0.05, right=0.8)

# %%
# One half is one draw: ``svqvae evaluate cells.h5ad --label bulk_labels --out quality.json`` repeats it over folds and
# seeds, beside plain classifiers.
