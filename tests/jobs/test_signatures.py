"""From the files of LINCS to labelled signatures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae.data import gctx
from svqvae.data.l1000 import Selection, landmark_genes
from svqvae.jobs.signatures import prepare_signatures


@dataclass
class Files:
    """A plate of 12 signatures, its table, and the classes of three of its four compounds."""

    folder: Path
    matrix: anndata.AnnData

    @property
    def given(self) -> tuple[list[Path], Path, Path]:
        return [self.folder / "plate.gctx"], self.folder / "sig_info.txt", self.folder / "pcl.csv"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    names, genes = [f"s{k}" for k in range(12)], landmark_genes().index
    values = 6 * np.random.default_rng(0).normal(size=(12, 978)).astype(np.float32)
    matrix = anndata.AnnData(values, pd.DataFrame(index=names), pd.DataFrame(index=genes))
    found = Files(tmp_path / "lincs", matrix)
    found.folder.mkdir()
    [plate], sig_info, pcl = found.given
    gctx.write(matrix, plate)
    compounds = [f"BRD-{k % 4}" for k in range(12)]
    table = {"sig_id": names, "pert_id": compounds, "pert_iname": compounds, "pert_type": "trt_cp", "cell_id": "PC3"}
    pd.DataFrame(table).to_csv(sig_info, sep="\t", index=False)
    classes = {"pert_id": ["BRD-0", "BRD-1", "BRD-2"], "pcl": ["A", "A", "B"]}
    pd.DataFrame(classes).to_csv(pcl, index=False)
    return found


def test_signatures_are_written_with_their_class_and_what_was_told(files: Files, tmp_path: Path) -> None:
    told = prepare_signatures(*files.given, tmp_path / "deep" / "s.h5ad")
    found = anndata.read_h5ad(tmp_path / "deep" / "s.h5ad")
    assert found.obs["pcl"].tolist() == ["A", "A", "B"] * 3
    expected = files.matrix[found.obs["sig_id"]].X.clip(-10, 10)
    np.testing.assert_array_equal(found.X, expected)
    assert found.uns["l1000"]["told"].tolist() == told
    assert found.uns["l1000"]["files"].tolist() == ["plate.gctx", "sig_info.txt", "pcl.csv"]


def test_what_is_to_be_taken_is_taken(files: Files, tmp_path: Path) -> None:
    told = prepare_signatures(*files.given, tmp_path / "s.h5ad", selection=Selection(exclude=("BRD-1",)))
    assert anndata.read_h5ad(tmp_path / "s.h5ad").obs["pert_id"].tolist() == ["BRD-0", "BRD-2"] * 3
    assert any("1 excluded compounds" in sentence for sentence in told)


def test_signatures_without_a_class_go_into_a_file_of_their_own(files: Files, tmp_path: Path) -> None:
    prepare_signatures(*files.given, tmp_path / "s.h5ad", unlabelled_out=tmp_path / "u.h5ad")
    known, others = (anndata.read_h5ad(tmp_path / name) for name in ("s.h5ad", "u.h5ad"))
    assert known.obs["pcl"].tolist() == ["A", "A", "B"] * 3
    assert others.obs["pert_id"].tolist() == ["BRD-3"] * 3
    assert "pcl" not in others.obs


@pytest.mark.parametrize(
    ("out", "unlabelled_out", "message"),
    [
        ("s.csv", None, r"`out` must end in \.h5ad; got s\.csv\."),
        ("s.h5ad", "u.gctx", r"`unlabelled_out` must end in \.h5ad; got u\.gctx\."),
        ("s.h5ad", "s.h5ad", r"`unlabelled_out` must be another file than `out`; got .*s\.h5ad twice\."),
    ],
)
def test_where_nothing_can_be_written_nothing_is_read(
    out: str,
    unlabelled_out: str | None,
    message: str,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("signatures were read")

    monkeypatch.setattr("svqvae.jobs.signatures.read_signatures", read)
    beside = None if unlabelled_out is None else tmp_path / "out" / unlabelled_out
    with pytest.raises(ValueError, match=message):
        prepare_signatures(*files.given, tmp_path / "out" / out, unlabelled_out=beside)
    assert not list(tmp_path.rglob("out/*"))


def test_real_plates_and_classes_come_together(real_file: Callable[[str], Path], tmp_path: Path) -> None:
    folder, out = real_file("lincs/a375"), tmp_path / "a375.h5ad"
    selection = Selection(cells=("A375",), exclude=("MG-132",), min_per_class=10, min_compounds=3)
    plates = sorted(folder.glob("*.gctx"))
    prepare_signatures(plates, folder / "sig_info.txt", folder / "pcl.csv", out, selection=selection)
    adata = anndata.read_h5ad(out)
    assert adata.shape == (282, 978)
    assert adata.obs["pcl"].nunique() == 12
    assert np.abs(adata.X).max() == 10
