"""Names beside marks."""

import itertools

import numpy as np
import pytest

from svqvae.report.labels import overlap, place_labels, shorten, text_width


def boxes_of(marks):
    for mark in marks:
        if not mark["is_hidden"]:
            room = text_width(mark["label"])
            left = mark["label_x"] - {"start": 0, "middle": room / 2, "end": room}[mark["anchor"]]
            yield left, mark["label_y"] - 11, left + room, mark["label_y"] + 4


@pytest.mark.parametrize("n", [5, 6, 15, 44])
def test_shortened_names_have_the_length_asked_and_keep_both_ends(n: int) -> None:
    short = shorten("CP_DOPAMINE_RECEPTOR_ANTAGONIST_OF_THE_BRAIN_STEM", n)
    assert len(short) == n
    assert short.startswith("CP")
    assert short.endswith("EM")


def test_short_names_stay_whole() -> None:
    assert shorten("B cell", 6) == "B cell"


def test_wide_scripts_are_taken_to_be_wider() -> None:
    assert text_width("细胞") > text_width("ab")


def test_names_overlap_neither_each_other_nor_the_edge() -> None:
    rng = np.random.default_rng(0)
    marks = [{"x": x, "y": y, "label": "CP_INHIBITOR"} for x, y in rng.uniform(20, 480, (40, 2)).tolist()]
    place_labels(marks, 500, 500)
    boxes = list(boxes_of(marks))
    assert 5 < len(boxes) < 40
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= 500 and box[3] <= 500 for box in boxes)


def test_names_of_important_marks_are_placed_first() -> None:
    marks = [{"x": 100.0, "y": 100.0 + k, "label": "A RATHER LONG NAME"} for k in range(12)]
    place_labels(marks, 300, 300)
    assert not marks[0]["is_hidden"]
    assert any(mark["is_hidden"] for mark in marks)


def test_names_keep_clear_of_lines_where_there_is_room() -> None:
    mark = {"x": 100.0, "y": 100.0, "label": "name"}
    place_labels([mark], 300, 300, lines=[(100, 100, 290, 100)])
    (box,) = boxes_of([mark])
    assert box[2] < 100 or box[3] < 100 or box[1] > 100


def test_names_cross_lines_rather_than_hide() -> None:
    mark = {"x": 100.0, "y": 100.0, "label": "name"}
    lines = [(100, 100, 100 + 150 * np.cos(a), 100 + 150 * np.sin(a)) for a in np.linspace(0, 6.3, 40)]
    place_labels([mark], 300, 300, lines=lines)
    assert not mark["is_hidden"]
