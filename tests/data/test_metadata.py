from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae.data.metadata import decode, from_cells, from_stored, ids_of, pick, to_plain

IDS = pd.Index(["780", "7849", "6193"], dtype=object)
FILE = Path("a.gctx")


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2 ", "+3"], "i", [1, -2, 3]),
        (["1", "-666", ""], "f", [1, np.nan, np.nan]),
        (["1", "2.5", "1e-07", "inf"], "f", [1, 2.5, 1e-7, np.inf]),
        (["-666.0", "NA", "nan"], "f", [np.nan] * 3),
        (["007", "1"], "O", ["007", "1"]),
        (["12345678901234567890", "1"], "O", ["12345678901234567890", "1"]),
        (["9007199254740993", "-666"], "O", ["9007199254740993", None]),
        (["9007199254740993", "1"], "i", [9007199254740993, 1]),
        (["True", "FALSE"], "b", [True, False]),
        (["True", "na"], "O", ["True", None]),
        (["10 um", "-666", "\"5'"], "O", ["10 um", None, "\"5'"]),
        (["1_0", "1"], "O", ["1_0", "1"]),
    ],
)
def test_cells_of_text_get_the_type_that_holds_them_all(cells, kind, values):
    column = from_cells(cells)
    assert column.dtype.kind == kind
    pd.testing.assert_series_equal(pd.Series(column), pd.Series(values, dtype=column.dtype))


@pytest.mark.parametrize(
    ("stored", "dtype", "values"),
    [
        (np.array([1, 2], np.int32), "int32", [1, 2]),
        (np.array([1, -666], np.int32), "float64", [1, np.nan]),
        (np.array([0.5, -666.0], np.float32), "float32", [0.5, np.nan]),
        (np.array([True, False]), "bool", [True, False]),
        (np.array([b"24 ", b"-666", b""]), "object", ["24", None, None]),
        (np.array([b"nan", "10 \u00b5M".encode("latin-1")]), "object", ["nan", "10 \u00b5M"]),
        (np.array([b"\xce\xb1", "b"], dtype=object), "object", ["\u03b1", "b"]),
    ],
)
def test_stored_columns_keep_their_types(stored, dtype, values):
    column = from_stored(stored)
    assert column.dtype == dtype
    pd.testing.assert_series_equal(pd.Series(column), pd.Series(values, dtype=dtype))


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pd.Series([1, None], dtype="Int64"), "f", [1, np.nan]),
        (pd.Series([1, 2], dtype="Int8"), "i", [1, 2]),
        (pd.Series([1.5, None], dtype="Float64"), "f", [1.5, np.nan]),
        (pd.Series([True, None], dtype="boolean"), "O", ["True", None]),
        (pd.Series([3, None, 3], dtype="category"), "O", ["3", None, "3"]),
        (pd.Series(["a", None], dtype="string"), "O", ["a", None]),
        (pd.Series([1, "b", None], dtype=object), "O", ["1", "b", None]),
        (pd.Series(pd.to_datetime(["2017-03-06"])), "O", ["2017-03-06 00:00:00"]),
    ],
)
def test_columns_become_plain_arrays(column, kind, values):
    plain = to_plain(column)
    assert plain.dtype.kind == kind
    pd.testing.assert_series_equal(pd.Series(plain), pd.Series(values, dtype=plain.dtype))


def test_bytes_are_utf8_where_they_can_be():
    assert (decode("\u00b5".encode()), decode(b"\xb5")) == ("\u00b5", "\u00b5")


@pytest.mark.parametrize("values", [np.array([780, 7849]), np.array([780.0, 7849.0]), np.array([b"780 ", b"7849\0\0"])])
def test_ids_of_every_type_become_text(values):
    assert list(ids_of(values, "gene", FILE)) == ["780", "7849"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b ", "b"], r"unique ids; got a.gctx with the gene 'b' more than once"),
        (["a", " "], r"an id for each gene; got a.gctx with none for gene 2"),
    ],
)
def test_ids_that_name_nothing_or_two_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        ids_of(ids, "gene", FILE)


@pytest.mark.parametrize("wanted", [["6193", "780"], [2, 0], np.array([2, 0]), pd.Index(["6193 ", "780"])])
def test_picks_come_in_the_order_asked(wanted):
    assert pick(IDS, wanted, "rows", FILE).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["7848", "x"], r"`rows` must be ids in a.gctx; got '7848', 'x', .*closest to the first are '7849'"),
        ([f"x{k}" for k in range(7)], r"'x4' \(\+2 more\).*Ids there are '780', '7849', '6193'"),
        ([0, 3], r"`rows` must be positions from 0 to 2; got '3'. Give ids as text"),
        ([-1], r"positions from 0 to 2; got '-1'"),
        (["780", "780"], r"`rows` must be unique; got '780' more than once"),
        ("780", r"`rows` must be a list of ids, .* got '780'"),
        ([], r"`rows` must be a list .* got \[\]"),
        ([True, False, True], r"`rows` must be a list .* got 'True', 'False', 'True'"),
        (["780", 1], r"`rows` must be a list .* got '780', '1'"),
    ],
)
def test_picks_that_are_not_there_are_refused(wanted, message):
    with pytest.raises(ValueError, match=message):
        pick(IDS, wanted, "rows", FILE)
