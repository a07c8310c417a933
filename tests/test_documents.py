"""Every block of code in README and docs runs: Python as it stands, commands on small files of the names they give.

Blocks of one document run in order, in one folder and one namespace, as a reader would run them. A block that cannot
run in a test stands behind a comment that says why: `<!-- not run: why -->`.
"""

import re
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from svqvae import cli, parameters
from svqvae.data import gctx
from svqvae.data.l1000 import landmark_genes
from svqvae.fitting.published import CODES, DECODER, ENCODER

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
TYPES = ["CD4 T cell", "CD8 T cell", "B cell", "NK cell"]
MARKERS = ["CD3E", "CD4", "CD8A", "CD19", "NKG7"]
PCLS = ["CP_MEK_INHIBITOR", "CP_RAF_INHIBITOR", "CP_HDAC_INHIBITOR", "CP_EGFR_INHIBITOR"]
LINES = ["A375", "HA1E", "HELA", "HT29", "MCF7", "PC3", "YAPC"]
GSE = "GSE70138_Broad_LINCS_{}_2017-03-06.{}"
N_GENES = 20


@dataclass(frozen=True)
class Block:
    """A block of code, and why it is not run, if so."""

    kind: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The lines of a block of commands, continued ones as one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def read_blocks(document: Path) -> list[Block]:
    found = BLOCK.finditer(document.read_text(encoding="utf-8"))
    blocks = [Block(entry["kind"], entry["text"], entry["reason"]) for entry in found]
    return [block for block in blocks if block.kind in ("python", "bash")]


def write_cells(folder: Path, name: str, n_each: int, seed: int) -> None:
    """Write cells of four types and three donors, as .csv and as .h5ad with counts beside them."""
    rng = np.random.default_rng(seed)
    kind = np.tile(TYPES, n_each)
    means = np.random.default_rng(0).gamma(2, 2, (4, len(MARKERS)))
    counts = rng.poisson(3 + means[np.arange(len(kind)) % 4] ** 2)
    obs = pd.DataFrame({"cell_type": kind, "donor": [f"d{k // 4 % 3}" for k in range(len(kind))]})
    obs.index = pd.Index([f"s{k}" for k in range(len(kind))], name="sample")
    adata = anndata.AnnData(np.log1p(counts).astype(np.float32), obs, pd.DataFrame(index=MARKERS))
    adata.layers["counts"] = counts
    adata.write_h5ad(folder / f"{name}.h5ad")
    obs.join(adata.to_df()).to_csv(folder / f"{name}.csv")


def write_signatures(folder: Path) -> None:
    """Write a matrix, its tables and a table of classes as GEO has them, of 40 compounds and 20 landmark genes."""
    rng, genes = np.random.default_rng(0), landmark_genes().head(N_GENES).reset_index()
    genes = genes.set_axis(["pr_gene_id", "pr_gene_symbol", "pr_gene_title"], axis=1).assign(pr_is_lm=1, pr_is_bing=1)
    n = 160
    compound, line = np.arange(n) % 40, rng.permutation(np.arange(n) % len(LINES))
    values = rng.normal(size=(n, N_GENES)) + 2 * rng.normal(size=(4, N_GENES))[compound % 4]
    obs = pd.DataFrame(index=pd.Index([f"REP.A{k:03}" for k in range(n)], name="id"))
    gctx.write(
        anndata.AnnData(values.astype(np.float32), obs, pd.DataFrame(index=genes["pr_gene_id"].astype(str))),
        folder / GSE.format("Level5_COMPZ_n118050x12328", "gctx"),
    )
    table = {"sig_id": obs.index, "pert_id": [f"BRD-{k}" for k in compound], "pert_iname": compound.astype(str)}
    table["pert_iname"] = ["MG-132" if k == 39 else f"compound {k}" for k in compound]
    table |= {"pert_type": "trt_cp", "cell_id": np.array(LINES)[line], "pert_idose": "10 um", "pert_itime": "24 h"}
    info = pd.DataFrame(table)
    info.to_csv(folder / GSE.format("sig_info", "txt"), sep="\t", index=False)
    genes.to_csv(folder / GSE.format("gene_info", "txt"), sep="\t", index=False)
    genes.to_csv(folder / "landmark_genes.tsv", sep="\t", index=False)
    pcl = info.drop_duplicates("pert_id")[["pert_id"]]
    pcl.assign(pcl=[PCLS[k % 4] for k in range(len(pcl))]).to_csv(folder / "pcl.csv", index=False)
    others = anndata.AnnData(values.astype(np.float32), info[["cell_id"]].set_index(obs.index))
    others.var_names = genes["pr_gene_symbol"].to_numpy(dtype=str)
    others.write_h5ad(folder / "others.h5ad")


def write_published(folder: Path) -> None:
    """Write a model in the layout of the authors' files."""
    torch.manual_seed(0)
    layers = {ENCODER: (N_GENES, 8), DECODER: (8, N_GENES)}
    modules: dict[str, nn.Module] = {name: nn.Sequential(nn.Linear(*size), nn.Tanh()) for name, size in layers.items()}
    modules[CODES] = nn.Embedding(len(PCLS), 8)
    (folder / "saved").mkdir()
    for name, module in modules.items():
        torch.save(module, folder / "saved" / name, _use_new_zipfile_serialization=False)
    pd.DataFrame({"index": range(len(PCLS)), "pcl": PCLS}).to_csv(folder / "pcl_names.csv", index=False)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files that the documents name, by path."""
    folder = tmp_path_factory.mktemp("inputs")
    write_cells(folder, "cells", 9, 1)
    write_cells(folder, "new_cells", 15, 2)
    write_signatures(folder)
    write_published(folder)
    sets = [["markers up", "of T cells", *MARKERS], ["markers down", "of others", *MARKERS]]
    (folder / "gene_sets.gmt").write_text("".join("\t".join(one) + "\n" for one in sets))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_block(block: Block, document: Path, namespace: dict[str, Any]) -> None:
    if block.kind == "python":
        exec(compile(block.text, document.name, "exec"), namespace)
        return
    for program, *arguments in block.commands:
        assert program == "svqvae", f"{document.name}: {program} is run by no test: say why before its block"
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert not stop.value.code, f"{document.name}: svqvae {shlex.join(arguments)}"


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if read_blocks(path)], ids=lambda path: path.name)
def test_blocks_run(document: Path, inputs: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in inputs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    # Whether the examples run is asked here, not how well they learn.
    monkeypatch.setattr(parameters, "resolve_n_epochs", lambda given, _: min(given["n_epochs"] or 3, 3))
    namespace: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for block in read_blocks(document):
            if block.reason is None:
                run_block(block, document, namespace)


def test_what_is_not_run_is_seldom_and_has_a_reason() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert text.count("<!-- not run:") == sum(block.reason is not None for block in read_blocks(document))
    blocks = [block for document in DOCUMENTS for block in read_blocks(document)]
    assert len(blocks) > 20
    assert sum(block.reason is not None for block in blocks) < len(blocks) / 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_named_in_the_text_exist(document: Path, commands: Callable[[], dict[str, Any]]) -> None:
    named = set(re.findall(r"`svqvae ([a-z0-9][a-z0-9-]*)", document.read_text(encoding="utf-8")))
    assert named <= set(commands())


@pytest.fixture
def commands() -> Callable[[], dict[str, Any]]:
    from typer.main import get_command

    return lambda: get_command(cli.app).commands  # type: ignore[attr-defined]
