"""Draw docs/picture.png, the picture of the README: one fit of scikit-learn's digits.

The tree of the ten classes with supports; below each leaf what its code decodes to, real digits that were held out, the
same regenerated from their latents, and digits that were drawn.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.cluster.hierarchy import dendrogram
from sklearn.model_selection import train_test_split

from svqvae import SVQVAE
from svqvae.atlas.tree import Tree
from svqvae.data.images import digits

PATH = Path(__file__).with_name("picture.png")
N_DRAWN = 2
# Matplotlib draws leaf number k at 10 k + 5.
STEP = 10


def draw_tree(axis: Axes, tree: Tree) -> list[str]:
    """Draw a tree with its supports and return its leaves from left to right."""
    forks = dendrogram(tree.linkage, labels=tree.names, color_threshold=0, above_threshold_color="0.35", ax=axis)
    support = dict(zip(tree.linkage[:, 2], tree.support, strict=True))
    for xs, ys in zip(forks["icoord"], forks["dcoord"], strict=True):
        text, place = f"{support[ys[1]]:.2f}", (sum(xs[1:3]) / 2, ys[1])
        axis.annotate(text, place, (2, 2), textcoords="offset points", fontsize=8, color="0.35")
    axis.set(yticks=[], ylim=(0.6 * tree.linkage[:, 2].min(), None), ylabel="tree of codes,\nwith support")
    axis.yaxis.label.set(rotation=0, ha="right", va="center")
    axis.tick_params(axis="x", length=0, labelsize=11)
    axis.spines[:].set_visible(False)
    return list(forks["ivl"])


def main() -> None:
    """Fit, draw and write the picture."""
    images, labels = digits()
    X_train, X_test, y_train, y_test = train_test_split(images, labels, test_size=0.3, stratify=labels, random_state=0)
    model = SVQVAE(architecture="conv", random_state=0, verbose=True).fit(X_train, y_train)
    names = model.classes_
    rng = np.random.default_rng(0)
    shown = [rng.choice(np.flatnonzero(y_test == name)) for name in names]
    drawn = np.stack([model.sample(name, N_DRAWN, random_state=int(name)) for name in names], axis=1)
    rows = {"code, decoded": model.class_profiles(), "held-out digit": X_test[shown]}
    rows |= {"regenerated": model.reconstruct(X_test[shown]), "drawn": drawn[0]}
    rows |= {" " * number: drawn[number] for number in range(1, N_DRAWN)}
    figure = plt.figure(figsize=(8.4, 5.5), dpi=120)
    top, bottom = figure.add_gridspec(
        2, 1, height_ratios=(1.7, len(rows)), hspace=0.1, left=0.16, right=0.99, top=0.99, bottom=0.01
    )
    axis = figure.add_subplot(top)
    order = [tuple(map(str, names)).index(name) for name in draw_tree(axis, model.to_atlas().tree(random_state=0))]
    axis.set_xlim(0, STEP * len(names))
    grid = bottom.subgridspec(len(rows), len(names), wspace=0.08, hspace=0.08).subplots()
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for place, k in zip(line, order, strict=True):
            place.imshow(pictures[k], cmap="gray_r", vmin=0, vmax=16)
            place.set(xticks=[], yticks=[])
            place.spines[:].set_color("0.85")
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
    figure.savefig(PATH)
    print(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
