"""Positions for curves, matrices and the map; templates turn them into SVG, and nothing here writes markup."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

from svqvae.report.labels import place_labels, shorten, text_width
from svqvae.report.pictures import shades

Array = NDArray[np.float64]

# Most classes with which cells of a matrix have numbers, and with which rows have names; chosen by hand.
MAX_NUMBERS, MAX_NAMED_ROWS = 16, 90
# Most classes with which each has its own colour: the number of class colours in the style sheet.
MAX_COLOURS = 10
TERMS = {
    "sample_reconstruction": "Sample reconstruction",
    "class_reconstruction": "Class reconstruction",
    "label": "Label (cross-entropy)",
    "commitment": "Commitment",
    "reconstruction": "Reconstruction",
    "codebook": "Codebook",
    "codebook_divergence": "Codebook divergence",
    "divergence": "Divergence",
    "loss": "Loss, all terms weighted",
    "validation_accuracy": "Accuracy of held-out samples",
}


@dataclass(frozen=True)
class Scale:
    """A linear map from numbers to positions.

    Attributes
    ----------
    low, high
        Range of the numbers.
    start, end
        Positions of `low` and `high`, in pixels.

    Examples
    --------
    >>> Scale(0.0, 2.0, start=100, end=200)(0.5)
    125.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a number, rounded to a hundredth."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, n: int) -> list[dict[str, Any]]:
        """Return the positions and texts of at most n + 1 round numbers within the range."""
        values = MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        tolerance = 1e-9 * (self.high - self.low)
        inside = [value for value in values if self.low - tolerance <= value <= self.high + tolerance]
        return [{"at": self(value), "text": f"{value:.6g}"} for value in inside]


def draw_curves(history: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a panel for each loss term and for the accuracy on held-out samples.

    Each has a title, the paths of training and validation, ticks, and the first and the last value. There are none for
    fewer than 2 epochs.

    Parameters
    ----------
    history
        As `svqvae.report.summary.describe_history` returns it.
    """
    epochs, panels = history["epoch"], []
    if len(epochs) < 2:
        return []
    terms = sorted(history["terms"], key=lambda term: term["name"] != "loss")
    watched = {"name": "validation_accuracy", "training": None, "validation": history["validation_accuracy"]}
    for term in (*terms, watched):
        lines = {kind: term[kind] for kind in ("training", "validation") if term[kind]}
        known = [value for values in lines.values() for value in values if value is not None]
        if not known:
            continue
        low, high = min(0.0, *known), max(0.0, *known)
        x, y = Scale(epochs[0], epochs[-1], 44, 268), Scale(low, high, 138, 12)
        panels.append(
            {
                "name": term["name"],
                "title": TERMS.get(term["name"], term["name"].replace("_", " ").capitalize()),
                "x_ticks": x.ticks(4),
                "y_ticks": y.ticks(4),
                "lines": [{"kind": kind, "path": _path(x, y, epochs, values)} for kind, values in lines.items()],
                "first": (term["training"] or term["validation"])[0],
                "last": (term["training"] or term["validation"])[-1],
            }
        )
    return panels


def _path(x: Scale, y: Scale, xs: list[float], ys: list[float | None]) -> str:
    points = [f"{x(a)},{y(b)}" for a, b in zip(xs, ys, strict=True) if b is not None]
    return "M" + "L".join(points)


def draw_matrix(values: Array, names: list[str], order: list[int], texts: Array | None = None) -> dict[str, Any]:
    """Return a classes × classes matrix: its image, sizes, names of rows and, for few classes, numbers in cells.

    Parameters
    ----------
    values : shades in [0, 1], (n_classes, n_classes)
    names
        Names of the classes in the order of the matrix, (n_classes,).
    order
        Order in which the classes are drawn, (n_classes,).
    texts
        Numbers for the cells, (n_classes, n_classes), or None.
    """
    n = len(order)
    # Cells of named rows are high enough for the names.
    least = 11 if n <= MAX_NAMED_ROWS else 3
    cell = round(float(np.clip(640 / n, least, 46)), 2)
    turned = values[np.ix_(order, order)]
    is_named = n <= MAX_NAMED_ROWS
    size = round(float(np.clip(cell * 0.9, 8.5, 13)), 1)
    labels = [shorten(names[k], 30) for k in order] if is_named else []
    left = round(10 + max((text_width(label, size) for label in labels), default=0.0), 1)
    is_numbered = n <= MAX_NUMBERS and texts is not None
    columns = is_named and cell >= 20
    top = round(10 + max(text_width(shorten(names[k], 14), size) for k in order), 1) if columns else 6.0
    cells = []
    if is_numbered and texts is not None:
        shown = texts[np.ix_(order, order)]
        cells = [
            {
                "x": round(left + (j + 0.5) * cell, 1),
                "y": round(top + (i + 0.5) * cell, 1),
                "value": float(shown[i, j]),
                "is_dark": bool(turned[i, j] > 0.5),
            }
            for i in range(n)
            for j in range(n)
            if np.isfinite(shown[i, j]) and shown[i, j]
        ]
    return {
        "image": shades(turned),
        "n": n,
        "cell": cell,
        "left": left,
        "top": top,
        "font": size,
        "side": round(n * cell, 1),
        "width": round(left + n * cell + 8, 1),
        "height": round(top + n * cell + 8, 1),
        "order": order,
        "rows": [
            {"class": k, "text": text, "y": round(top + (i + 0.5) * cell, 1)}
            for i, (k, text) in enumerate(zip(order, labels, strict=False))
        ],
        "columns": [
            {"class": k, "text": shorten(names[k], 14), "x": round(left + (i + 0.5) * cell, 1)}
            for i, k in enumerate(order)
        ]
        if columns
        else [],
        "cells": cells,
    }


def shade_distances(distances: Array) -> Array:
    """Return shades by rank, (n_classes, n_classes), from 1 for the closest pair to 0.04 for the farthest.

    Ranks are used since a few classes far from all others would make the shades of all other pairs alike. The diagonal
    is NaN.

    Parameters
    ----------
    distances
        (n_classes, n_classes), symmetric.

    Examples
    --------
    >>> shade_distances(np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 90.0], [2.0, 90.0, 0.0]]))
    array([[ nan, 1.  , 0.52],
           [1.  ,  nan, 0.04],
           [0.52, 0.04,  nan]])
    """
    upper = np.triu_indices(len(distances), 1)
    ranks = rankdata(distances[upper])
    values = np.full(distances.shape, np.nan)
    values[upper] = 1 - 0.96 * (ranks - 1) / max(len(ranks) - 1, 1)
    return np.asarray(np.fmax(values, values.T), dtype=np.float64)


def draw_map(places: dict[str, Any], names: list[str], *, is_wide: bool) -> dict[str, Any]:
    """Return the positions of samples and codes on the map, with names for as many codes as there is room for.

    Parameters
    ----------
    places
        As `svqvae.report.places.summarise_map` returns them.
    names
        Names of the classes, (n_classes,).
    is_wide
        Whether the map takes the whole width of the page.
    """
    xs, ys = np.array(places["x"], dtype=np.float64), np.array(places["y"], dtype=np.float64)
    codes = np.array(places["codes"], dtype=np.float64)
    width, height, margin = (680.0, 480.0, 24.0) if is_wide else (520.0, 420.0, 20.0)
    both = np.concatenate([np.column_stack([xs, ys]), codes])
    (low_x, low_y), (high_x, high_y) = both.min(0), both.max(0)
    x = Scale(float(low_x), float(high_x), margin, width - margin)
    y = Scale(float(low_y), float(high_y), height - margin, margin)
    marks = [
        {"x": x(a), "y": y(b), "class": k, "name": names[k], "label": shorten(names[k], 22)}
        for k, (a, b) in enumerate(codes.tolist())
    ]
    place_labels(marks, width, height)
    samples = zip(xs.tolist(), ys.tolist(), places["class"], places["set"], strict=True)
    return {
        "width": width,
        "height": height,
        "has_colours": len(names) <= MAX_COLOURS,
        "points": [{"x": x(a), "y": y(b), "class": k, "is_new": kind != "training"} for a, b, k, kind in samples],
        "codes": marks,
    }
