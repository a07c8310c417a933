import gzip
from pathlib import Path

import numpy as np
import pytest

from svqvae.data import gctx

OLD = '#1.2\n2\t3\nName\tDescription\tA\tB\tC\n780\tkinase "alpha\t1\t2\t3\n7849\tna\t4\tNA\t-666\n'
NEW = (
    '#1.3\n2\t2\t1\t2\nid\tsymbol\tA\tB\ndose\tna\t10\t-666\nname\tna\t5\'-dT\t"x"\n'
    "780\tDDR1\t1.5\t-2\n7849\tPAX8\t0\t1e-3\n"
)


def write(tmp_path: Path, text: str | bytes, name: str = "a.gct") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_version_2_has_descriptions(tmp_path):
    adata = gctx.read(write(tmp_path, OLD))
    np.testing.assert_array_equal(adata.X, [[1, 4], [2, np.nan], [3, -666]])
    assert list(adata.var["Description"]) == ['kinase "alpha', None]
    assert (list(adata.var_names), list(adata.obs_names)) == (["780", "7849"], ["A", "B", "C"])


def test_version_3_has_metadata_of_both_sides(tmp_path):
    adata = gctx.read(write(tmp_path, NEW))
    np.testing.assert_array_equal(adata.X, np.float32([[1.5, 0], [-2, 1e-3]]))
    assert list(adata.var["symbol"]) == ["DDR1", "PAX8"]
    assert list(adata.obs["name"]) == ["5'-dT", '"x"']
    np.testing.assert_array_equal(adata.obs["dose"], [10, np.nan])


@pytest.mark.parametrize(
    "text",
    [
        NEW.replace("\n", "\r\n"),
        NEW + "\n \n",
        "\ufeff" + NEW,
        NEW.replace("1\t2\nid", "1\t2\t\t\nid").replace("PAX8\t0\t1e-3", "PAX8\t0\t1e-3\t\t"),
    ],
)
def test_line_ends_marks_and_trailing_blanks_do_not_matter(tmp_path, text):
    adata, plain = gctx.read(write(tmp_path, text, "b.gct")), gctx.read(write(tmp_path, NEW))
    np.testing.assert_array_equal(adata.X, plain.X)
    assert adata.obs.equals(plain.obs)
    assert adata.var.equals(plain.var)


def test_latin_1_is_read(tmp_path):
    adata = gctx.read(write(tmp_path, NEW.replace("5'-dT", "10 \u00b5M").encode("latin-1")))
    assert adata.obs["name"].iloc[0] == "10 \u00b5M"


def test_packed_text_is_read(tmp_path):
    packed = write(tmp_path, gzip.compress(NEW.encode()), "a.gct.gz")
    np.testing.assert_array_equal(gctx.read(packed).X, gctx.read(write(tmp_path, NEW)).X)
    with pytest.raises(ValueError, match=r"sound GCT file; got .*b.gct.gz, where reading fails: Compressed file ended"):
        gctx.read(write(tmp_path, packed.read_bytes()[:-20], "b.gct.gz"))


def test_metadata_do_not_need_numbers(tmp_path):
    path = write(tmp_path, NEW.replace("1.5", "bad"))
    var, obs = gctx.read_metadata(path)
    assert (list(var.index), list(obs.index)) == (["780", "7849"], ["A", "B"])
    np.testing.assert_array_equal(gctx.read(path, rows=["7849"]).X, np.float32([[0], [1e-3]]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (NEW, "", r"a GCT file; got .*a.gct, which is empty"),
        ("#1.3", "#1.4", r"version #1.2 or #1.3, .* with '#1.4'"),
        ("2\t2\t1\t2", "2\t2", r"4 counts in line 2, as GCT #1.3 has; got .* with '2', '2'"),
        ("2\t2\t1\t2", "2\t2\t1\tx", r"4 counts in line 2.*'x'"),
        ("2\t2\t1\t2", "0\t2\t1\t2", r"must have genes and samples; got .* with 0 and 2"),
        ("2\t2\t1\t2", "2\t3\t1\t2", r"5 cells in each line, as line 2 says; got .* with 4 in line 3"),
        ("DDR1\t", "", r"4 cells in each line, as line 2 says; got .* with 3 in line 6"),
        ("DDR1\t", "DDR1\tDDR1\t", r"4 cells in each line, as line 2 says; got .* with 5 in line 6"),
        ("780\tDDR1", "\n780\tDDR1", r"4 cells in each line.* with 1 in line 6"),
        ("2\t2\t1\t2", "3\t2\t1\t2", r"2 rows .* and 3 genes.* end in line 8; got .*, which ends in line 7"),
        ("7849\tPAX8\t0\t1e-3\n", "", r"and 2 genes.* end in line 7; got .*, which ends in line 6"),
        ("2\t2\t1\t2", "1\t2\t1\t2", r"and 1 genes.* end in line 6; got .*, which ends in line 7"),
        ("7849", "780", r"unique ids; got .* with the gene '780' more than once"),
        ("A\tB", "A\tA ", r"unique ids; got .* with the sample 'A' more than once"),
        ("name", "dose", r"unique names of column metadata; got .* with 'dose' more than once"),
        ("symbol", "", r"unique names of row metadata; got .* with one without a name"),
        ("1.5", "n.d.", r"numbers in its matrix; got .* with 'n.d.' in line 6, column 'A'"),
        ("-2\n", "1_0\n", r"with '1_0' in line 6, column 'B'"),
        ("1e-3", "1e39", r"with '1e39' in line 7, column 'B'"),
    ],
)
def test_text_that_contradicts_itself_is_told_with_its_line(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        gctx.read(write(tmp_path, NEW.replace(old, new)))


def test_columns_that_cmapr_lost_are_warned_of(tmp_path):
    path = write(tmp_path, NEW.replace('name\tna\t5\'-dT\t"x"\n', ""))
    with pytest.warns(UserWarning, match=r"a.gct has 1 row of column metadata where line 2 counts 2"):
        adata = gctx.read(path)
    assert list(adata.obs.columns) == ["dose"]
    np.testing.assert_array_equal(adata.X, np.float32([[1.5, 0], [-2, 1e-3]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda adata: adata.obs.__setitem__("name", ["a\tb", "c"]), r"`adata.obs\['name'\]` must have no tabs"),
        (lambda adata: setattr(adata, "var_names", ["a\nb", "c"]), r"`adata.var_names` must have no tabs .*'a\\nb'"),
        (lambda adata: adata.var.__setitem__("a\tb", 1), r"`adata.var.columns` must be names .*'a\\tb'"),
    ],
)
def test_breaks_are_refused_where_they_would_break_the_text(tmp_path, change, message):
    adata = gctx.read(write(tmp_path, NEW))
    change(adata)
    with pytest.raises(ValueError, match=message):
        gctx.write(adata, tmp_path / "b.gct")
    assert not (tmp_path / "b.gct").exists()
