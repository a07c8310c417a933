import gzip
from pathlib import Path

import pandas as pd
import pytest

from svqvae.data.pcl import give_classes, read_pcl

# Two classes of compounds, one of which stands in both; one is not among the signatures.
TRUTH = {("b1", "CP_A"), ("b2", "CP_A"), ("4'-\"x", "CP_A"), ("b3", "CP_B"), ("b2", "CP_B")}
KNOWN = {"b1", "b2", "b3", "4'-\"x"}
LONG = [("B1", "CP_A"), ("b2", "CP_A"), ("4'-\"X", "CP_A"), ("b3", "CP_B"), ("b2", "CP_B"), ("b9", "CP_B")]


def long_table(separator: str, *, header: tuple[str, ...] | None, order: tuple[int, ...] = (0, 1)) -> str:
    lines = [header] if header else []
    lines += [tuple(("?", *pair)[k + 1] for k in order) for pair in LONG]
    return "".join(separator.join(cells) + "\n" for cells in lines)


FORMS = {
    "header.csv": long_table(",", header=("pert_iname", "PCL")),
    "header.tsv": long_table("\t", header=("compound", "class")),
    "further.txt": long_table("\t", header=("target", "moa", "pert_id", "x"), order=(-1, 1, 0, -1)),
    "unnamed compounds.tsv": long_table("\t", header=("rank", "broad_id", "moa"), order=(-1, 0, 1)),
    "two.tsv": long_table("\t", header=("drug", "family")),
    "two without header.tsv": long_table("\t", header=None),
    "turned.csv": long_table(",", header=("family", "drug"), order=(1, 0)),
    "trailing.csv": "drug,family,\n" + "".join(f"{a},{b},\n" for a, b in LONG),
    "row.tsv": "CP_A\tb1\tB2\t4'-\"x\nCP_B\tb3\tb2\tb9\n",
    "ragged row.csv": "CP_Z,b8\nCP_A,b1,b2,4'-\"x,\nCP_B,b3,b2,b9,,,\n",
    "row.gmt": "CP_A\t\tb1\tB2\t4'-\"x\nCP_B\tfrom b1\tb3\tb2\tb9\n",
    "column.csv": "CP_A,CP_B\nb1,b3\nb2,b2\n4'-\"x,b9\n",
    "ragged column.tsv": "CP_Z\tCP_A\tCP_B\nb6\tb1\tb3\nb7\tb2\tb2\nb8\t4'-\"x\t\n",
    "missing.csv": "pert_id,pcl\n-666,CP_A\nb1,-666\nb1,\n\n" + long_table(",", header=None),
    "windows.csv": long_table(",", header=("pert_id", "pcl")).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path: Path, name: str, is_packed: bool) -> None:
    path, content = tmp_path / name, FORMS[name].encode("utf-8-sig")
    if is_packed:
        path, content = tmp_path / f"{name}.gz", gzip.compress(content)
    path.write_bytes(content)
    pairs = {(member.lower(), own) for member, own in read_pcl(path, KNOWN)}
    assert {pair for pair in pairs if pair[0] in KNOWN} == TRUTH


def test_a_class_may_be_called_like_a_compound_where_the_header_says_what_is_what(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("pert_iname,pcl\nestradiol,estradiol\nestriol,estradiol\n")
    pairs = read_pcl(tmp_path / "a.csv", {"estradiol", "estriol"})
    assert pairs == [("estradiol", "estradiol"), ("estriol", "estradiol")]


def test_the_column_that_knows_most_compounds_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("pert_id,pert_iname,pcl\nb1,aspirin,CP_A\nb2,ibuprofen,CP_B\n")
    assert read_pcl(tmp_path / "a.csv", {"b1", "b2", "aspirin"}) == [("b1", "CP_A"), ("b2", "CP_B")]
    assert read_pcl(tmp_path / "a.csv", {"b1", "aspirin", "ibuprofen"}) == [("aspirin", "CP_A"), ("ibuprofen", "CP_B")]


def test_a_class_of_one_compound_does_not_make_wide_forms_two_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("CP_A,b1\nCP_B,b1,b9\n")
    assert [own for member, own in read_pcl(tmp_path / "a.csv", {"b1"}) if member == "b1"] == ["CP_A", "CP_B"]


def test_latin_1_line_marks_and_quoted_breaks_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('pert_iname,pcl\n"a\nb",CP_A\n5 \xb5M\x85,CP_A\n'.encode("latin-1"))
    pairs = read_pcl(tmp_path / "a.csv", {"a\nb"})
    assert [own for _, own in pairs] == ["CP_A", "CP_A"]
    assert pairs[0][0] == "a\nb"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "pert_id,pcl\nb7,CP_A\n", "none in .*a.csv is one of the signatures. It has 'pert_id', 'pcl', 'b7'"),
        ("a.csv", "", "`pcl` must name compounds by pert_id or pert_iname; .* It has nothing, the signatures"),
        ("a.xlsx", "x", "`pcl` must end in .csv, .tsv, .txt or .gmt, each also .gz; got"),
        ("a.csv.gz", "x", "must be a sound table; got .*a.csv.gz"),
    ],
)
def test_what_names_no_compound_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_pcl(tmp_path / name, KNOWN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`pcl` must be an existing file; got .*none.csv"):
        read_pcl(tmp_path / "none.csv", KNOWN)


SIGNATURES = pd.DataFrame(
    {"pert_id": ["B1", "B2", "B2", "B3", None], "pert_iname": ["one", "two", "two", "Three", None]},
    index=["s1", "s2", "s3", "s4", "s5"],
    dtype=object,
)


@pytest.mark.parametrize(
    ("multiple", "expected"),
    [
        ("drop", {"s1": "A", "s4": "B"}),
        ("first", {"s1": "A", "s2": "B", "s3": "B", "s4": "B"}),
        ("duplicate", {"s1": "A", "s2|B": "B", "s2|A": "A", "s3|B": "B", "s3|A": "A", "s4": "B"}),
    ],
)
def test_compounds_of_several_classes(tmp_path: Path, multiple: str, expected: dict[str, str]) -> None:
    # By id, and by name where the id is not there; a membership that stands twice counts once.
    (tmp_path / "a.csv").write_text("pert_id,pcl\nb2,B\nb2,A\nB2,B\nb1,A\nTHREE,B\none,B\nnone,B\n")
    told: list[str] = []
    given = give_classes(SIGNATURES, tmp_path / "a.csv", multiple, told)
    assert given["pcl"].to_dict() == expected
    assert told[0] == "1 signatures of compounds without a class left out; 3 compounds have one."
    assert told[1].startswith("1 compounds of several classes, 2 signatures: ")
