"""Positions for the tree and the network of the classes."""

from typing import Any

import networkx as nx
import numpy as np

from svqvae.report.figures import Scale
from svqvae.report.labels import Box, overlap, place_labels, shorten, text_width

Place = tuple[float, float]
# Height of a row of the tree in pixels, and most classes with which its nodes are numbered; chosen by hand.
ROW, MAX_NUMBERED = 17, 60
# Most classes with which the tree is narrow, and with which it is shown without scrolling; chosen by hand.
MAX_NARROW, MAX_WHOLE = 20, 90
# The network, in pixels: its width, its margins, the length of an edge, the room for names between components, and the
# height of a row of unconnected classes; then the most characters of a name, and of that of an unconnected class. All
# are chosen by hand.
WIDTH, MARGIN, EDGE, GAP, LONE_ROW, MAX_LETTERS, MAX_LONE = 1060.0, 30.0, 130.0, 190.0, 25.0, 22, 30


def draw_tree(relations: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the positions of the tree: a bracket for each inner node, with its support, and a row for each class.

    Parameters
    ----------
    relations
        As `summarise_relations` returns them.
    names
        Names of the classes in the order of the atlas, (n_classes,).
    """
    order, merges = relations["order"], relations["merges"]
    n = len(order)
    width = 340.0 if n <= MAX_NARROW else 620.0
    highest = max((merge["height"] for merge in merges), default=0.0)
    x = Scale(0, highest or 1.0, width, 14)
    rows = {k: 14 + ROW * at for at, k in enumerate(order)}
    places = {k: (width, float(y)) for k, y in rows.items()}
    brackets = []
    for number, merge in enumerate(merges):
        (left_x, left_y), (right_x, right_y) = places[merge["left"]], places[merge["right"]]
        at = x(merge["height"])
        places[n + number] = (at, round((left_y + right_y) / 2, 2))
        brackets.append(
            {
                "path": f"M{left_x},{left_y}H{at}V{right_y}H{right_x}",
                "stem": (at, min(left_y, right_y), at, max(left_y, right_y)),
                "x": at,
                "y": places[n + number][1],
                "n": merge["n"],
                "height": merge["height"],
                "support": merge["support"],
                "is_root": number == len(merges) - 1,
            }
        )
    _number(brackets, is_wanted=n <= MAX_NUMBERED)
    room = max(text_width(shorten(name, 44)) for name in names)
    return {
        "width": round(width + 16 + room, 1),
        "height": 28 + ROW * n + 22,
        "axis": 22 + ROW * n,
        "start": width,
        "ticks": x.ticks(4),
        "brackets": brackets,
        "is_tall": n > MAX_WHOLE,
        "rows": [{"class": k, "text": shorten(names[k], 44), "x": width + 8, "y": rows[k]} for k in order],
    }


def _number(brackets: list[dict[str, Any]], is_wanted: bool) -> None:
    """Set `has_number`, whether there is room for the support of a node, in each bracket."""
    taken: list[Box] = [(b["x"] - 4, b["y"] - 4, b["x"] + 4, b["y"] + 4) for b in brackets]
    taken += [b["stem"] for b in brackets]
    for bracket in brackets:
        box = (bracket["x"] - 32, bracket["y"] - 13, bracket["x"] - 5, bracket["y"] - 4.5)
        bracket["has_number"] = is_wanted and box[0] > 0 and not any(overlap(box, other) for other in taken)
        if bracket["has_number"]:
            taken.append(box)


def draw_network(relations: dict[str, Any], classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the positions of the network, with each connected component laid out separately.

    Parameters
    ----------
    relations
        As `summarise_relations` returns them.
    classes
        As `summarise_classes` returns them.
    """
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(classes)))
    graph.add_edges_from((edge["a"], edge["b"]) for edge in relations["edges"])
    places, height = _pack(graph, [facts["name"] for facts in classes])
    largest = max(max(facts["count"] for facts in classes), 1)
    marks = [
        {
            "class": k,
            "name": facts["name"],
            "label": shorten(facts["name"], MAX_LETTERS if graph.degree[k] else MAX_LONE),
            "x": round(places[k][0], 1),
            "y": round(places[k][1], 1),
            "radius": round(4.5 + 5 * float(np.sqrt(facts["count"] / largest)), 1),
            "community": relations["nodes"][k]["community"],
            "degree": graph.degree[k],
        }
        for k, facts in enumerate(classes)
    ]
    edges = [
        {
            **edge,
            "x1": marks[edge["a"]]["x"],
            "y1": marks[edge["a"]]["y"],
            "x2": marks[edge["b"]]["x"],
            "y2": marks[edge["b"]]["y"],
            "width": round(1 + 3 * (edge["support"] if edge["support"] is not None else 0.3), 2),
        }
        for edge in relations["edges"]
    ]
    lines = [(edge["x1"], edge["y1"], edge["x2"], edge["y2"]) for edge in edges]
    by_degree = sorted(marks, key=lambda mark: -mark["degree"])
    place_labels(by_degree, WIDTH, height, radius=9, lines=lines)
    return {
        "width": WIDTH,
        "height": height,
        "marks": marks,
        "edges": edges,
        "n_lone": sum(mark["degree"] == 0 for mark in marks),
    }


def _pack(graph: "nx.Graph[int]", names: list[str]) -> tuple[dict[int, Place], float]:
    """Lay out each connected component, arrange them in rows like words on a page, and list other classes below."""
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
    places: dict[int, Place] = {}
    left, top, lowest = MARGIN, MARGIN, 0.0
    for part in parts:
        if len(part) == 1:
            continue
        shape = _lay_out(graph.subgraph(sorted(part)))
        points = np.array(list(shape.values()))
        sides = points.max(0) - points.min(0)
        if left > MARGIN and left + sides[0] > WIDTH - MARGIN - GAP / 2:
            left, top, lowest = MARGIN, top + lowest + 0.6 * EDGE, 0.0
        for k, point in zip(shape, points - points.min(0), strict=True):
            places[k] = (left + float(point[0]), top + float(point[1]))
        left += float(sides[0]) + GAP
        lowest = max(lowest, float(sides[1]))
    lone = [next(iter(part)) for part in parts if len(part) == 1]
    start = top + lowest + 0.6 * EDGE if places else MARGIN
    room = 40 + max((text_width(shorten(names[k], MAX_LONE)) for k in lone), default=0.0)
    n_columns = max(1, int((WIDTH - MARGIN) // room))
    for at, k in enumerate(lone):
        places[k] = (MARGIN + room * (at % n_columns), start + LONE_ROW * (at // n_columns))
    return places, round(max(y for _, y in places.values()) + MARGIN, 1)


def _lay_out(part: "nx.Graph[int]") -> dict[int, Place]:
    """Return the positions of a connected component, rotated so that it is widest from left to right."""
    found = nx.kamada_kawai_layout(part)
    points = np.array([found[k] for k in part])
    points -= points.mean(0)
    _, _, turn = np.linalg.svd(points, full_matrices=False)
    points = points @ turn.T
    ends = np.array([[list(part).index(a), list(part).index(b)] for a, b in part.edges])
    typical = float(np.median(np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)))
    points *= EDGE / max(typical, 1e-9)
    most = WIDTH - 2 * MARGIN - GAP
    sides = np.maximum(np.ptp(points, axis=0), 1e-9)
    points *= np.minimum(1.0, [most / sides[0], 0.75 * most / sides[1]])
    return {k: (float(a), float(b)) for k, (a, b) in zip(part, points, strict=True)}
