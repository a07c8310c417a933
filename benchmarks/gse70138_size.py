"""Does `svqvae l1000` take files of GSE70138's full size, and how much time and memory does that need?

Writes files like those of GEO into a temporary folder: 118,050 signatures of 12,328 genes as GCTX (about 6 GB), the
table of the signatures, the table of the genes with the landmark genes among the others in shuffled order, and
perturbagen classes. The selection has the shape of the paper's: seven of 30 cell lines, compounds of a single class,
MG-132 left out. Values are random. Prints seconds, just after the files were written and so perhaps from the system's
cache, and peak memory of the command, in which the system counts this script's own at its start; checks genes and
values against what was written, deletes the files, and writes results/gse70138_size.csv.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.data.l1000 import LIMIT, landmark_genes

RESULTS = Path(__file__).parent / "results" / "gse70138_size.csv"
CELLS = ("A375", "HA1E", "HELA", "HT29", "MCF7", "PC3", "YAPC")
N_CELLS, N_CLASSES, N_COMPOUNDS = 30, 75, 1800
NEEDED = 8 << 30


def write_tables(folder: Path, n_signatures: int, n_genes: int) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    """Write sig_info, gene_info and the classes; return sig_info and the row ids of the matrix."""
    rng = np.random.default_rng(0)
    lines = np.array([*CELLS, *(f"LINE{k}" for k in range(N_CELLS - len(CELLS)))])
    compound = rng.integers(0, N_COMPOUNDS, n_signatures)
    is_control = rng.random(n_signatures) < 0.06
    ids = np.array([f"BRD-K{k:08d}" for k in range(N_COMPOUNDS)])
    names = np.array(["MG-132", *(f"compound-{k}" for k in range(1, N_COMPOUNDS))])
    cells = lines[rng.integers(0, N_CELLS, n_signatures)]
    sig_info = pd.DataFrame(
        {
            "sig_id": [f"LJP{k // 384:03d}_{cell}_24H:{k}" for k, cell in enumerate(cells)],
            "pert_id": np.where(is_control, "DMSO", ids[compound]),
            "pert_iname": np.where(is_control, "DMSO", names[compound]),
            "pert_type": np.where(is_control, "ctl_vehicle", "trt_cp"),
            "cell_id": cells,
            "pert_idose": np.where(is_control, "-666", "10.0 um"),
            "pert_itime": "24 h",
            "distil_id": [f"LJP{k:06d}_X1|LJP{k:06d}_X2|LJP{k:06d}_X3" for k in range(n_signatures)],
        }
    )
    sig_info.to_csv(folder / "sig_info.txt", sep="\t", index=False)
    landmarks = landmark_genes()
    others = [str(10_000_000 + k) for k in range(n_genes - len(landmarks))]
    genes = rng.permutation([*landmarks.index, *others])
    symbols = [landmarks["symbol"].get(gene, f"OTHER{gene}") for gene in genes]
    gene_info = pd.DataFrame({"pr_gene_id": genes, "pr_gene_symbol": symbols, "pr_gene_title": "a gene"})
    gene_info["pr_is_lm"] = np.isin(genes, landmarks.index).astype(int)
    gene_info["pr_is_bing"] = 1
    gene_info.sample(frac=1, random_state=0).to_csv(folder / "gene_info.txt", sep="\t", index=False)
    # A third of the compounds have a class, and a tenth of these two.
    members = np.arange(0, N_COMPOUNDS, 3)
    classes = [(ids[k], f"CP_CLASS_{k // 3 % N_CLASSES}") for k in members]
    classes += [(ids[k], f"CP_CLASS_{(k // 3 + 1) % N_CLASSES}") for k in members[::10]]
    pd.DataFrame(classes, columns=["pert_id", "pcl"]).to_csv(folder / "pcl.csv", index=False)
    return sig_info, genes


def values(start: int, stop: int, n_genes: int) -> NDArray[np.float32]:
    """Return the values of some signatures, the same at each call."""
    block = np.random.default_rng(start).standard_normal((stop - start, n_genes), dtype=np.float32)
    return np.float32(3) * block


def write_matrix(path: Path, names: "pd.Series[str]", genes: NDArray[np.str_], n_block: int) -> None:
    """Write the GCTX file block by block, in the layout of cmapR: chunks of 1 MiB, no compression."""
    with h5py.File(path, "w") as file:
        file.attrs["version"] = np.bytes_("GCTX1.0")
        file["0/META/ROW/id"] = genes.astype("S")
        file["0/META/COL/id"] = names.to_numpy(dtype="S")
        shape, n_across = (len(names), len(genes)), min(1000, len(genes))
        chunks = (min(len(names), (1 << 18) // n_across), n_across)
        matrix = file.create_dataset("0/DATA/0/matrix", shape, np.float32, chunks=chunks)
        for start in range(0, len(names), n_block):
            stop = min(start + n_block, len(names))
            matrix[start:stop] = values(start, stop, len(genes))


def run(folder: Path) -> tuple[float, float]:
    """Run the command; return seconds and peak memory in GB."""
    command = [sys.executable, "-c", "from svqvae.cli import main; main()", "l1000", folder / "level5.gctx"]
    command += ["--sig-info", folder / "sig_info.txt", "--gene-info", folder / "gene_info.txt"]
    command += ["--pcl", folder / "pcl.csv", "--cells", ",".join(CELLS), "--exclude", "MG-132"]
    start = time.perf_counter()
    subprocess.run([*map(str, command), "--out", str(folder / "signatures.h5ad")], check=True)
    seconds = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9


def check(adata: anndata.AnnData, sig_info: pd.DataFrame, genes: NDArray[np.str_], n_block: int) -> None:
    """Hold genes, annotation and some values against what was written."""
    assert adata.n_vars == 978
    assert set(adata.var["pr_gene_id"]) == set(landmark_genes().index)
    assert set(adata.obs["cell_id"]) <= set(CELLS)
    assert not adata.obs["pert_iname"].isin(["MG-132", "DMSO"]).any()
    places = pd.Index(sig_info["sig_id"]).get_indexer(adata.obs_names)
    columns = pd.Index(genes).get_indexer(adata.var["pr_gene_id"])
    for k in np.linspace(0, adata.n_obs - 1, 5).astype(int):
        start = int(places[k]) // n_block * n_block
        written = values(start, min(start + n_block, len(sig_info)), len(genes))[places[k] - start]
        np.testing.assert_array_equal(adata.X[k], written[columns].clip(-LIMIT, LIMIT))


def main() -> None:
    """Write the files, run the command, print the figures, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder; the system's where left out")
    parser.add_argument("--quick", action="store_true", help="2,000 signatures of 1,000 genes; writes no CSV")
    arguments = parser.parse_args()
    parent = arguments.folder or Path(tempfile.gettempdir())
    if not parent.is_dir():
        parser.error(f"--folder must be an existing folder; got {parent}.")
    free = shutil.disk_usage(parent).free
    if not arguments.quick and free < NEEDED:
        parser.error(f"--folder must have {NEEDED / 1e9:.1f} GB free; {parent} has {free / 1e9:.1f} GB. Give another.")
    n_signatures, n_genes, n_block = (2000, 1000, 512) if arguments.quick else (118_050, 12_328, 1024)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        sig_info, genes = write_tables(folder, n_signatures, n_genes)
        write_matrix(folder / "level5.gctx", sig_info["sig_id"], genes, n_block)
        size = (folder / "level5.gctx").stat().st_size / 1e9
        seconds, peak = run(folder)
        adata = anndata.read_h5ad(folder / "signatures.h5ad")
        check(adata, sig_info, genes, n_block)
    row = {"file_gb": size, "seconds": seconds, "peak_gb": peak, "signatures": adata.n_obs, "genes": adata.n_vars}
    table = pd.DataFrame([row]).round(2)
    print(table.to_string(index=False))
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table.to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
