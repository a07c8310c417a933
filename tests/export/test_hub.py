"""A hub folder is a run that loads, with a card."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from svqvae import SVQVAE
from svqvae.export.hub import export_hub

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(60, 6)), columns=[f"g|{i}" for i in range(6)])
y = np.array(["ä|b", 'c "d"', "e\nf"])[np.arange(60) % 3]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "run"
    SVQVAE(n_epochs=2, random_state=0).fit(X + 3 * (y == "ä|b")[:, None], y).save(folder)
    return folder


def test_the_code_of_the_card_loads_the_model(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = export_hub(run, tmp_path / "deep" / "hub", "cc-by-4.0")
    assert sorted(path.name for path in (tmp_path / "deep" / "hub").iterdir()) == sorted(file.name for file in files)
    monkeypatch.chdir(tmp_path / "deep" / "hub")
    card = Path("README.md").read_text(encoding="utf-8")
    assert 'license: "cc-by-4.0"' in card
    found: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        exec(compile(block, "README.md", "exec"), found)
    np.testing.assert_array_equal(found["model"].predict(X), SVQVAE.load(run).predict(X))  # type: ignore[attr-defined]
    for file in files[:-1]:
        assert file.read_bytes() == (run / file.name).read_bytes()


def test_a_card_that_exists_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"must have no README\.md yet"):
        export_hub(run, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_run_leaves_no_folder(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a run folder"):
        export_hub(tmp_path, tmp_path / "hub")
    damaged = tmp_path / "damaged"
    export_hub(run, damaged)
    (damaged / "README.md").unlink()
    (damaged / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json must be JSON"):
        export_hub(damaged, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_a_run_folder_may_get_its_card_in_place(run: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    export_hub(run, run)
    assert (run / "model.safetensors").read_bytes() == before
    (run / "README.md").unlink()


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_networks_of_ones_own_are_asked_for(tmp_path: Path) -> None:
    pair = (nn.Linear(6, 4), nn.Linear(4, 6))
    SVQVAE(architecture=pair, latent_dim=4, n_epochs=1, random_state=0).fit(X, y).save(tmp_path / "run")
    export_hub(tmp_path / "run", tmp_path / "hub")
    assert "SVQVAE.load(folder, architecture=(encoder, decoder))" in (tmp_path / "hub" / "README.md").read_text()
    SVQVAE.load(tmp_path / "hub", architecture=pair)
