"""Gene sets from .gmt files."""

from pathlib import Path

import pytest

from svqvae.data.genesets import read_gene_sets


def write(folder: Path, *lines: str) -> Path:
    path = folder / "sets.gmt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("names", [("X up", "X down"), ("X_UP", "X_DN"), ("X_UP", "X_DOWN"), ("X.up", "X-Dn")])
def test_sets_up_and_down_make_one_query(tmp_path: Path, names: tuple[str, str]) -> None:
    up, down = names
    path = write(tmp_path, f"{down}\t\tA\tB", "other\tof genes\tE", f"{up}\t\tC\tD\tC\t")
    assert read_gene_sets(path) == {"X": (("C", "D"), ("A", "B")), "other": (("E",), ())}


def test_a_lone_set_is_up_unless_its_name_ends_in_down(tmp_path: Path) -> None:
    path = write(tmp_path, "X_UP\t\tA", "Y_DN\t\tB", "up\t\tC", "CLAMPDOWN\t\tD")
    assert read_gene_sets(path) == {
        "X_UP": (("A",), ()),
        "Y_DN": ((), ("B",)),
        "up": (("C",), ()),
        "CLAMPDOWN": (("D",), ()),
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["X\t"], r"must have a name, a description and genes in each line.*line 1 has 0 genes"),
        (["X\t\tA", "X\t\tB"], r"must have unique set names; got .* with 'X' twice"),
        (["X down\t\tA", "X_DN\t\tB"], r"must have one set down for each name; got .*'X down', 'X_DN'"),
        (["X up\t\tA", "X down\t\tB", "X\t\tC"], r"must have unique names; got .* with 'X' beside 'X up'"),
        ([""], r"must hold gene sets; got .*, which is empty"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_gene_sets(write(tmp_path, *lines))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must be an existing file; got .*nothing\.gmt"):
        read_gene_sets(tmp_path / "nothing.gmt")
