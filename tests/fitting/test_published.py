"""The authors' trained model: the same numbers as theirs, through every command, with and without samples."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from svqvae import SVQVAE, ClassAtlas, cli
from svqvae.data import gctx
from svqvae.data.l1000 import landmark_genes
from svqvae.data.legacy_modules import read_module
from svqvae.fitting.published import CODES, DECODER, ENCODER
from svqvae.jobs.import_published import read_published

CLASSES = ["mek", "egfr", "hsp", "tubulin", "dna"]
GENES = ["780", "7849", "2978", "2049", "2101", "875"]


@dataclass
class Saved:
    """The files of a small model."""

    folder: Path

    @property
    def names(self) -> Path:
        return self.folder / "names.csv"

    @property
    def genes(self) -> Path:
        return self.folder / "genes.tsv"

    def arguments(self, out: Path) -> list[object]:
        return ["import-published", self.folder, "--names", self.names, "--genes", self.genes, "--out", out, "--quiet"]

    def read(self) -> SVQVAE:
        return read_published(self.folder, self.names, self.genes)


def save(module: nn.Module, path: Path) -> None:
    torch.save(module, path, _use_new_zipfile_serialization=False)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Return the files of a model of 6 genes, 4 latent dimensions and 5 classes, whose codes lie far apart."""
    folder = tmp_path / "saved"
    folder.mkdir()
    torch.manual_seed(0)
    save(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), folder / ENCODER)
    save(nn.Embedding(5, 4), folder / CODES)
    save(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), folder / DECODER)
    pd.DataFrame({"index": range(5), "pcl": CLASSES}).to_csv(folder / "names.csv", index=False)
    genes = pd.DataFrame({"symbol": [f"g{i}" for i in range(6)], "pr_gene_symbol": GENES})
    genes.to_csv(folder / "genes.tsv", index=False, sep="\t")
    return Saved(folder)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_the_model_computes_what_its_files_say(saved: Saved) -> None:
    model = saved.read()
    encoder, decoder = (read_module(saved.folder / name).children[0].tensors for name in (ENCODER, DECODER))
    codes = pd.DataFrame(read_module(saved.folder / CODES).tensors["weight"], index=CLASSES).sort_index()
    X = np.random.default_rng(1).uniform(-10, 10, (20, 6)).astype(np.float32)
    latents = np.tanh(X @ encoder["weight"].T + encoder["bias"])
    np.testing.assert_allclose(model.transform(pd.DataFrame(X, columns=GENES)), latents, atol=1e-5)
    decoded = 10 * np.tanh(codes.to_numpy() @ decoder["weight"].T + decoder["bias"])
    np.testing.assert_allclose(model.class_profiles(), decoded, atol=1e-5)
    np.testing.assert_allclose(model.to_atlas().decoded_profiles.loc[codes.index], decoded, atol=1e-5)
    nearest = ((latents[:, None] - codes.to_numpy()) ** 2).sum(2).argmin(1)
    assert model.predict(pd.DataFrame(X, columns=GENES)).tolist() == codes.index[nearest].tolist()
    assert list(model.feature_names_in_) == GENES
    assert model.get_params()["output_scale"] == 10


def test_the_rows_of_the_names_may_stand_in_any_order(saved: Saved) -> None:
    before = saved.read()
    pd.read_csv(saved.names).sample(frac=1, random_state=0).to_csv(saved.names, index=False)
    np.testing.assert_array_equal(saved.read().codebook_, before.codebook_)


def test_without_samples_nothing_is_claimed_of_them(saved: Saved, tmp_path: Path) -> None:
    saved.read().save(tmp_path)
    atlas = ClassAtlas.load(tmp_path)
    assert not atlas.counts.any()
    assert np.isnan(atlas.means).all()
    assert (atlas.code_spread, atlas.profile_spread, atlas.density) == (None, None, None)
    assert atlas.default_metric == "euclidean"
    pd.testing.assert_frame_equal(atlas.profiles, atlas.decoded_profiles)
    assert atlas.nearest(metric="correlation", space="code")["support"].isna().all()
    assert SVQVAE.load(tmp_path).health_["is_silent"].isna().all()


def write(path: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(text)


def put(path: str, module: nn.Module) -> Callable[[Path], object]:
    return lambda folder: save(module, folder / path)


def broken() -> nn.Embedding:
    codes = nn.Embedding(5, 4)
    codes.weight.data[0, 0] = float("nan")
    return codes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write("names.csv", "index,pcl\n0,a\n1,b\n"), "`--names` must have a row for each of 5 codes, index 0 to 4; "),
        (write("names.csv", "index,pcl\n0,a\n1,b\n2,c\n3,d\n3,e\n"), "`--names` must have a row for each of 5 codes"),
        (write("names.csv", "index,pcl\n0,a\n1,b\n2,c\n3,d\n4,a\n"), "must name each class once; got 'a' more than"),
        (write("names.csv", "row,name\n0,a\n"), "`--names` must have the columns index and pcl; "),
        (
            write("genes.tsv", "pr_gene_symbol\n1\n2\n"),
            "`--genes` must have a row for each of 6 inputs, in their order; ",
        ),
        (
            write("genes.tsv", "pr_gene_symbol\n" + "1\n" * 6),
            "`--genes` must name each gene once; got '1' more than once",
        ),
        (put(CODES, nn.Embedding(5, 3)), "must have codes of 4 dimensions, as S_VQ_VAE_encode.pth gives; got 3"),
        (put(CODES, nn.Tanh()), "must hold an Embedding, the codes; got Tanh"),
        (put(CODES, broken()), "must hold finite numbers; its weight has 1 others"),
        (put(DECODER, nn.Sequential(nn.Linear(4, 7), nn.Tanh())), "must have a weight of shape (6, 4)"),
        (
            put(ENCODER, nn.Sequential(nn.Linear(6, 4))),
            "must hold a Sequential of Linear, Tanh; got Sequential of Linear",
        ),
        (put(ENCODER, nn.Sequential(nn.Linear(6, 4, bias=False), nn.Tanh())), "must have a bias of 1 dimensions"),
        (lambda folder: (folder / CODES).unlink(), "S_VQ_VAE_embedding.pth is no file"),
        (write(ENCODER, "cos\nsystem\n."), "the name 'os.system' stands, which a network has no use for"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_a_sentence(
    saved: Saved, tmp_path: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(saved.folder)
    assert run(*saved.arguments(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


# The authors' files.

Weights = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def lincs(real_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    """Return the run folder of the authors' model, and their weights in double precision."""
    folder, out = real_file("lincs/reference_model"), tmp_path_factory.mktemp("lincs") / "run"
    names, genes = folder / "pcl_names.csv", real_file("lincs/landmark_genes.tsv")
    assert run("import-published", folder, "--names", names, "--genes", genes, "--out", out, "--quiet") == 0
    encoder, decoder = (read_module(folder / name).children[0].tensors for name in (ENCODER, DECODER))
    parts = {"W": encoder["weight"], "b": encoder["bias"], "V": decoder["weight"], "c": decoder["bias"]}
    parts["E"] = read_module(folder / CODES).tensors["weight"][np.argsort(pd.read_csv(names)["pcl"])]
    return out, {name: values.astype(np.float64) for name, values in parts.items()}


def test_decoded_codes_are_those_of_the_authors(lincs: tuple[Path, Weights]) -> None:
    folder, w = lincs
    model = SVQVAE.load(folder)
    assert len(model.classes_) == 75
    expected = 10 * np.tanh(w["E"] @ w["V"].T + w["c"])
    np.testing.assert_allclose(model.class_profiles(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.to_atlas().decoded_profiles, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.codebook_, w["E"])


def test_nearest_classes_of_the_command_are_those_by_hand(lincs: tuple[Path, Weights], tmp_path: Path) -> None:
    folder, w = lincs
    run("classes", folder, "--metric", "correlation", "--space", "code", "--out", tmp_path, "--quiet")
    distances = 1 - np.corrcoef(w["E"]) + np.diag(np.full(75, np.inf))
    table = pd.read_csv(tmp_path / "nearest.csv")
    classes = SVQVAE.load(folder).classes_
    assert table["class"].tolist() == classes.tolist()
    assert table["nearest"].tolist() == classes[distances.argmin(1)].tolist()
    np.testing.assert_allclose(table["distance"], distances.min(1), atol=1e-6)
    assert table["support"].isna().all()


@pytest.mark.parametrize("name", ["level5/modzs_n272x978", "a375/LJP005_A375_24H_X1_B19_ZSPC_n377x978"])
def test_real_signatures_get_the_nearest_code_by_hand(
    lincs: tuple[Path, Weights], real_file: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    (folder, w), path = lincs, real_file(f"lincs/{name}.gctx")
    rows = gctx.read(path, rows=landmark_genes().index).X.clip(-10, 10)
    model = SVQVAE.load(folder)
    latents = np.tanh(rows.astype(np.float64) @ w["W"].T + w["b"])
    distances = ((latents[:, None] - w["E"]) ** 2).sum(2)
    expected = model.classes_[distances.argmin(1)]
    genes, samples = pd.DataFrame(index=landmark_genes().index), pd.DataFrame(index=[f"s{k}" for k in range(len(rows))])
    gctx.write(anndata.AnnData(rows, samples, genes), tmp_path / "new.gctx")
    assert run("annotate", folder, tmp_path / "new.gctx", "--out", tmp_path / "out.csv", "--quiet") == 0
    assert pd.read_csv(tmp_path / "out.csv")["class"].tolist() == expected.tolist()
    named = pd.DataFrame(rows, columns=model.feature_names_in_)
    # Processors round sums in single precision each in its way, by some units of the largest of what is added up.
    rounding = 4 * np.finfo(np.float32).eps * np.abs(rows.astype(np.float64)) @ np.abs(w["W"]).T
    assert (np.abs(model.transform(named) - latents) <= rounding + 1e-6).all()


def test_the_imported_run_works_in_a_new_process(lincs: tuple[Path, Weights], tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from svqvae import SVQVAE; model = SVQVAE.load(sys.argv[1]); "
        "model.save(sys.argv[2]); again = SVQVAE.load(sys.argv[2]); "
        "assert (again.class_profiles() == model.class_profiles()).all(); np.save(sys.argv[3], model.codebook_)"
    )
    arguments = [lincs[0], tmp_path / "again", tmp_path / "codes.npy"]
    subprocess.run([sys.executable, "-W", "error", "-c", code, *map(str, arguments)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), lincs[1]["E"])
