"""What `svqvae evaluate` does: from data to the figures of a cross-validation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import confusion_matrix

from svqvae.data.samples import read_samples
from svqvae.estimator import SVQVAE
from svqvae.evaluation.cross_validation import Comparison, OnFit, cross_validate
from svqvae.files import check_file, write_whole
from svqvae.fitting.run_folder import UNLIKE
from svqvae.wording import plain

if TYPE_CHECKING:
    from anndata import AnnData


def evaluate_model(
    adata: "AnnData",
    label: str,
    group: str | None,
    out: Path,
    settings: Mapping[str, Any],
    *,
    n_folds: int,
    n_seeds: int,
    unlabelled: "AnnData | None" = None,
    n_jobs: int = 1,
    on_fit: OnFit | None = None,
) -> Comparison:
    """Cross-validate a model beside plain classifiers, and write all figures as JSON.

    The file holds what was evaluated; for each method and figure mean, standard deviation and value of each seed; for
    the model its confusion matrix (rows: classes, columns: predictions; mean over seeds) and, class by class, samples,
    groups and the share predicted right. A class of a single group is never trained on while it is held out.
    """
    check_file(out)
    samples = read_samples(adata, label=label, groups=group, are_labelled=True)
    y, groups, seeds = samples.labels, samples.groups, range(n_seeds)
    model = SVQVAE(**settings)
    found = cross_validate(
        samples,
        None,
        {"svqvae": model},
        unlabelled=None if unlabelled is None else read_samples(unlabelled, groups=group),
        n_folds=n_folds,
        seeds=seeds,
        n_jobs=n_jobs,
        on_fit=on_fit,
    )
    names = np.unique(y)
    guesses = np.concatenate([found.predictions["svqvae", seed].to_numpy() for seed in seeds])
    confusion = confusion_matrix(np.tile(y, n_seeds), guesses, labels=names) / n_seeds
    content = {
        "label": label,
        "group": group,
        "n_samples": len(y),
        "n_unlabelled": 0 if unlabelled is None else unlabelled.n_obs,
        "n_features": adata.n_vars,
        "n_classes": len(names),
        "n_groups": None if groups is None else len(np.unique(groups)),
        "n_folds": n_folds,
        "n_seeds": n_seeds,
        "n_near_duplicates": found.n_near_duplicates,
        "n_plain": found.n_plain,
        "settings": plain({name: value for name, value in model.get_params(deep=False).items() if name not in UNLIKE}),
        "methods": found.to_dict(),
        "classes": [
            {
                "class": name,
                "n_samples": int((y == name).sum()),
                "n_groups": None if groups is None else len(np.unique(groups[y == name])),
                "right": float(confusion[k, k] / confusion[k].sum()),
            }
            for k, name in enumerate(names.tolist())
        ],
        "confusion": confusion.tolist(),
    }
    write_whole(out, json.dumps(content, indent=2, allow_nan=False).encode())
    return found
