"""
Choosing hyper-parameters with scikit-learn
===========================================

``SVQVAE`` is a scikit-learn estimator, so pipelines, ``GridSearchCV`` and cross-validation by group work as with any
other. What they choose deserves the usual distrust: here is how much of the difference is chance.
"""

# %%
# Wine: 178 bottles of three growers, 13 measurements. A third is held out for a last look.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svqvae import SVQVAE

X, y = load_wine(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)

# %%
# How many measurements, and which geometry? Features need no scaling before the model, which scales them itself. Ten
# epochs and a narrow layer keep this page quick. For data with groups, such as signatures of one compound, use
# ``StratifiedGroupKFold`` and ``search.fit(X, y, groups=...)``.
pipeline = make_pipeline(SelectKBest(), SVQVAE(n_epochs=10, hidden=(64,), latent_dim=32, random_state=0))
choices = {"selectkbest__k": [3, 6, 13], "svqvae__geometry": ["euclidean", "cosine"]}
folds = RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=0)
search = GridSearchCV(pipeline, choices, cv=folds).fit(X_train, y_train)

# %%
# The means over eight folds, with the standard deviation over folds. Where settings differ by less than that, the
# search has not told them apart, and the simplest one is as good a choice as the winner.
results = pd.DataFrame(search.cv_results_)
table = results[
    ["param_selectkbest__k", "param_svqvae__geometry", "mean_test_score", "std_test_score", "rank_test_score"]
]
print(table.round(3).to_string(index=False))
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for shift, (geometry, own) in zip((-0.1, 0.1), results.groupby("param_svqvae__geometry"), strict=True):
    place = own["param_selectkbest__k"].astype(float) + shift
    axis.errorbar(place, own["mean_test_score"], own["std_test_score"], fmt="o-", label=geometry)
axis.set(xlabel="measurements kept", ylabel="accuracy on validation folds", xticks=choices["selectkbest__k"])
axis.legend(frameon=False, loc="lower right")
axis.spines[["top", "right"]].set_visible(False)

# %%
# The last look, at the held-out third, beside a logistic regression. A bottle is 0.017 here.
rival = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
print(f"chosen: {search.best_params_}")
print(f"svqvae {search.score(X_test, y_test):.3f}, logistic regression {rival.score(X_test, y_test):.3f}")

# %%
# The winner is a pipeline that was fitted again on all training bottles; its last step is the model, with all that the
# model can tell. Profiles are in the units of what that step was given: the measurements that were kept.
best = search.best_estimator_
kept = best[:-1].get_feature_names_out()
print(pd.DataFrame(best[-1].class_profiles(), best.classes_, kept).T.round(2).to_string())
