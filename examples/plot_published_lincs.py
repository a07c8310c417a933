"""
The published LINCS model as an atlas
=====================================

Xue, Ding and Lu gave away the model that they had trained on L1000 signatures of 75 perturbagen classes. Here it is
read without running anything in its files, and asked what it says about the classes, and how far that depends on how
distance is measured.
"""

# %%
# The model: three ``.pth`` files, the table of its classes and that of its genes. ``SVQVAE_TEST_DATA`` names the
# folder that holds them as ``lincs``; they come from the authors' repository, evasnow1992/DeepGenerativeModelLINCS. On
# the command line this is ``svqvae import-published``.
import os
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from scipy.cluster.hierarchy import leaves_list

from svqvae.jobs.import_published import read_published

folder = Path(os.environ["SVQVAE_TEST_DATA"]) / "lincs"
saved = folder / "reference_model"
model = read_published(saved, saved / "pcl_names.csv", folder / "landmark_genes.tsv")
atlas = model.to_atlas()
print(f"{len(atlas.classes)} classes, {len(atlas.feature_names)} genes, {atlas.codes.shape[1]} latent dimensions")


# %%
# The notebook compares the codes by correlation, and gives each class its nearest one. The model comes without its
# samples, so nobody can say how sure these are: there are no supports.
def short(name):
    return name.removeprefix("CP_").replace("_", " ").lower()


nearest = atlas.nearest(metric="correlation", space="code").sort_values("distance")
print(nearest.head(12)[["class", "nearest", "distance"]].round(3).to_string(index=False))

# %%
# All pairs, classes in the order of the tree.
distances = atlas.distances(metric="correlation", space="code").to_numpy()
np.fill_diagonal(distances, np.nan)
tree = atlas.tree(metric="correlation", space="code")
order = leaves_list(tree.linkage)
figure, axis = plt.subplots(figsize=(9, 9), layout="constrained")
picture = axis.imshow(distances[np.ix_(order, order)], cmap="viridis_r")
axis.set_xticks([])
axis.set_yticks(range(len(order)), [short(tree.names[k]) for k in order], fontsize=6)
figure.colorbar(picture, label="1 - correlation of the codes", location="bottom", shrink=0.5, aspect=40)

# %%
# The network of nearest classes, as the notebook's edges for Gephi have it: each class is joined with its nearest one.
# It falls into groups; the six largest are drawn. ``svqvae classes`` writes the network as GraphML and as tables for
# Gephi.
network = atlas.network(k=1, mutual=False, metric="correlation", space="code")
groups = sorted(nx.connected_components(network), key=len, reverse=True)
figure, axes = plt.subplots(3, 2, figsize=(11, 13), layout="constrained")
for axis, group in zip(axes.flat, groups, strict=False):
    part = network.subgraph(group)
    places = nx.kamada_kawai_layout(part, weight=None)
    nx.draw_networkx_edges(part, places, ax=axis, edge_color="0.7")
    nx.draw_networkx_nodes(part, places, ax=axis, node_size=25, node_color="tab:blue")
    for name, (x, y) in places.items():
        label = fill(short(name), 15)
        axis.annotate(label, (x, y), (0, 4), textcoords="offset points", ha="center", fontsize=7.5, linespacing=0.9)
    axis.margins(0.15, 0.15)
    axis.set_axis_off()

# %%
# How much of this depends on what is compared? ``same_nearest`` is the share of classes with the same nearest class as
# by Euclidean distance between decoded codes, ``rank_correlation`` that of all pairs.
agreement = atlas.agreement()
print(agreement.round(2).to_string(index=False))

# %%
# Which genes does the model take to be typical of MEK inhibitors? The decoded code, minus the mean of all others.
profile = atlas.profile("CP_MEK_INHIBITOR")["difference"]
top = profile.loc[profile.abs().nlargest(20).index].sort_values()
figure, axis = plt.subplots(figsize=(6, 4.6), layout="constrained")
axis.barh(top.index, top, color=np.where(top > 0, "tab:red", "tab:blue"))
axis.set_xlabel("decoded code minus the mean of other classes, z-score")
axis.spines[["top", "right"]].set_visible(False)
