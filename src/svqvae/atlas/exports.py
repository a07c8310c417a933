"""An atlas as files for other tools: CSV tables, GraphML, CSV for Gephi, Newick, rankings and gene sets for GSEA."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd

from svqvae.atlas.atlas import N_RESAMPLES, ClassAtlas
from svqvae.atlas.contrasts import to_gmt, to_rnk
from svqvae.atlas.relations import MIN_CLASSES
from svqvae.atlas.space import OnResample, check_metric
from svqvae.files import check_file, check_folder, make_folder, write_whole

CONTRAST_SUFFIXES = (".csv", ".rnk", ".gmt")


def write_relations(
    atlas: ClassAtlas,
    out: Path,
    metric: str | None = None,
    space: str = "profile",
    *,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
    refits: Sequence[ClassAtlas] = (),
    progress: Callable[[str], OnResample | None] = lambda _: None,
) -> dict[str, Any]:
    """Write into a folder how the classes relate.

    The files are `distances.csv`, classes × classes; `nearest.csv`, the nearest class of each with its support;
    `pairs.csv`, with p- and q-values; `agreement.csv`, of metrics and spaces; `network.graphml`, and the same network
    for Gephi as `nodes.csv` and `edges.csv`; `tree.nwk`, and its clades with their supports as `clades.csv`. There is
    no `pairs.csv` without resamples, for an atlas without spread, or for fewer than 4 classes; one of an earlier call
    is removed.

    Parameters
    ----------
    atlas
        The atlas.
    out
        Created if it does not exist.
    metric, space, n_resamples, random_state, refits
        As in `ClassAtlas.nearest`; None takes `ClassAtlas.default_metric`.
    progress
        Called with the name of each part as it begins; returns its `on_resample`.

    Returns
    -------
    dict
        ``nearest`` and ``agreement`` (tables), ``network``, ``tree``, and ``files`` (paths).

    Raises
    ------
    ValueError
        A parameter is not as in `ClassAtlas.nearest`.
    NotADirectoryError
        The folder, or one above it, is a file.
    """
    metric = metric or atlas.default_metric
    check_metric(metric)
    check_folder(out)
    distances = atlas.distances(metric, space)
    make_folder(out)
    options: dict[str, Any] = {"n_resamples": n_resamples, "random_state": random_state, "refits": refits}
    nearest = atlas.nearest(1, metric, space, **options, on_resample=progress("nearest classes"))
    network = atlas.network(3, metric, space, **options, on_resample=progress("network"))
    tree = atlas.tree(metric, space, **options, on_resample=progress("tree"))
    agreement = atlas.agreement()
    nodes, edges = gephi_tables(network)
    texts = {
        "distances.csv": distances.to_csv(),
        "nearest.csv": nearest.to_csv(index=False),
        "agreement.csv": agreement.to_csv(index=False),
        "network.graphml": "\n".join(nx.generate_graphml(network)) + "\n",
        "nodes.csv": nodes.to_csv(index=False),
        "edges.csv": edges.to_csv(index=False),
        "tree.nwk": tree.newick() + "\n",
        "clades.csv": tree.to_table().to_csv(index=False),
    }
    (out / "pairs.csv").unlink(missing_ok=True)
    if n_resamples and atlas.spread_in(space) is not None and len(atlas.classes) >= MIN_CLASSES:
        pairs = atlas.pairs(
            metric,
            space,
            n_permutations=n_resamples,
            random_state=random_state,
            on_resample=progress("closer than chance"),
        )
        texts["pairs.csv"] = pairs.to_csv(index=False)
    for name, text in texts.items():
        write_whole(out / name, text.encode())
    files = [out / name for name in texts]
    return {"nearest": nearest, "agreement": agreement, "network": network, "tree": tree, "files": files}


def gephi_tables(network: "nx.Graph[Any]") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return nodes and edges of a network as the two tables that Gephi imports.

    Parameters
    ----------
    network
        What `ClassAtlas.network` returns.

    Returns
    -------
    pandas.DataFrame, pandas.DataFrame
        Nodes, with ``Id``, ``Label`` and their attributes; edges, with ``Source``, ``Target``, ``Type``, ``Weight`` and
        their other attributes.
    """
    nodes = pd.DataFrame([{"Id": name, "Label": name, **values} for name, values in network.nodes(data=True)])
    edges = pd.DataFrame(
        [
            {"Source": a, "Target": b, "Type": "Undirected", "Weight": values["weight"]}
            | {name: value for name, value in values.items() if name != "weight"}
            for a, b, values in network.edges(data=True)
        ],
        columns=None if network.number_of_edges() else ["Source", "Target", "Type", "Weight"],
    )
    return nodes, edges


def write_contrast(table: pd.DataFrame, out: Path, name: str) -> None:
    """Write a contrast as .csv, .rnk or .gmt, depending on the suffix of the file.

    Parameters
    ----------
    table
        What `ClassAtlas.contrast` or `ClassAtlas.profile` returns, one row per feature.
    out
        The file, which is written whole or not at all.
    name
        Name of the gene sets in a .gmt, to which "up" and "down" are added.

    Raises
    ------
    ValueError
        The suffix is another, or a .gmt would hold no gene set.
    """
    check_contrast_path(out)
    suffix = out.suffix.lower()
    if suffix == ".gmt" and table["q"].isna().all():
        raise ValueError(
            f"`out` must end in .rnk or .csv where the spread within classes is not known, since no q-values tell "
            f"which features of {name} are sure; got {out.name}."
        )
    if suffix == ".csv":
        text = table.to_csv()
    else:
        text = to_rnk(table) if suffix == ".rnk" else to_gmt(table, name)
    write_whole(out, text.encode())


def check_contrast_path(out: Path) -> None:
    """Refuse a path with an unknown suffix, or that is a folder; create the folder of the file.

    Raises
    ------
    ValueError
        The suffix is none of .csv, .rnk and .gmt.
    IsADirectoryError
        The path is a folder.
    """
    if out.suffix.lower() not in CONTRAST_SUFFIXES and not out.is_dir():
        raise ValueError(
            f"`out` must end in {', '.join(CONTRAST_SUFFIXES)}; got {out.name}. Give the file another suffix."
        )
    check_file(out)
