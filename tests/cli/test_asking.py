"""Commands that ask a run: what they write, and what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.data.samples import read_samples
from svqvae.data.tables import read_table

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]
CheckFiles = Callable[[dict[str, Any], Path], None]
COLUMNS = [f"g{i}" for i in range(8)]
# A run of a published model, which has seen no samples; its classes are B, NK, T and mono.
IMPORTED = Path(__file__).parents[1] / "golden" / "format_1" / "imported"


def test_annotate_names_the_class_of_each_sample(run: Run, batches: Path, batches_run: Path, tmp_path: Path) -> None:
    shuffled = pd.read_csv(batches)[["sample", *reversed(COLUMNS), "kind"]]
    shuffled["weight"] = 1.5
    shuffled.to_csv(tmp_path / "new.csv", index=False)
    assert run("annotate", batches_run, tmp_path / "new.csv", "--out", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["sample", "class", "probability", "set", "novelty_p", "is_unknown"]
    assert table["is_unknown"].tolist() == (table["novelty_p"] <= 0.05).tolist()
    assert (table["class"] == shuffled["kind"]).mean() > 0.9
    assert table["sample"].tolist() == shuffled["sample"].tolist()


def test_samples_held_out_make_sets_promise_coverage(
    run: Run, batches: Path, batches_run: Path, watched_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("annotate", watched_run, batches, "--out", tmp_path / "out.csv") == 0
    assert "hold the right one for 90 %" in capsys.readouterr().out
    assert run("annotate", batches_run, batches, "--out", tmp_path / "out.csv") == 0
    told = capsys.readouterr().out
    assert "a probability that is not calibrated" in told
    assert "are unlike all known classes (novelty_p <= 0.05)" in told
    assert told.endswith(f"Classes: {tmp_path / 'out.csv'}\n")


def test_annotate_says_which_suffixes_it_writes(
    run: Run, batches: Path, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("annotate", batches_run, batches, "--out", tmp_path / "out.txt") == 2
    assert "`--out` must end in .csv or .h5ad; got out.txt." in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Decoded codes miss")
def test_classes_writes_how_they_relate(
    run: Run, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--out", tmp_path / "relations", "--resamples", 20, "--refit", batches_run, "--refit", batches_run)
    assert run("classes", batches_run, *arguments) == 0
    assert "Nearest classes" in capsys.readouterr().out
    columns = ["class", "nearest", "distance", "support", "refit_support"]
    assert list(pd.read_csv(tmp_path / "relations" / "nearest.csv").columns) == columns
    assert (tmp_path / "relations" / "tree.nwk").read_text().endswith(";\n")


def test_mistakes_in_what_is_asked_of_classes_are_told(
    run: Run, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("classes", batches_run, "--out", tmp_path / "other", "--metric", "manhattan") == 2
    assert "`--metric` must be one of 'mahalanobis'" in capsys.readouterr().err
    assert run("classes", batches_run, "--out", tmp_path / "other", "--resamples", -1) == 2
    assert "`--resamples` must be 0 or more; got -1." in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run("classes", batches_run, "--out", tmp_path / "file" / "deep") == 2
    assert "`--out` must be a folder; got the file" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("suffix", ["csv", "rnk", "gmt"])
def test_profile_writes_by_the_suffix(run: Run, batches_run: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "deep" / f"a.{suffix}"
    assert run("profile", batches_run, "a", "--versus", "b", "--out", out) == 0
    text = out.read_text()
    assert all(name in text for name in COLUMNS)
    assert text.startswith({"csv": "feature,difference,", "rnk": "g", "gmt": "a versus b up\t"}[suffix])


def test_profile_refuses_what_it_does_not_know(
    run: Run, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("profile", batches_run, "c", "--out", tmp_path / "c.csv") == 2
    assert "`CLASS` must be one of 2 classes; got 'c'. The classes are 'a', 'b'" in capsys.readouterr().err
    assert run("profile", batches_run, "a", "--out", tmp_path / "a.xlsx") == 2
    assert "`--out` must end in .csv, .rnk, .gmt; got a.xlsx" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["csv", "h5ad", "gctx", "gct"])
def test_simulated_samples_can_be_read_as_labelled_data(
    run: Run, batches_run: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"s.{suffix}"
    assert run("simulate", batches_run, "b", "-n", 7, "--out", out, "--quiet") == 0
    table = read_samples(read_table(out, label="class"), label="class")
    assert table.rows.shape == (7, 8)
    assert list(table.feature_names) == COLUMNS
    assert set(table.labels) == {"b"}
    again = tmp_path / f"again.{suffix}"
    assert run("simulate", batches_run, "b", "-n", 7, "--out", again, "--quiet") == 0
    np.testing.assert_array_equal(read_samples(read_table(again, label="class"), label="class").rows, table.rows)


def test_mistakes_in_what_is_asked_of_simulate_are_told(
    run: Run, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("simulate", batches_run, "b", "-n", 7, "--out", tmp_path / "s.xlsx") == 2
    assert "`--out` must end in .h5ad, .gctx, .gct or .csv; got s.xlsx" in capsys.readouterr().err
    assert run("simulate", batches_run, "b", "-n", 0, "--out", tmp_path / "s.csv") == 2
    assert "`-n` must be a whole number of at least 1; got 0" in capsys.readouterr().err


@pytest.fixture(scope="session")
def sets(batches: Path) -> Path:
    """Return a file of gene sets: one query of sets up and down, and a set too small."""
    lines = [["a up", "", *COLUMNS[:5]], ["few", "", "g1", "g2"], ["a down", "", "TP53", *COLUMNS[3:]]]
    path = batches.parent / "sets.gmt"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_query_tells_the_best_classes_and_what_they_were_held_against(
    run: Run, batches: Path, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", batches_run, batches, "--by", "kind", "--top", 2, "--out", tmp_path / "r.csv") == 0
    out = capsys.readouterr().out
    assert "Signatures: 80. Features of the run found: 8 of 8." in out
    assert "tau: against the other 79 signatures." in out
    assert out.endswith(f"Ranking: {tmp_path / 'r.csv'}\nRanking: {tmp_path / 'r_by_kind.csv'}\n")
    assert "quantile" in out


def test_query_tells_which_genes_were_found(
    run: Run, sets: Path, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", batches_run, sets, "--out", tmp_path / "s.csv") == 0
    out = capsys.readouterr().out
    assert "Queries: 1. Genes that are features of the run: 8 of 9; not found: 1." in out
    assert "Left out, as a set has fewer than 5 features of the run: 'few'." in out


def test_part_of_the_features_will_do_for_profiles_alone(
    run: Run, batches: Path, batches_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv(batches)[:8].drop(columns=["g3", "g4"]).to_csv(tmp_path / "part.csv", index=False)
    arguments = [batches_run, tmp_path / "part.csv", "--out", tmp_path / "p.csv"]
    assert run("query", *arguments) == 2
    expected = "`SIGNATURES` must have all features of the run; missing: 'g3', 'g4'. Use --method profile"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()
    assert run("query", *arguments, "--method", "profile") == 0
    assert "Features of the run found: 6 of 8." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATA", "--by", "kid"], "`--by` must be a column of"),
        (["DATA", "--by", "kid"], "The closest name is 'kind'"),
        (["DATA", "--method", "mean"], "`--method` must be 'code' or 'profile'; got 'mean'"),
        (["DATA", "--top", "0"], "`--top` must be a whole number of at least 1; got 0"),
        (["SETS", "--by", "kind"], "`--by` must go with a data file; got 'kind'"),
        (["SETS", "--background", "DATA"], "`--background` must be a .gmt file as `SIGNATURES` is"),
        (["DATA", "--background", "SETS"], "`--background` must be a data file as `SIGNATURES` is"),
    ],
)
def test_a_mistake_in_what_is_asked_of_query_ends_with_one_sentence(
    run: Run, batches: Path, sets: Path, batches_run: Path, tmp_path: Path, arguments: list[str], message: str, capsys
) -> None:
    files = {"DATA": batches, "SETS": sets}
    assert run("query", batches_run, *(files.get(word, word) for word in arguments), "--out", tmp_path / "x.csv") == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_classes_and_profiles_of_a_run_without_samples_say_what_they_cannot_know(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("classes", IMPORTED, "--out", out) == 0
    assert "the closest 4 of 4" in capsys.readouterr().out
    assert not (out / "pairs.csv").exists()
    assert run("profile", IMPORTED, "mono", "--out", out / "mono.csv") == 0
    assert "the spread within classes is not known" in capsys.readouterr().out
    assert run("profile", IMPORTED, "mono", "--versus", "NK", "--out", out / "mono.rnk") == 0
    assert run("profile", IMPORTED, "mono", "--out", out / "mono.gmt") == 2
    assert "`--out` must end in .rnk or .csv where the spread within classes is not known" in capsys.readouterr().err


def test_samples_of_a_run_without_samples_get_a_class_and_none_are_drawn(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("simulate", IMPORTED, "mono", "-n", 3, "--out", tmp_path / "mono.csv") == 2
    assert "it was imported without samples. Import it with samples" in capsys.readouterr().err
    values = np.random.default_rng(0).normal(size=(9, 14)).clip(-10, 10)
    obs, var = (pd.DataFrame(index=[f"{letter}{k}" for k in range(n)]) for letter, n in (("s", 9), ("g", 14)))
    anndata.AnnData(values, obs, var).write_h5ad(tmp_path / "new.h5ad")
    assert run("annotate", IMPORTED, tmp_path / "new.h5ad", "--out", tmp_path / "new.csv") == 0
    assert "it cannot tell which of these are unlike all of its classes." in capsys.readouterr().out
    expected = SVQVAE.load(IMPORTED).predict(pd.DataFrame(values, columns=var.index))
    assert pd.read_csv(tmp_path / "new.csv")["class"].tolist() == expected.tolist()


def test_annotating_tells_files_and_counts(
    document: Document, check_files: CheckFiles, table: Path, folder: Path, tmp_path: Path
) -> None:
    found = document("annotate", folder, table, "--out", tmp_path / "a.csv")
    check_files(found, tmp_path / "a.csv")
    counts = pd.read_csv(tmp_path / "a.csv")["class"].value_counts().to_dict()
    assert {entry["class"]: entry["n_samples"] for entry in found["classes"]} == counts
    assert 0 <= found["n_unknown"] <= 60
    assert found["is_calibrated"] is False


def test_simulating_and_querying_tell_files_and_what_is_in_them(
    document: Document, check_files: CheckFiles, table: Path, folder: Path, tmp_path: Path
) -> None:
    found = document("simulate", folder, "c d", "-n", 4, "--out", tmp_path / "s.h5ad")
    check_files(found, tmp_path / "s.h5ad")
    assert (found["class"], found["n_samples"], found["n_features"]) == ("c d", 4, 20)
    found = document("query", folder, table, "--by", "kind", "--out", tmp_path / "q" / "r.csv")
    check_files(found, tmp_path / "q")
    assert {"query", "class", "rank", "score", "tau"} <= set(found["ranking"][0])
    assert {"group", "class", "rank"} <= set(found["groups"][0])


@pytest.mark.filterwarnings("ignore:Decoded codes miss")
def test_asking_classes_tells_files_and_relations(
    document: Document, check_files: CheckFiles, folder: Path, tmp_path: Path
) -> None:
    found = document("classes", folder, "--resamples", 5, "--out", tmp_path / "relations")
    check_files(found, tmp_path / "relations")
    nearest = pd.read_csv(tmp_path / "relations" / "nearest.csv")
    assert [entry["nearest"] for entry in found["nearest"]] == nearest["nearest"].tolist()
    assert (found["metric"], found["space"]) == ("mahalanobis", "profile")
    assert 0 <= found["same_nearest_min"] <= found["same_nearest_max"] <= 1
    found = document("profile", folder, "a", "--out", tmp_path / "a.csv")
    check_files(found, tmp_path / "a.csv")
    profile = pd.read_csv(tmp_path / "a.csv")
    assert found["n_up"] == ((profile["q"] <= 0.05) & (profile["t"] > 0)).sum()
    assert (found["class"], found["versus"], found["n_features"]) == ("a", None, 20)
