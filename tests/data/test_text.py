import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svqvae.data.tables import read_table
from svqvae.data.text import _may_have_long_numbers

CELLS = "sample,kind,batch,CD3E,CD19\ns1,T cell,1,5.5,0\ns2,B cell,2,0.5,4\ns3,T cell,1,6.0,1\n"
names = st.text(st.characters(categories=("Lu", "Ll", "Nd", "Po", "Zs"), exclude_characters="\x85"), max_size=8)


def write(tmp_path, text, name="cells.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    n_samples=st.integers(1, 5),
    features=st.lists(names.map("f{}".format), min_size=1, max_size=4, unique=True),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz"]),
)
def test_what_was_written_as_text_is_read_again(tmp_path_factory, data, n_samples, features, suffix):
    def columns(cells, unique=False):
        return data.draw(st.lists(cells, min_size=n_samples, max_size=n_samples, unique=unique))

    frame = pd.DataFrame({name: columns(st.floats(allow_infinity=False)) for name in features}, dtype=float)
    frame.insert(0, "the label", columns(names.map("k{}".format)))
    frame.index = pd.Index(columns(names.filter(bool), unique=True), dtype=object)
    path = tmp_path_factory.mktemp("text") / f"table{suffix}"
    frame.to_csv(path, sep="\t" if suffix == ".tsv" else ",")
    adata = read_table(path, label="the label")
    np.testing.assert_array_equal(adata.X, frame[features].to_numpy())
    assert list(adata.var_names) == features
    assert list(adata.obs_names) == list(frame.index)
    assert list(adata.obs["the label"]) == list(frame["the label"])


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.TSV", "t.tsv.gz"])
def test_tabs_separate_in_tsv_and_txt(tmp_path, name):
    text = CELLS.replace(",", "\t")
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read_table(path, label="kind", group="batch").shape == (3, 2)


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    assert list(read_table(write(tmp_path, "\ufeffsample,a\nx,1\n")).obs_names) == ["x"]


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "id", "SIG_ID", "Barcode"])
def test_a_first_column_of_a_usual_name_holds_the_sample_names(tmp_path, header):
    adata = read_table(write(tmp_path, f"{header},a\n007,1\nNA,2\n"))
    assert list(adata.obs_names) == ["007", "NA"]
    assert list(adata.var_names) == ["a"]


def test_row_names_without_a_header_are_sample_names(tmp_path):
    adata = read_table(write(tmp_path, "a,b\nx,1,2\ny,3,4\n"))
    assert list(adata.obs_names) == ["x", "y"]
    np.testing.assert_array_equal(adata.X, [[1, 2], [3, 4]])


def test_a_first_column_of_unique_text_holds_the_sample_names(tmp_path):
    assert list(read_table(write(tmp_path, "patient,a\np1,1\np2,2\n")).obs_names) == ["p1", "p2"]


@pytest.mark.parametrize("text", ["patient,a\np1,1\np1,2\n", "patient,a\np1,1\n,2\n", "dose,a\n1,1\n2,2\n"])
def test_rows_are_numbered_where_no_column_names_them(tmp_path, text):
    assert list(read_table(write(tmp_path, text)).obs_names) == ["0", "1"]


def test_the_label_is_never_taken_for_sample_names(tmp_path):
    adata = read_table(write(tmp_path, "cell,a\nT,1\nB,2\n"), label="cell")
    assert list(adata.obs["cell"]) == ["T", "B"]
    assert list(adata.obs_names) == ["0", "1"]


def test_missing_numbers_stay_missing(tmp_path):
    adata = read_table(write(tmp_path, "a,b,c\n1,NA,True\n,2,\nNaN,3,False\n"))
    np.testing.assert_array_equal(adata.X, [[1, np.nan, 1], [np.nan, 2, np.nan], [np.nan, 3, 0]])


def test_numbers_keep_every_digit(tmp_path):
    text = "a,b\n0.1234567890123456789,9007199254740993\n1e-310,99999999999999999999999\n"
    adata = read_table(write(tmp_path, text))
    np.testing.assert_array_equal(adata.X, [[0.1234567890123456789, 9007199254740993], [1e-310, 1e23]])


def test_short_numbers_are_read_as_python_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    digits = [str(number) for number in rng.integers(10 ** rng.integers(1, 15, 3000))]
    places = [int(rng.integers(len(number) + 1)) for number in digits]
    cells = [f"-{number[:place]}.{number[place:]}" for number, place in zip(digits, places, strict=True)]
    path = write(tmp_path, "\n".join(["a", *cells]))
    assert not _may_have_long_numbers(path)
    np.testing.assert_array_equal(read_table(path).X[:, 0], [float(cell) for cell in cells])


@pytest.mark.parametrize("cell", ["0.33043707618338714", "1.828e-30"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_long_numbers_are_read_as_python_reads_them(tmp_path, cell, end, name):
    text = end.join(["sample,a", f"s1,{cell}", "s2,0.5", ""]).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert read_table(tmp_path / name).X[0, 0] == float(cell)


@pytest.mark.parametrize("n_before", [1, 2, 9, 15, 17])
def test_a_long_number_is_seen_across_the_blocks_of_a_file(tmp_path, n_before):
    path = write(tmp_path, f"id,a\nx,1\n{'s' * (2**22 - n_before - 5)},0.33043707618338714\n")
    assert _may_have_long_numbers(path)
    assert read_table(path).X[1, 0] == 0.33043707618338714


def test_a_label_called_none_is_a_label(tmp_path):
    adata = read_table(write(tmp_path, "drug,a\nNone,1\nvemurafenib,2\n"), label="drug")
    assert list(adata.obs["drug"]) == ["None", "vemurafenib"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "which is empty"),
        ("sample,a\n", "which has only a header"),
        ("a,b,a\n1,2,3\n", "unique column names; got .*'a' more than once"),
        ("a,,b\n1,2,3\n", "a name for each column; got .*column 2 has none"),
        ("a,b\n1,2,\n", "as many cells.*2 names and 3 cells in the first row"),
        ("a,b\n1,2,3,4\n", "as many cells.*2 names and 4 cells in the first row"),
        ("a,b\n1,2\n1,2,3\n", "reading fails: .*Expected 2 fields in line 3, saw 3"),
        ("sample,kind\ns1,T\ns2,B\n", "a column of numbers; got .*'kind'.*separator"),
        ("a;b\n1;2\n", "its columns separated by commas"),
        ("id,a\nx,1\nx,2\ny,3\n", "unique sample names; got .*'x' more than once"),
        ("id,a\nx,1\n,2\n", "a name for each sample; got .*data row 2"),
        ("id,a\n" + "".join(f"s{i % 8},{i}\n" for i in range(16)), r"'s0', 's1', 's2', 's3', 's4' \(\+3 more\)"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"`path` must (have )?(.*cells.csv.*)?{message}"):
        read_table(write(tmp_path, text))


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("id,größe\nx,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.csv, where reading fails: .*Save it as UTF-8"):
        read_table(path)


def test_a_damaged_gzip_table_is_refused(tmp_path):
    path = tmp_path / "cells.csv.gz"
    path.write_bytes(gzip.compress(CELLS.encode())[:-12])
    with pytest.raises(ValueError, match=r"sound table; got .*cells.csv.gz, where reading fails"):
        read_table(path)
