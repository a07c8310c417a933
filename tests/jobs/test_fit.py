"""What the commands do beyond parsing: annotated AnnData."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE, cli


def make_cells(seed: int = 0) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    y = np.repeat(["T", "B", "NK"], 20)
    X = rng.normal(size=(60, 9)) + 4 * (y[:, None] == np.repeat(["T", "B", "NK"], 3))
    obs = pd.DataFrame({"kind": y}, index=[f"cell {k}" for k in range(60)])
    return anndata.AnnData(X.astype(np.float32), obs, pd.DataFrame(index=[f"gene {k}" for k in range(9)]))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_annotate_adds_latents_and_classes_to_anndata_and_keeps_the_rest(tmp_path: Path) -> None:
    cells = make_cells()
    model = SVQVAE(n_epochs=10, latent_dim=6, random_state=0).fit(cells, label="kind")
    model.save(tmp_path / "run")
    extra = anndata.AnnData(np.zeros((60, 1)), cells.obs, pd.DataFrame(index=["gene x"]))
    turned = anndata.concat([cells[:, ::-1], extra], axis=1, merge="first")
    turned.write_h5ad(tmp_path / "new.h5ad")
    assert run("annotate", tmp_path / "run", tmp_path / "new.h5ad", "--out", tmp_path / "out.h5ad") == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(found.obsm["X_svqvae"], model.transform(cells))
    assert found.obs["svqvae_class"].tolist() == model.predict(cells).tolist()
    assert list(found.obs["svqvae_class"].cat.categories) == ["B", "NK", "T"]
    np.testing.assert_array_equal(found.obs["svqvae_probability"], model.predict_proba(cells).max(1))
    np.testing.assert_array_equal(found.uns["svqvae"]["codes"], model.codebook_)
    assert list(found.var_names) == list(turned.var_names)
    assert found.obs["kind"].tolist() == cells.obs["kind"].tolist()


def test_annotate_says_which_suffixes_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = make_cells()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert run("annotate", tmp_path / "run", tmp_path / "cells.h5ad", "--out", tmp_path / "out.txt") == 2
    assert "`--out` must end in .csv or .h5ad; got out.txt." in capsys.readouterr().err


def test_backed_anndata_fits_as_one_in_memory(tmp_path: Path) -> None:
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = SVQVAE(n_epochs=3, latent_dim=6, random_state=0).fit(backed, label="kind")
    same = SVQVAE(n_epochs=3, latent_dim=6, random_state=0).fit(make_cells(), label="kind")
    np.testing.assert_allclose(model.codebook_, same.codebook_, rtol=1e-4, atol=1e-5)
    backed.file.close()
