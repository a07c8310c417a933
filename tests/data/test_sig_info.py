import gzip
from pathlib import Path

import numpy as np
import pytest

from svqvae.data.sig_info import read_sig_info

GEO = "sig_id\tpert_id\tpert_iname\tpert_type\tcell_id\tpert_idose\tpert_itime\tdistil_id\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_of_geo_keep_text_and_numbers(tmp_path: Path) -> None:
    rows = "s1\tBRD-1\t4'-\"x\ttrt_cp\t293\t-666\t24 h\t-666\ns2 \tBRD-2\tNA\tctl_vehicle\t007\t10.0 um\t24 h\ta|b\n"
    facts, told = read_sig_info(
        write(tmp_path / "s.txt", GEO.replace("pert_itime", "n_wells") + rows.replace(" h", ""))
    )
    assert list(facts.index) == ["s1", "s2"]
    assert facts["pert_iname"].tolist() == ["4'-\"x", "NA"]
    assert facts["cell_id"].tolist() == ["293", "007"]
    assert facts["pert_idose"].tolist() == [None, "10.0 um"]
    assert facts["distil_id"].tolist() == [None, "a|b"]
    assert facts["n_wells"].tolist() == [24, 24]
    assert told == []


@pytest.mark.parametrize(
    "names", [("sig_id", "cmap_name", "cell_iname"), ("inst_id", "pert_iname", "cell_id"), ("sample_id", "cmap_name")]
)
def test_columns_go_by_other_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    cells = ["s1", "aspirin", "A375"][: len(names)]
    facts, told = read_sig_info(write(tmp_path / "s.csv", ",".join([*names, "pert_id"]) + f"\n{','.join(cells)},B1\n"))
    assert facts.loc["s1", ["sig_id", "pert_iname", "pert_id"]].tolist() == ["s1", "aspirin", "B1"]
    assert facts["cell_id"].tolist() == (["A375"] if len(names) == 3 else ["unknown"])
    expected = ["pert_type: all signatures are taken for trt_cp"]
    expected += ["cell_id: all signatures are taken for unknown"] if len(names) == 2 else []
    assert [sentence.rstrip(".") for sentence in told] == [f"sig_info has no column {text}" for text in expected]


def test_todays_name_wins_over_another(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tsv", "sig_id\tsample_id\tcmap_name\tpert_iname\tpert_id\ns\tw\ta\tb\tB1\n")
    facts, _ = read_sig_info(path)
    assert facts.index.tolist() == ["s"]
    assert facts[["sample_id", "cmap_name", "pert_iname"]].to_numpy().tolist() == [["w", "a", "b"]]


def test_id_and_name_stand_in_for_each_other(tmp_path: Path) -> None:
    rows = "s1\tB1\t-666\ns2\t-666\taspirin\ns3\t\t\n"
    facts, _ = read_sig_info(write(tmp_path / "s.txt", "sig_id\tpert_id\tpert_iname\n" + rows))
    assert facts["pert_id"].tolist() == ["B1", "aspirin", None]
    assert facts["pert_iname"].tolist() == ["B1", "aspirin", None]
    facts, _ = read_sig_info(write(tmp_path / "s.txt", "sig_id\tpert_id\ns1\tB1\n"))
    assert facts["pert_iname"].tolist() == ["B1"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_micro_signs_of_any_encoding(tmp_path: Path, encoding: str, is_packed: bool) -> None:
    path = write(tmp_path / "s.txt", "sig_id\tpert_id\tpert_idose\r\ns1\tB1\t10 µM\r\n", encoding)
    if is_packed:
        path = tmp_path / "s.txt.gz"
        path.write_bytes(gzip.compress((tmp_path / "s.txt").read_bytes()))
    assert read_sig_info(path)[0]["pert_idose"].tolist() == ["10 µM"]


def test_quotes_of_csv_hold_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", 'sig_id,pert_id,pert_iname\ns1,B1,"N,N-dimethyl"\n')
    assert read_sig_info(path)[0]["pert_iname"].tolist() == ["N,N-dimethyl"]


def test_repeated_signatures_and_short_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "s.txt", "sig_id\tpert_id\tcell_id\tdose\ns1\tB1\tA\t1\ns1\tB2\tA\t2\ns2\tB3\n")
    facts, told = read_sig_info(path)
    assert facts["pert_id"].tolist() == ["B1", "B3"]
    np.testing.assert_array_equal(facts["dose"], [1, np.nan])
    assert told[0] == "1 rows of sig_info left out, as their sig_id stood before."


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.txt", "id\tpert_id\na\tb\n", "`sig_info` must have the columns sig_id and pert_id; .* has 'id', 'pert_id'"),
        ("s.xlsx", "x", "`sig_info` must end in .csv, .tsv, .txt, each also .gz; got"),
        ("s.txt", "", "must be a sound table; got .*s.txt"),
        ("s.txt", "sig_id\tpert_id\n1\ts1\tB1\n", "must be a sound table; got .*Expected 2 fields in line 2, saw 3"),
        ("s.txt", "sig_id\tpert_id\tpert_id\ns1\tB1\tB2\n", "must have unique column names; got .*'pert_id'"),
        ("s.txt", "sig_id\tpert_id\t\ns1\tB1\tx\n", "must have a name for each column; .*column 3 has none"),
        ("s.txt.gz", "no gzip", "must be a sound table; got .*s.txt.gz"),
    ],
)
def test_what_is_no_table_of_signatures_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_sig_info(write(tmp_path / name, text))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`sig_info` must be an existing file; got .*nothing.txt"):
        read_sig_info(tmp_path / "nothing.txt")
