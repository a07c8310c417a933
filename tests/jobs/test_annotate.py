"""The class of new samples as a table, or beside the data themselves."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.fitting.annotate import tell_classes
from svqvae.fitting.run_folder import read_fitted
from svqvae.jobs.annotate import annotate_samples


def test_a_table_has_a_row_for_each_sample(folder: Path, new_cells: anndata.AnnData, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.csv"
    table, _ = annotate_samples(folder, new_cells, out)
    expected = tell_classes(read_fitted(folder), new_cells)
    expected.insert(0, "sample", new_cells.obs_names)
    pd.testing.assert_frame_equal(table, expected)
    written = pd.read_csv(out)
    assert list(written) == ["sample", "class", "probability", "set", "novelty_p", "is_unknown"]
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    assert [path.name for path in out.parent.iterdir()] == ["out.csv"]


def test_latents_and_classes_are_added_to_anndata_and_the_rest_is_kept(
    folder: Path, cells: anndata.AnnData, tmp_path: Path
) -> None:
    model, extra = SVQVAE.load(folder), anndata.AnnData(np.zeros((60, 1)), cells.obs, pd.DataFrame(index=["gene x"]))
    turned = anndata.concat([cells[:, ::-1], extra], axis=1, merge="first")
    annotate_samples(folder, turned, tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(found.obsm["X_svqvae"], model.transform(cells))
    assert found.obs["svqvae_class"].tolist() == model.predict(cells).tolist()
    assert list(found.obs["svqvae_class"].cat.categories) == ["B", "NK", "T"]
    np.testing.assert_array_equal(found.obs["svqvae_probability"], model.predict_proba(cells).max(1))
    np.testing.assert_array_equal(found.uns["svqvae"]["codes"], model.codebook_)
    assert list(found.var_names) == list(turned.var_names)
    assert found.obs["kind"].tolist() == cells.obs["kind"].tolist()


def test_both_files_tell_the_same(folder: Path, new_cells: anndata.AnnData, tmp_path: Path) -> None:
    (one, _), (other, _) = (
        annotate_samples(folder, new_cells.copy(), tmp_path / name, unknown=0.5) for name in ("a.csv", "a.h5ad")
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["is_unknown"].tolist() == (one["novelty_p"] <= 0.5).tolist()


def test_only_a_run_that_held_samples_out_is_calibrated(
    folder: Path, watched: Path, new_cells: anndata.AnnData, tmp_path: Path
) -> None:
    told = [annotate_samples(run, new_cells, tmp_path / "out.csv")[1] for run in (folder, watched)]
    assert told == [False, True]


def test_other_suffixes_are_refused_before_the_run_is_read(tmp_path: Path, cells: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match=r"`out` must end in \.csv or \.h5ad; got out\.txt\."):
        annotate_samples(tmp_path / "nowhere", cells, tmp_path / "out.txt")


def test_samples_that_lack_a_feature_are_refused_and_nothing_is_written(
    folder: Path, cells: anndata.AnnData, tmp_path: Path
) -> None:
    for name in ("out.csv", "out.h5ad"):
        with pytest.raises(ValueError, match=r"`X` must have the 9 features of the fit; missing: 'gene 8'"):
            annotate_samples(folder, cells[:, :8].copy(), tmp_path / name)
    assert not list(tmp_path.iterdir())
