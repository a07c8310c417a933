"""
Simulated cells beside real ones
================================

``model.sample`` draws new samples of a class. How good are they? They are compared with real cells that the model has
not seen, and with the two plainest ways to simulate: drawing the fitted cells again, and a Gaussian per class on the
genes.
"""

# %%
# Blood cells, which scanpy ships; the types of which each half has at least ten. The model is fitted on one half; 50
# epochs keep this page quick.
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from svqvae import SVQVAE
from svqvae.evaluation.simulation import simulation_quality

cells = sc.datasets.pbmc68k_reduced()
counts = cells.obs["bulk_labels"].value_counts()
cells = cells[cells.obs["bulk_labels"].isin(counts.index[counts >= 20])]
X, y = cells.to_df(), cells.obs["bulk_labels"].astype(str).to_numpy()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
model = SVQVAE(n_epochs=50, random_state=0).fit(X_train, y_train)
print(f"{len(X_train)} cells fitted, {len(X_test)} held out, {len(model.classes_)} types")

# %%
# ``accuracy``: a classifier trained on the simulated cells, tested on real ones; the closer to that of the real cells,
# the better. ``detected``: how well a random forest tells simulated from real, 0.5 where it cannot. ``copied``:
# distance to the nearest fitted cell over that of real cells; near 0 for copies. The errors are those of mean,
# deviation and skew of each gene in each type.
quality = simulation_quality(model, X_train, y_train, X_test, y_test)
print(quality.round(3).to_string())

# %%
# What the table says, in a picture: for each gene and type the standard deviation among simulated cells and among
# held-out cells, and where simulated and real cells lie on the first principal components of the real ones.
simulated = np.concatenate([model.sample(name, int((y_test == name).sum()), random_state=0) for name in model.classes_])
kinds = np.repeat(model.classes_, [(y_test == name).sum() for name in model.classes_])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
real_spread = np.concatenate([X_test[y_test == name].std() for name in model.classes_])
own_spread = np.concatenate([simulated[kinds == name].std(0) for name in model.classes_])
left.scatter(real_spread, own_spread, s=2, alpha=0.4)
left.axline((0, 0), slope=1, color="0.5", linewidth=1)
left.set(xlabel="standard deviation in held-out cells", ylabel="in simulated cells", title="each gene in each type")
projection = PCA(2).fit(X_train.to_numpy())
for k, name in enumerate(model.classes_):
    for rows, marker in ((X_test.to_numpy()[y_test == name], "o"), (simulated[kinds == name], "+")):
        places = projection.transform(rows)
        label = name if marker == "o" else None
        right.scatter(*places.T, s=18, marker=marker, color=f"C{k}", alpha=0.7, linewidths=0.8, label=label)
right.set(xlabel="PC 1", ylabel="PC 2", title="held out (dots) and simulated (crosses)", xticks=[], yticks=[])
figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)

# %%
# What to take from it: simulated cells lie where real ones do and are no copies, and a classifier can learn the types
# from them. But a forest tells them from real cells, since each gene's values are more like a bell than real ones are:
# genes that no held-out cell of a type shows, at the left edge of the left picture, vary among its simulated cells. Do
# not use them where the shape of a gene's distribution matters; where a classifier only wants more cells, drawing the
# fitted ones again does as well. ``benchmarks/simulation.py`` repeats this over splits and data sets.
