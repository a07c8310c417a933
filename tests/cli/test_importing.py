"""Commands that bring data and models of others in: what they say."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

import fits

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]
CheckFiles = Callable[[dict[str, Any], Path], None]


@pytest.fixture
def published(tmp_path: Path) -> list[object]:
    """Return the command by which a small model in the layout of the authors' files is imported."""
    saved = tmp_path / "saved"
    saved.mkdir()
    fits.write_published(saved)
    tables = ["--names", saved / "names.csv", "--genes", saved / "genes.tsv"]
    return ["import-published", saved, *tables, "--out", tmp_path / "run"]


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return a file of labelled samples of all classes of that model."""
    X, y, _ = fits.table()
    X.clip(-10, 10).assign(kind=pd.Series(y, X.index)).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_an_import_without_samples_says_what_is_lacking(
    run: Run, published: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*published) == 0
    told = capsys.readouterr().out
    assert "4 classes, 14 genes, 8 latent dimensions." in told
    assert "Without samples there are no supports, intervals or simulation: give them with --data and --label." in told
    assert f"Run: {tmp_path / 'run'}" in told
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in told


@pytest.mark.filterwarnings("ignore:Some codes do not stand")
def test_an_import_with_samples_tells_their_figures(
    run: Run, published: list[object], samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*published, "--data", samples, "--label", "kind") == 0
    told = capsys.readouterr().out
    assert "Samples given (109 samples)" in told
    assert "nearest class mean" in told
    assert "Without samples" not in told


@pytest.mark.filterwarnings("always::UserWarning")
def test_codes_that_do_not_stand_for_their_class_are_named(
    run: Run, published: list[object], samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*published, "--data", samples, "--label", "kind", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("svqvae: warning: Some codes do not stand for their class (")
    assert captured.out == ""


def test_samples_and_their_column_go_together(
    run: Run, published: list[object], samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*published, "--data", samples) == 2
    assert "`--label` must go with `--data`; got only `--data`. Give both, or none." in capsys.readouterr().err
    assert run(*published, "--label", "kind") == 2
    assert "`--data` must go with `--label`; got only `--label`." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.replace({"kind": {"T": "B cell"}}), "`--label` must hold classes of the model only"),
        (
            lambda table: table[table["kind"] != "T"],
            "`--label` must hold samples of every class; there are none of 'T'",
        ),
        (lambda table: table.drop(columns="g3"), "`--data` must have the 14 genes of the model as features; 1 are"),
        (
            lambda table: table.assign(g3=11.0),
            "`--data` must lie in [-10, 10], as `output_scale` says; got an absolute",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_the_words_of_the_command(
    run: Run,
    published: list[object],
    samples: Path,
    spoil: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(pd.read_csv(samples)).to_csv(samples, index=False)
    assert run(*published, "--data", samples, "--label", "kind") == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_importing_tells_files_sizes_and_figures(
    document: Document, check_files: CheckFiles, published: list[object], samples: Path, tmp_path: Path
) -> None:
    found = document(*published)
    check_files(found, tmp_path / "run")
    sizes = {"n_classes": 4, "n_features": 14, "latent_dim": 8}
    assert {name: found[name] for name in sizes} == sizes
    assert found["samples"] is None


def test_signatures_tell_their_files_and_what_was_taken(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svqvae.jobs.signatures.prepare_signatures", lambda *_, **__: ["3 taken."])
    given = ["l1000", "a.gctx", "--sig-info", "s.txt", "--pcl", "p.csv", "--out", "é.h5ad"]
    assert document(*given) == {"files": ["é.h5ad"], "told": ["3 taken."]}
    both = {"files": ["é.h5ad", "u.h5ad"], "told": ["3 taken."]}
    assert document(*given, "--unlabelled-out", "u.h5ad") == both


def test_what_to_take_of_the_signatures_reaches_the_job(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []
    options: dict[str, Any] = {}

    def keep(*arguments: Any, **given: Any) -> list[str]:
        asked.append(arguments)
        options.update(given)
        return ["3 taken."]

    monkeypatch.setattr("svqvae.jobs.signatures.prepare_signatures", keep)
    given = ["a.gctx", "b.gct", "--sig-info", "s.txt", "--pcl", "p.csv", "--out", "o.h5ad", "--cells", "A375, PC3,"]
    given += ["--cells", "MCF7", "--exclude", "MG-132", "--exclude", "B,C", "--multiple", "first"]
    assert run("l1000", *given, "--min-per-class", 4, "--min-compounds", 2, "--unlabelled-out", "u.h5ad") == 0
    assert asked == [([Path("a.gctx"), Path("b.gct")], Path("s.txt"), Path("p.csv"), Path("o.h5ad"))]
    expected = SimpleNamespace(
        cells=("A375", "PC3", "MCF7"), exclude=("MG-132", "B,C"), multiple="first", min_per_class=4, min_compounds=2
    )
    assert vars(expected) == {name: getattr(options["selection"], name) for name in vars(expected)}
    assert (options["gene_info"], options["unlabelled_out"]) == (None, Path("u.h5ad"))
    assert capsys.readouterr().out == "3 taken.\nSignatures: o.h5ad\nWithout a class: u.h5ad\n"


def test_l1000_brings_real_plates_and_classes_together(
    run: Run, real_file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = real_file("lincs/a375"), tmp_path / "a375.h5ad"
    arguments: list[object] = [*sorted(folder.glob("*.gctx")), "--sig-info", folder / "sig_info.txt"]
    arguments += ["--pcl", folder / "pcl.csv", "--exclude", "MG-132", "--min-per-class", 10, "--min-compounds", 3]
    assert run("l1000", *arguments, "--cells", "A375,", "--out", out) == 0
    told = capsys.readouterr().out
    assert "1119 signatures in 3 files; 0 stand twice, the first was taken; 0 are not in sig_info." in told
    assert "282 signatures of 65 compounds in 12 classes taken." in told
    assert run("l1000", *arguments, "--out", tmp_path / "quiet.h5ad", "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert run("l1000", *arguments, "--cells", "a375", "--out", tmp_path / "none.h5ad") == 2
    assert "`--cells` must be cell lines of the signatures; got 'a375'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a375.h5ad", "quiet.h5ad"]
