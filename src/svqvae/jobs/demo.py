"""The demonstration: scikit-learn's handwritten digits, nothing to download."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from svqvae.data.images import digits
from svqvae.estimator import SVQVAE
from svqvae.evaluation.beside import TEST, TRAINING
from svqvae.evaluation.quality import Quality, quality_of
from svqvae.files import check_folder, write_whole
from svqvae.fitting.run_folder import METRICS, write_run
from svqvae.jobs.report import report_fitted
from svqvae.report.page import Report

N_REAL, N_DRAWN = 3, 5


def run_demo(
    folder: Path,
    seed: int,
    verbose: bool,
    command: str | None = None,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda _: None,
) -> tuple[Quality, Report]:
    """Train on 70 % of the digits, measure on the other 30 %, and save run, figures, a picture and the page.

    The split is stratified by digit and drawn with the same seed as everything else. The figures returned are those of
    the digits held out.
    """
    check_folder(folder)
    images, labels = digits()
    X_train, X_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.3, stratify=labels, random_state=seed
    )
    # Fewer epochs than by default: a demonstration must not take minutes.
    model = SVQVAE(architecture="conv", n_epochs=40, random_state=seed, verbose=verbose).fit(X_train, y_train)
    fitted = model.fitted_.made_of(command=command)
    write_run(folder, fitted)
    draw_digits(model, X_test, y_test, folder / "digits.png", seed)
    sets = {TRAINING: fitted.labelled(X_train, y_train), TEST: fitted.labelled(X_test, y_test)}
    qualities = {kind: quality_of(fitted, sets[TRAINING], part) for kind, part in sets.items()}
    figures = {kind: quality.to_dict() for kind, quality in qualities.items()}
    write_whole(folder / METRICS, json.dumps(figures, indent=2).encode())
    report = report_fitted(fitted, folder, figures, sets, progress, title="Handwritten digits")
    return qualities[TEST], report


def draw_digits(model: SVQVAE, X_test: NDArray[np.float32], y_test: NDArray[np.int64], path: Path, seed: int) -> None:
    """Draw, for each class, its decoded code, real held-out images and simulated ones."""
    n_rows, n_classes = 1 + N_REAL + N_DRAWN, len(model.classes_)
    figure = Figure(figsize=(0.62 * n_classes + 1.1, 0.62 * n_rows + 0.3), layout="constrained")
    axes = figure.subplots(n_rows, n_classes, gridspec_kw={"wspace": 0.05, "hspace": 0.05})
    profiles = model.class_profiles()
    low = min(0.0, float(profiles.min()))
    for k, name in enumerate(model.classes_):
        drawn = model.sample(name, N_DRAWN, random_state=seed + k)
        column = [profiles[k], *X_test[y_test == name][:N_REAL], *drawn]
        for axis, image in zip(axes[:, k], column, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=low, vmax=float(X_test.max()))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("0.85")
        axes[0, k].set_title(str(name), fontsize=10)
    for row, text in ((0, "code"), (1, "real"), (1 + N_REAL, "drawn")):
        axes[row, 0].set_ylabel(text, fontsize=10, rotation=0, ha="right", va="center")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    write_whole(path, content.getvalue())
