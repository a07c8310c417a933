"""The tree and the network of the classes as positions."""

from typing import Any

import networkx as nx
import numpy as np

from svqvae.report.figures import Scale, place_labels, shorten

# Rows of the tree, in pixels, and classes up to which its nodes carry numbers.
ROW, MAX_NUMBERED = 17, 60
# Pixels from edge to edge of the network, room for a class in it, and characters of a name.
WIDTH, ROOM, MARGIN, MAX_LETTERS = 960.0, 72.0, 46.0, 20


def draw_tree(relations: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the tree: a bracket for each inner node with its support, and a row for each class."""
    order, merges = relations["order"], relations["merges"]
    n, width = len(order), 460.0
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
                "x": at,
                "y": places[n + number][1],
                "n": merge["n"],
                "height": merge["height"],
                "support": merge["support"],
                "is_root": number == len(merges) - 1,
            }
        )
    letters = max(min(len(name), 44) for name in names)
    return {
        "width": round(width + 24 + 7.2 * letters, 1),
        "height": 28 + ROW * n + 22,
        "axis": 22 + ROW * n,
        "start": width,
        "ticks": x.ticks(4),
        "brackets": brackets,
        "has_numbers": n <= MAX_NUMBERED,
        "rows": [{"class": k, "text": shorten(names[k], 44), "x": width + 8, "y": rows[k]} for k in order],
    }


def draw_network(relations: dict[str, Any], classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the network: connected classes close together, each group of them in a place of its own."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(classes)))
    graph.add_edges_from((edge["a"], edge["b"]) for edge in relations["edges"])
    places, height = _pack(graph, relations)
    largest = max(max(facts["count"] for facts in classes), 1)
    marks = [
        {
            "class": k,
            "name": facts["name"],
            "x": round(places[k][0], 1),
            "y": round(places[k][1], 1),
            "radius": round(4.5 + 5 * float(np.sqrt(facts["count"] / largest)), 1),
            "community": relations["nodes"][k]["community"],
            "degree": graph.degree[k],
        }
        for k, facts in enumerate(classes)
    ]
    place_labels(sorted(marks, key=lambda mark: -mark["degree"]), WIDTH, height, radius=9, most=MAX_LETTERS)
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
    return {"width": WIDTH, "height": height, "marks": marks, "edges": edges}


def _pack(graph: "nx.Graph[int]", relations: dict[str, Any]) -> tuple[dict[int, tuple[float, float]], float]:
    """Lay out each connected part by its distances, and put the parts in rows as words on a page."""
    distances = np.array(relations["distances"], dtype=np.float64)
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
    places: dict[int, tuple[float, float]] = {}
    left = top = MARGIN
    lowest = 0.0
    for part in parts:
        shape = _lay_out(graph.subgraph(sorted(part)), distances)
        points = np.array(list(shape.values()))
        sides = points.max(0) - points.min(0)
        if left > MARGIN and left + sides[0] > WIDTH - MARGIN:
            left, top, lowest = MARGIN, top + lowest + ROOM, 0.0
        for k, point in zip(shape, points - points.min(0), strict=True):
            places[k] = (left + float(point[0]), top + float(point[1]))
        left += float(sides[0]) + 2 * ROOM
        lowest = max(lowest, float(sides[1]))
    return places, round(top + lowest + MARGIN, 1)


def _lay_out(part: "nx.Graph[int]", distances: Any) -> dict[int, tuple[float, float]]:
    """Return the places of a connected part, its longest side from left to right, as wide as its classes need."""
    members = list(part)
    if len(members) == 1:
        return {members[0]: (0.0, 0.0)}
    found = nx.kamada_kawai_layout(part)
    points = np.array([found[k] for k in members])
    points -= points.mean(0)
    _, _, turn = np.linalg.svd(points, full_matrices=False)
    points = points @ turn.T
    wide = min(WIDTH - 2 * MARGIN, ROOM * max(1.0, 1.9 * len(members) ** 0.5))
    points *= wide / max(float(np.ptp(points[:, 0])), 1e-9)
    high = float(np.ptp(points[:, 1]))
    # A long chain is given some height, a round part is kept as it is.
    points[:, 1] *= min(1.0, 0.75 * wide / high) if high > 0 else 1.0
    return {k: (float(a), float(b)) for k, (a, b) in zip(members, points, strict=True)}
