"""
Drug classes in melanoma cells
==============================

Three L1000 plates of A375 cells, from CMap's files to classes of compounds: how well they are recognised in compounds
that the model has not seen, and how they relate. The same steps as in :doc:`/l1000`, in Python.
"""

# %%
# The data are CMap's level-4 z-scores; ``SVQVAE_TEST_DATA`` names the folder that holds them as ``lincs/a375``.
# Classes of few signatures or few compounds are left out: of a class of two compounds, one says little about the
# other.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import dendrogram

from svqvae import SVQVAE
from svqvae.data.l1000 import Selection, read_signatures
from svqvae.evaluation.cross_validation import cross_validate

folder = Path(os.environ["SVQVAE_TEST_DATA"]) / "lincs" / "a375"
plates = sorted(folder.glob("*.gctx"))
selection = Selection(min_per_class=10, min_compounds=3)
adata, told = read_signatures(plates, folder / "sig_info.txt", folder / "pcl.csv", selection=selection)
print("\n".join(told))

# %%
# How well is the class of a compound recognised that the model has never seen? All signatures of a compound are held
# out together. Three folds and 50 epochs keep this page quick: left alone, the model takes 100 epochs, and ``svqvae
# evaluate`` repeats the division and gives the spread. ``profile_error`` is the squared distance of a class profile to
# the mean of the class's held-out signatures; where it is not below that of the majority, which predicts the mean of
# all signatures, the profile says nothing about new compounds.
X, y = adata.to_df(), adata.obs["pcl"].to_numpy()
found = cross_validate(X, y, {"svqvae": SVQVAE(n_epochs=50)}, groups=adata.obs["pert_iname"], n_folds=3, seeds=[0])
figures = found.summary()[["accuracy", "balanced_accuracy", "profile_error"]].sort_values("accuracy", ascending=False)
print(figures.round(3).to_string())

# %%
# Which classes are mistaken for which?
guesses = found.predictions["svqvae", 0]
short = {name: name.removeprefix("CP_").removesuffix("_INHIBITOR").replace("_", " ") for name in np.unique(y)}
confusion = pd.crosstab(pd.Series(y).map(short), pd.Series(guesses.to_numpy()).map(short), normalize="index")
confusion = confusion.reindex(index=sorted(short.values()), columns=sorted(short.values()), fill_value=0)
figure, axis = plt.subplots(figsize=(6.6, 5.4), layout="constrained")
picture = axis.imshow(confusion, cmap="Greens", vmin=0, vmax=1)
axis.set_xticks(range(len(confusion)), confusion.columns, rotation=45, ha="right")
axis.set_yticks(range(len(confusion)), confusion.index)
axis.set(xlabel="predicted", ylabel="class of the compound")
figure.colorbar(picture, label="share of the class's signatures")

# %%
# The atlas is made of all signatures. Numbers at the forks are supports: how often a second study of the same size
# would have the same classes below. They know of chance between signatures only; what all compounds of a class share
# by accident, such as their plate, they do not know.
atlas = SVQVAE(n_epochs=50, random_state=0).fit(adata, label="pcl").to_atlas()
tree = atlas.tree(random_state=0)
figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
names = [f"{short[name]} ({count})" for name, count in zip(tree.names, atlas.counts, strict=True)]
forks = dendrogram(
    tree.linkage, labels=names, orientation="right", color_threshold=0, above_threshold_color="0.35", ax=axis
)
support = dict(zip(tree.linkage[:, 2], tree.support, strict=True))
for heights, places in zip(forks["dcoord"], forks["icoord"], strict=True):
    text, place = f"{support[heights[1]]:.2f}", (heights[1], sum(places[1:3]) / 2)
    axis.annotate(text, place, (2, 1), textcoords="offset points", fontsize=8)
axis.set_xlabel("distance (Mahalanobis); in brackets: signatures")
axis.spines[["top", "right", "left"]].set_visible(False)

# %%
# Which pairs deviate from the mean of all signatures in the same direction, more than chance would have them? ``q`` is
# the expected share of false ones among all pairs down to this one.
print(atlas.pairs(random_state=0).sort_values("q", kind="stable").head(8).round(3).to_string(index=False))

# %%
# And which genes tell two classes apart? Differences are in z-scores, with intervals of 95 %. Signatures of one
# compound are not independent of each other: where a class has many signatures of few compounds, the intervals are too
# narrow.
contrast = atlas.contrast("CP_MEK_INHIBITOR", "CP_PI3K_INHIBITOR")
top = contrast.head(15)[::-1]
lengths = [top["difference"] - top["low"], top["high"] - top["difference"]]
figure, axis = plt.subplots(figsize=(6, 4.2), layout="constrained")
axis.errorbar(top["difference"], top.index, xerr=lengths, fmt="o")
axis.axvline(0, color="0.7", linewidth=1)
axis.set_xlabel("MEK inhibitors minus PI3K inhibitors, z-score")
axis.set_title(f"the 15 surest of {(contrast['q'] <= 0.05).sum()} genes at q ≤ 0.05")
axis.spines[["top", "right"]].set_visible(False)
