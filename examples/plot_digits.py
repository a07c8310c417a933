"""
Digits: what a code shows
=========================

One fit of scikit-learn's handwritten digits, in pictures: decoded codes, digits regenerated from their latents, digits
that nobody wrote, and the tree of the classes with how sure each clade is.
"""

# %%
# The data: 1,797 images of 8×8 pixels. A fifth is held out. 25 epochs keep this page quick; left alone, the model
# takes 100 for so few images.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import dendrogram
from sklearn.model_selection import train_test_split

from svqvae import SVQVAE
from svqvae.data.images import digits
from svqvae.evaluation.quality import held_out_quality

images, labels = digits()
X_train, X_test, y_train, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
model = SVQVAE(architecture="conv", n_epochs=25, random_state=0).fit(X_train, y_train)

# %%
# How good is it? Each figure stands beside the plainest thing that one could do instead: for accuracy the nearest
# class mean, for the errors a table of class means, shown for every sample of its class. The class reconstruction
# cannot do better than that table, since it has one picture a class as well; the sample reconstruction can.
quality = held_out_quality(model, X_train, y_train, X_test, y_test)
figures = pd.DataFrame(
    {
        "svqvae": [quality.accuracy, quality.class_reconstruction, quality.sample_reconstruction],
        "class means": [quality.accuracy_class_means, *[quality.class_reconstruction_means] * 2],
    },
    index=["accuracy", "error of class reconstruction", "error of sample reconstruction"],
)
print(f"{quality.n_samples} held-out digits")
print(figures.round(4).to_string())

# %%
# The first row is what a code decodes to. It looks like the mean of its class because that is what a code stands for:
# the second row is that mean, computed from the images without any network. What the network adds is below: single
# digits regenerated from their latents, and new ones.
rng = np.random.default_rng(0)
shown = [rng.choice(np.flatnonzero(y_test == name)) for name in model.classes_]
rows = {
    "code": model.class_profiles(),
    "class mean": np.stack([X_train[y_train == name].mean(0) for name in model.classes_]),
    "held out": X_test[shown],
    "regenerated": model.reconstruct(X_test[shown]),
}
drawn = [model.sample(name, 3, random_state=int(name)) for name in model.classes_]
rows |= {f"drawn {number + 1}": np.stack([some[number] for some in drawn]) for number in range(3)}
figure, axes = plt.subplots(len(rows), 10, figsize=(8, 5.4), layout="constrained")
for line, (title, pictures) in zip(axes, rows.items(), strict=True):
    for axis, picture in zip(line, pictures, strict=True):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=16)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("0.85")
    line[0].set_ylabel(title, rotation=0, ha="right", va="center")

# %%
# Which digits are alike? The support at a fork is how often a second study of the same size would have the same digits
# below it. Low support means: not known.
atlas = model.to_atlas()
tree = atlas.tree(random_state=0)
figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
forks = dendrogram(tree.linkage, labels=tree.names, color_threshold=0, above_threshold_color="0.35", ax=axis)
support = dict(zip(tree.linkage[:, 2], tree.support, strict=True))
for xs, ys in zip(forks["icoord"], forks["dcoord"], strict=True):
    text, place = f"{support[ys[1]]:.2f}", (sum(xs[1:3]) / 2, ys[1])
    axis.annotate(text, place, (2, 2), textcoords="offset points", fontsize=8)
axis.set_ylabel("distance (Mahalanobis)")
axis.spines[["top", "right", "bottom"]].set_visible(False)

# %%
# The nearest class of each digit, and how much the answer depends on how distance is measured: ``same_nearest`` is the
# share of classes whose nearest class is that of the default metric. Where it is far from 1, say with the answer what
# was measured.
print(atlas.nearest(random_state=0).round(3).to_string(index=False))
print(atlas.agreement().round(3).to_string(index=False))
