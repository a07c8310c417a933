"""Names in sentences, and values as plain JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from svqvae.wording import closest, list_some, plain


def round_trip(value: Any) -> Any:
    """Return what strict JSON gives back."""
    return json.loads(json.dumps(plain(value), allow_nan=False))


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, ""),
        (1, "'0'"),
        (5, "'0', '1', '2', '3', '4'"),
        (6, "'0', '1', '2', '3', '4' (+1 more)"),
        (1000, "'0', '1', '2', '3', '4' (+995 more)"),
    ],
)
def test_five_names_are_told_and_the_rest_counted(n: int, expected: str) -> None:
    assert list_some(range(n)) == expected


def test_names_are_written_as_asked() -> None:
    assert list_some(["it's", Path("a"), None], write=str) == "it's, a, None"
    assert list_some(["it's", "a\tb"]) == "\"it's\", 'a\\tb'"


def test_close_names_are_found_in_any_case_and_told_in_their_own() -> None:
    assert closest("MCF-7", ["HELA", "mcf7", "Mcf10a"]) == "The closest names are 'mcf7', 'Mcf10a'; "
    assert closest("helo", ["HELA", "PC3"]) == "The closest name is 'HELA'; "


def test_at_most_three_close_names_are_told() -> None:
    assert closest("class 1", [f"class {k}" for k in range(50)]).count("'class ") == 3


def test_names_that_are_not_close_are_not_told() -> None:
    assert closest("age", ["kind", "batch"]) == "The "
    assert closest("age", []) == "The "


def test_what_is_not_finite_becomes_null() -> None:
    found = round_trip({"a": [np.nan, -np.inf, 1.5], 3: np.array([[np.inf]]), "b": np.float32("nan")})
    assert found == {"a": [None, None, 1.5], "3": [[None]], "b": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(2), 2),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float32(0.5), 0.5),
        (np.array(7), 7),
        ((1, (2.5, None)), [1, [2.5, None]]),
        (np.array(["a", 1, None], dtype=object), ["a", 1, None]),
        (Path("run"), "run"),
        (complex(1, 2), "(1+2j)"),
        ({np.int64(1): {"a": ()}}, {"1": {"a": []}}),
    ],
)
def test_a_value_becomes_the_nearest_that_json_has(value: object, expected: object) -> None:
    assert round_trip(value) == expected
    assert type(plain(value)) is type(expected)


def test_a_table_becomes_its_rows_and_a_series_a_dict() -> None:
    table = pd.DataFrame({"class": ["a", "b"], "support": [0.5, np.nan], "n": np.array([1, 2])}, index=[7, 8])
    assert round_trip(table) == [{"class": "a", "support": 0.5, "n": 1}, {"class": "b", "support": None, "n": 2}]
    assert round_trip(table["n"]) == {"7": 1, "8": 2}
    assert round_trip(table.index) == [7, 8]


def test_wording_loads_neither_numpy_nor_pandas() -> None:
    code = "import sys, svqvae.wording as w; w.plain({'a': [1.0]}); assert not {'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
