"""A re-fit over a run that is killed at any moment leaves wholly the old run or wholly the new one."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes
from svqvae.files import READY, STAGED

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# How often the re-fit is killed; `SVQVAE_KILLS=200 pytest tests/test_kills.py` tries longer.
N_KILLS = int(os.environ.get("SVQVAE_KILLS", "8"))
SETTINGS: dict[str, Any] = {"n_epochs": 1, "latent_dim": 8, "hidden": (16,)}


def data(seed: int) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return samples of classes whose names tell the seed."""
    planted = plant_classes(3, 12, n_levels=1, sizes=(20, 30), random_state=0)
    return planted.X, np.char.add(planted.y.astype(str), f" of {seed}")


def refit(folder: Path, seed: int) -> None:
    """Fit other classes and save them over and over, so that most of the time goes into writing."""
    import torch

    torch.set_num_threads(1)
    models = [SVQVAE(**SETTINGS, random_state=s).fit(*data(s)) for s in (seed, seed + 1)]
    (folder.parent / "begun").touch()
    while True:
        for model in models:
            model.save(folder)


@pytest.fixture
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["svqvae.estimator", "svqvae.data.simulate"])
    return context


def test_a_killed_refit_leaves_one_whole_run(tmp_path: Path, processes: Any) -> None:
    folder, rng = tmp_path / "run", np.random.default_rng(0)
    known = [SVQVAE(**SETTINGS, random_state=seed).fit(*data(seed)) for seed in (1, 2)]
    expected = {model.fitted_.fingerprint: model.predict_proba(data(0)[0]) for model in known}
    known[0].save(folder)
    (folder / "notes.txt").write_text("mine")
    for _ in range(N_KILLS):
        (tmp_path / "begun").unlink(missing_ok=True)
        process = processes.Process(target=refit, args=(folder, 1))
        process.start()
        while not (tmp_path / "begun").exists():
            time.sleep(0.005)
        time.sleep(0.05 * rng.uniform())
        process.kill()
        process.join()
        found = SVQVAE.load(folder)
        np.testing.assert_allclose(found.predict_proba(data(0)[0]), expected[found.fitted_.fingerprint], atol=1e-6)
        assert found.to_atlas().fingerprint == found.fitted_.fingerprint
    known[0].save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / READY).exists()
    assert not list(folder.glob(f"{STAGED}*"))
