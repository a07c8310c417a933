"""Labels of marks: names shortened to fit, and placed where they do not overlap."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

# Left, top, right, bottom.
Box = tuple[float, float, float, float]


def shorten(name: str, n: int) -> str:
    """Return a name shortened in the middle to at most n characters.

    Examples
    --------
    >>> shorten("CP_DOPAMINE_RECEPTOR_ANTAGONIST", 15)
    'CP_DOPA…AGONIST'
    """
    if len(name) <= n:
        return name
    head = (n - 1) // 2
    return f"{name[:head]}…{name[len(name) - (n - 1 - head) :]}"


def text_width(text: str, size: float = 12) -> float:
    """Return the approximate width of a text in pixels at a font size in pixels, for a wide sans-serif font.

    Examples
    --------
    >>> text_width("AB") > text_width("ab") > text_width("il")
    True
    """
    wide = sum(
        1.0
        if unicodedata.east_asian_width(letter) in "WF"
        else 0.32
        if letter in "iljI.,:;'|! "
        else 0.74
        if letter.isupper()
        else 0.64
        for letter in text
    )
    return wide * size


def place_labels(
    marks: list[dict[str, Any]],
    width: float,
    height: float,
    radius: float = 7,
    lines: Sequence[Box] = (),
) -> None:
    """Place the label of each mark where it overlaps no other label or mark, or hide it until the mark is chosen.

    Labels overlap a line only if there is no other place. Sets ``label_x``, ``label_y``, ``anchor`` and ``is_hidden``.

    Parameters
    ----------
    marks
        Marks with ``x``, ``y`` and ``label``, the most important first; changed in place.
    width, height
        Size of the drawing in pixels.
    radius
        Radius of a mark in pixels.
    lines
        Lines as x and y of both ends.
    """
    walls = [_box_around(x, y, 3) for ends in lines for x, y in _along(*ends)]
    taken = [_box_around(mark["x"], mark["y"], radius) for mark in marks]
    for own, mark in enumerate(marks):
        room, gap = text_width(mark["label"]), radius + 3
        choices = [
            (mark["x"] + gap, mark["y"] + 4, "start"),
            (mark["x"] - gap, mark["y"] + 4, "end"),
            (mark["x"], mark["y"] - gap, "middle"),
            (mark["x"], mark["y"] + gap + 9, "middle"),
            (mark["x"] + gap / 2, mark["y"] - gap - 2, "start"),
            (mark["x"] + gap / 2, mark["y"] + gap + 11, "start"),
            (mark["x"] - gap / 2, mark["y"] - gap - 2, "end"),
            (mark["x"] - gap / 2, mark["y"] + gap + 11, "end"),
        ]
        boxes = [_box(x, y, room, anchor) for x, y, anchor in choices]
        others = taken[:own] + taken[own + 1 :]
        clear = [
            at
            for at, box in enumerate(boxes)
            if box[0] >= 2
            and box[2] <= width - 2
            and box[1] >= 0
            and box[3] <= height
            and not any(overlap(box, other) for other in others)
        ]
        free = [at for at in clear if not any(overlap(boxes[at], wall) for wall in walls)] or clear
        inside = [at for at, box in enumerate(boxes) if box[0] >= 2 and box[2] <= width - 2]
        best = free[0] if free else (inside or [0])[0]
        mark["is_hidden"] = not free
        mark["label_x"], mark["label_y"], mark["anchor"] = (
            round(choices[best][0], 1),
            round(choices[best][1], 1),
            choices[best][2],
        )
        if free:
            taken.append(boxes[best])


def _along(x1: float, y1: float, x2: float, y2: float) -> list[tuple[float, float]]:
    """Return points along a line, about 12 pixels apart, without its ends."""
    n = int(np.hypot(x2 - x1, y2 - y1) // 12)
    return [(x1 + (x2 - x1) * at / (n + 1), y1 + (y2 - y1) * at / (n + 1)) for at in range(1, n + 1)]


def _box_around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _box(x: float, y: float, room: float, anchor: str) -> Box:
    start = {"start": x, "middle": x - room / 2, "end": x - room}[anchor]
    return start, y - 11, start + room, y + 4


def overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
