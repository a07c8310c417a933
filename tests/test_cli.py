"""The command line on real files."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svqvae import cli

COLUMNS = [f"g{i}" for i in range(8)]


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    kind = rng.choice(["a", "b"], 80)
    values = rng.normal(size=(80, 8)) + 4 * (kind[:, None] == np.repeat(["a", "b"], 4))
    table = pd.DataFrame(values, columns=COLUMNS)
    table.insert(0, "kind", kind)
    table.insert(1, "batch", np.arange(80) // 4)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table.to_csv(path, index_label="sample")
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def folder(csv: Path) -> Path:
    out = csv.parent / "run"
    arguments = ["--label", "kind", "--group", "batch", "--epochs", "5", "--out", str(out), "--quiet"]
    assert run("fit", csv, *arguments) == 0
    return out


def test_fit_writes_a_run_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    model = {"model.safetensors", "atlas.safetensors", "run.json", "history.csv"}
    assert names == model | {"metrics.json", "report.html", "report.json"}
    run_json = json.loads((folder / "run.json").read_text())
    assert run_json["feature_names"] == COLUMNS
    assert run_json["classes"]["values"] == ["a", "b"]
    assert len(pd.read_csv(folder / "history.csv")) == 5
    assert 0.9 <= json.loads((folder / "metrics.json").read_text())["training"]["accuracy"] <= 1


def test_annotate_names_the_class_of_each_sample(csv: Path, folder: Path, tmp_path: Path) -> None:
    shuffled = pd.read_csv(csv)[["sample", *reversed(COLUMNS), "kind"]]
    shuffled["weight"] = 1.5
    shuffled.to_csv(tmp_path / "new.csv", index=False)
    assert run("annotate", folder, tmp_path / "new.csv", "--out", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["sample", "class", "probability", "set", "novelty_p", "is_unknown"]
    assert table["is_unknown"].tolist() == (table["novelty_p"] <= 0.05).tolist()
    assert (table["class"] == shuffled["kind"]).mean() > 0.9
    assert table["sample"].tolist() == shuffled["sample"].tolist()


def test_samples_held_out_make_sets_promise_coverage(csv: Path, folder: Path, tmp_path: Path, capsys) -> None:
    arguments = [
        "--label",
        "kind",
        "--ignore",
        "batch",
        "--epochs",
        "5",
        "--hold-out",
        "0.3",
        "--out",
        tmp_path / "run",
    ]
    assert run("fit", csv, *arguments, "--no-report") == 0
    assert "Samples held out to watch training" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["held_out"]["n_samples"] == 24
    assert run("annotate", tmp_path / "run", csv, "--out", tmp_path / "out.csv") == 0
    assert "hold the right one for 90 %" in capsys.readouterr().out
    assert run("annotate", folder, csv, "--out", tmp_path / "out.csv") == 0
    told = capsys.readouterr().out
    assert "a probability that is not calibrated" in told
    assert "are unlike all known classes (novelty_p <= 0.05)" in told


def test_fit_tells_what_it_leaves_out_and_what_it_replaces(csv: Path, tmp_path: Path, capsys) -> None:
    pd.read_csv(csv).assign(site="here").to_csv(tmp_path / "t.csv", index=False)
    call = ("fit", tmp_path / "t.csv", "--label", "kind", "--group", "batch", "--epochs", 3, "--no-report")
    call = (*call, "--out", tmp_path / "run")
    assert run(*call) == 0
    out = capsys.readouterr().out
    assert "Columns of text, which are no features: 'site'" in out
    assert "holds a run" not in out
    assert run(*call) == 0
    assert "holds a run, which the new one will replace." in capsys.readouterr().out.replace("\n", " ")


def test_quiet_prints_nothing_and_loud_prints_the_table(csv: Path, tmp_path: Path, capsys) -> None:
    arguments = ["fit", csv, "--label", "kind", "--epochs", "2", "--out"]
    run(*arguments, tmp_path / "quiet", "--quiet")
    assert capsys.readouterr().out == ""
    run(*arguments, tmp_path / "loud")
    out = capsys.readouterr().out
    assert "80 samples, 2 classes, 2 epochs." in out
    assert "9 features: 'batch', 'g0'" in out
    assert "No samples were held out" in out
    assert "nearest class mean" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "CSV", "--label", "knd", "--out", "x"], "`label` must be a column of"),
        (["fit", "nothing.csv", "--label", "kind", "--out", "x"], "nothing.csv"),
        (["fit", "CSV", "--label", "kind", "--out", "CSV"], "must be a folder; got the file"),
        (["fit", "CSV", "--label", "kind", "--out", "x", "--geometry", "flat"], "`geometry` must be one of"),
        (["fit", "CSV", "--out", "x"], "Missing option '--label'"),
        (
            ["fit", "CSV", "--label", "kind", "--out", "x", "--ignore", "age"],
            "`--ignore` must name a feature; got 'age'",
        ),
        (["fit", "CSV", "--label", "kind", "--out", "x", "--hold-out", "2"], "`--hold-out` must be at least 0"),
        (["annotate", "nowhere", "CSV", "--out", "x.csv"], "run folder"),
        (["demo", "--out", "CSV"], "`--out` must be a folder; got the file"),
        (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["annotate", "nowhere", "CSV", "--out", "x.csv", "--unknown", "5"], "`--unknown` must be from 0 to 1; got 5."),
    ],
)
def test_a_mistake_ends_with_one_sentence_and_status_2(csv: Path, arguments: list[str], message: str, capsys) -> None:
    assert run(*[str(csv) if argument == "CSV" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


def test_ignored_columns_are_no_features(csv: Path, tmp_path: Path) -> None:
    run("fit", csv, "--label", "kind", "--ignore", "batch", "--epochs", "1", "--out", tmp_path / "run", "-q")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["feature_names"] == COLUMNS


@pytest.mark.filterwarnings("always::UserWarning")
def test_ctrl_c_leaves_a_usable_run(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    @contextmanager
    def impatient(is_shown: bool) -> Iterator[Callable[..., None]]:
        def on_epoch(epoch: int, n_epochs: int, row: object) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        yield on_epoch

    monkeypatch.setattr("svqvae.estimator.epoch_bar", impatient)
    assert run("fit", csv, "--label", "kind", "--epochs", "50", "--out", tmp_path / "run", "-q") == 0
    assert "svqvae: warning: Training was interrupted after epoch 3" in capsys.readouterr().err
    assert run("annotate", tmp_path / "run", csv, "--out", tmp_path / "out.csv", "-q") == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 80


def test_a_failed_fit_leaves_no_run(csv: Path, tmp_path: Path) -> None:
    run("fit", csv, "--label", "sample", "--objective", "paper", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_images_is_fitted_with_convolutions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8), (np.arange(40) % 2).astype(np.uint8)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        (tmp_path / name).write_bytes(header + array.tobytes())
    assert run("fit", tmp_path, "--label", "label", "--epochs", "2", "--out", tmp_path / "run", "-q") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["parameters"]["architecture"] == "conv"


@pytest.mark.parametrize("statement", ["import svqvae", "import svqvae.cli", "import svqvae.atlas.density"])
def test_import_does_not_load_torch(statement: str) -> None:
    code = f"{statement}; import sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:Decoded codes miss")
def test_classes_writes_how_they_relate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--out", tmp_path / "relations", "--resamples", 20, "--refit", folder, "--refit", folder)
    assert run("classes", folder, *arguments) == 0
    assert "Nearest classes" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "relations" / "nearest.csv").columns) == [
        "class",
        "nearest",
        "distance",
        "support",
        "refit_support",
    ]
    assert (tmp_path / "relations" / "tree.nwk").read_text().endswith(";\n")
    assert run("classes", folder, "--out", tmp_path / "other", "--metric", "manhattan") == 2
    assert "`metric` must be one of 'mahalanobis'" in capsys.readouterr().err
    assert run("classes", folder, "--out", tmp_path / "other", "--resamples", -1) == 2
    (tmp_path / "file").write_text("")
    assert run("classes", folder, "--out", tmp_path / "file" / "deep") == 2
    assert "`--out` must be a folder; got the file" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("suffix", ["csv", "rnk", "gmt"])
def test_profile_writes_by_the_suffix(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "deep" / f"a.{suffix}"
    assert run("profile", folder, "a", "--versus", "b", "--out", out) == 0
    text = out.read_text()
    assert all(name in text for name in COLUMNS)
    assert text.startswith({"csv": "feature,difference,", "rnk": "g", "gmt": "a versus b up\t"}[suffix])


def test_profile_refuses_what_it_does_not_know(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("profile", folder, "c", "--out", tmp_path / "c.csv") == 2
    assert "`name` must be one of 2 classes; got 'c'. The closest are" in capsys.readouterr().err
    assert run("profile", folder, "a", "--out", tmp_path / "a.xlsx") == 2
    assert "`--out` must end in .csv, .rnk, .gmt; got a.xlsx" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["csv", "h5ad", "gctx", "gct"])
def test_simulated_samples_can_be_read_as_labelled_data(folder: Path, tmp_path: Path, suffix: str) -> None:
    from svqvae.data.tables import from_anndata, read_table

    out = tmp_path / f"s.{suffix}"
    assert run("simulate", folder, "b", "-n", 7, "--out", out, "--quiet") == 0
    table = from_anndata(read_table(out, label="class"), label="class")
    assert table.X.shape == (7, 8)
    assert list(table.feature_names) == COLUMNS
    assert set(table.y) == {"b"}
    again = tmp_path / f"again.{suffix}"
    assert run("simulate", folder, "b", "-n", 7, "--out", again, "--quiet") == 0
    np.testing.assert_array_equal(from_anndata(read_table(again, label="class"), label="class").X, table.X)


def test_simulate_refuses_other_suffixes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", folder, "b", "-n", 7, "--out", tmp_path / "s.xlsx") == 2
    assert "`--out` must end in .h5ad, .gctx, .gct or .csv; got s.xlsx" in capsys.readouterr().err
    assert run("simulate", folder, "b", "-n", 0, "--out", tmp_path / "s.csv") == 2
    assert "`n` must be a whole number of at least 1; got 0" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [str, int, bool])
def test_evaluate_writes_the_figures_of_the_function(
    csv: Path, tmp_path: Path, kind: type, capsys: pytest.CaptureFixture[str]
) -> None:
    from svqvae import SVQVAE
    from svqvae.evaluation.cross_validation import cross_validate

    table = pd.read_csv(csv)
    table["kind"] = table["kind"] if kind is str else (table["kind"] == "a").astype(kind)
    table["twice"] = table["batch"] // 2
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "deep" / "quality.json"
    arguments = ["--group", "twice", "--ignore", "batch", "--folds", 4, "--seeds", 2, "--epochs", 2, "--out", out]
    assert run("evaluate", tmp_path / "t.csv", "--label", "kind", *arguments) == 0
    printed = capsys.readouterr().out
    assert "80 samples held out in 4 folds, each twice on one side" in printed
    assert "accurate" in printed.splitlines()[-2]
    content = json.loads(out.read_text(), parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))
    X, y = table[COLUMNS], table["kind"].to_numpy()
    found = cross_validate(X, y, {"svqvae": SVQVAE(n_epochs=2)}, groups=table["twice"], n_folds=4, seeds=(0, 1))
    assert content["methods"] == found.to_dict()
    assert (content["n_samples"], content["n_features"], content["n_groups"], content["n_folds"]) == (80, 8, 10, 4)
    for k, entry in enumerate(content["classes"]):
        own = y == entry["class"]
        assert (type(entry["class"]), entry["n_samples"]) == (kind, own.sum())
        assert entry["n_groups"] == table["twice"][own].nunique()
        guesses = np.concatenate([found.predictions["svqvae", seed].to_numpy()[own] for seed in (0, 1)])
        assert entry["right"] == pytest.approx((guesses == entry["class"]).mean())
        names = [other["class"] for other in content["classes"]]
        assert content["confusion"][k] == [(guesses == name).sum() / 2 for name in names]


def test_evaluate_takes_images_and_tells_mistakes(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import anndata

    values = np.random.default_rng(0).random((40, 64)).astype(np.float32)
    adata = anndata.AnnData(values, obs=pd.DataFrame({"kind": ["a", "b"] * 20}, index=[f"s{i}" for i in range(40)]))
    adata.uns["image_shape"] = np.array([8, 8])
    adata.write_h5ad(tmp_path / "images.h5ad")
    few = ["--folds", 2, "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    assert run("evaluate", tmp_path / "images.h5ad", "--label", "kind", *few, "--quiet") == 0
    assert capsys.readouterr().out == ""
    content = json.loads((tmp_path / "q.json").read_text())
    assert content["settings"]["architecture"] == "conv"
    assert content["methods"]["svqvae"]["accuracy"]["std"] is content["classes"][0]["n_groups"] is None
    values[3, 5] = np.nan
    pd.DataFrame(values).add_prefix("g").assign(kind=["a", "b"] * 20).to_csv(tmp_path / "holes.csv", index=False)
    out = ["--out", tmp_path / "none.json", "--quiet"]
    mistakes = {
        ("holes.csv", "--label", "kind"): "`X` must be finite; got 1 NaN or infinite cells, the first (nan) in row 3, "
        "feature 'g5'",
        ("images.h5ad", "--label", "kind", "--group", "donor"): "`group` must be a column of",
        ("images.h5ad", "--label", "kind", "--seeds", 0): "`--seeds` must be 1 or more; got 0",
        ("images.h5ad", "--label", "kind", "--folds", 1): "`n_folds` must be a whole number from 2 to 20",
    }
    for (name, *arguments), message in mistakes.items():
        assert run("evaluate", tmp_path / str(name), *arguments, *out) == 2
        told = capsys.readouterr().err
        assert message in told
        assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "none.json").exists()


def test_l1000_brings_real_plates_and_classes_together(
    real_file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import anndata

    folder, out = real_file("lincs/a375"), tmp_path / "a375.h5ad"
    arguments: list[object] = [*sorted(folder.glob("*.gctx")), "--sig-info", folder / "sig_info.txt"]
    arguments += ["--pcl", folder / "pcl.csv", "--exclude", "MG-132", "--min-per-class", 10, "--min-compounds", 3]
    assert run("l1000", *arguments, "--cells", "A375,", "--out", out) == 0
    told = capsys.readouterr().out
    assert "1119 signatures in 3 files; 0 stand twice, the first was taken; 0 are not in sig_info." in told
    assert "282 signatures of 65 compounds in 12 classes taken." in told
    adata = anndata.read_h5ad(out)
    assert adata.shape == (282, 978)
    assert adata.obs["pcl"].nunique() == 12
    assert np.abs(adata.X).max() == 10
    assert run("l1000", *arguments, "--out", tmp_path / "quiet.h5ad", "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert run("l1000", *arguments, "--cells", "a375", "--out", tmp_path / "none.h5ad") == 2
    assert "`cells` must be cell lines of the signatures; got 'a375'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a375.h5ad", "quiet.h5ad"]


def test_evaluate_takes_a_fold_for_each_of_a_few_groups(csv: Path, tmp_path: Path, capsys) -> None:
    table = pd.read_csv(csv)
    table["batch"] %= 3
    table.to_csv(tmp_path / "t.csv", index=False)
    few = ["--label", "kind", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "q.json"]
    assert run("evaluate", tmp_path / "t.csv", "--group", "batch", *few) == 0
    assert "in 3 folds, each batch on one side" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "t.csv", *few) == 0
    assert "in 5 folds" in capsys.readouterr().out
