"""Summarise each class as plain numbers: its samples, its profile, and whether its code can be trusted."""

from typing import Any

import numpy as np
import pandas as pd

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.contrasts import MAX_Q, ranking

# Features up, and down, on the card of a class; chosen by hand.
N_FEATURES = 8
FLAGS = {
    "is_silent": "code nearest to no sample",
    "is_displaced": "code far from its class mean",
    "is_outnumbered": "code nearest to as many foreign as own samples",
}


def summarise_classes(atlas: ClassAtlas, health: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the facts about each class in the order of the atlas.

    Parameters
    ----------
    atlas
        The atlas.
    health
        As in `SVQVAE.health_`.

    Returns
    -------
    list of dict
        ``name``; ``count``, training samples; ``weight`` of its own decoded code in the profile after shrinkage, see
        `ClassAtlas.weights`; ``flags``, problems of the code; ``up`` and ``down``: the features that differ most from
        all other samples, each with difference, interval, q, and standard deviation (``unit``); ``n_up`` and
        ``n_down``: number of features with q ≤ 0.05, or None if q is not known.
    """
    is_table = len(atlas.sample_shape) < 2
    units = dict(zip(atlas.feature_names, np.broadcast_to(atlas.scale, len(atlas.feature_names)).tolist(), strict=True))
    return [
        {
            "name": name,
            "count": int(atlas.counts[k]),
            "weight": float(atlas.weights.iloc[k]),
            "flags": _flags(health.iloc[k]),
            **_features(atlas, k, is_table, units),
        }
        for k, name in enumerate(atlas.names)
    ]


def _flags(row: "pd.Series[Any]") -> list[str]:
    flags = [text for column, text in FLAGS.items() if row[column] is True or row[column] is np.True_]
    if row["merged_with"] is not None and not pd.isna(row["merged_with"]):
        flags.append(f"code almost the same as that of {row['merged_with']}")
    return flags


def _features(atlas: ClassAtlas, k: int, is_table: bool, units: dict[str, float]) -> dict[str, Any]:
    table = atlas.profile(atlas.names[k])
    by = ranking(table)
    is_known = by == "t"
    sure = table["q"] <= MAX_Q
    table["unit"] = table.index.map(units)
    return {
        "up": _top(table[table[by] > 0]) if is_table else [],
        "down": _top(table[table[by] < 0]) if is_table else [],
        "n_up": int((sure & (table["t"] > 0)).sum()) if is_known else None,
        "n_down": int((sure & (table["t"] < 0)).sum()) if is_known else None,
    }


def _top(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.head(N_FEATURES)[["difference", "low", "high", "q", "unit"]]
    records: list[dict[str, Any]] = rows.assign(feature=rows.index.astype(str)).to_dict("records")  # type: ignore[assignment]
    return records
