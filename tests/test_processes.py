"""Several processes that train together find what one finds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes

pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
SETTINGS: dict[str, Any] = {"n_epochs": 5, "latent_dim": 8, "hidden": (32,), "random_state": 0}
SETTINGS |= {"early_stopping": True, "validation_fraction": 0.2}


def data() -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    planted = plant_classes(4, 30, n_levels=1, sizes=(41, 150), random_state=0)
    return planted.X, planted.y


@pytest.mark.parametrize("objective", ["prototype", "published"])
def test_two_processes_find_the_codes_of_one(objective: str) -> None:
    # The published objective counts wrong nearest codes, so that rounding may tip it: hence double precision.
    settings = SETTINGS | {"objective": objective, "precision": "64-true" if objective == "published" else "32-true"}
    rows: list[tuple[int, int]] = []
    one, two = SVQVAE(**settings).fit(*data()), SVQVAE(**settings, devices=2)
    two.fit(*data(), on_epoch=lambda epoch, n_epochs, _: rows.append((epoch, n_epochs)))
    np.testing.assert_allclose(two.codebook_, one.codebook_, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(two.predict(data()[0]), one.predict(data()[0]))
    figures = [column for column in one.history_ if column != "seconds"]
    pd.testing.assert_frame_equal(two.history_[figures], one.history_[figures], rtol=1e-4)
    assert rows == [(epoch, 5) for epoch in range(5)]


def test_two_processes_that_normalise_over_batches_end_with_one_encoder_and_the_means_of_its_latents() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:600].reshape(-1, 8, 8), y[:600]
    model = SVQVAE(architecture="conv", n_epochs=2, latent_dim=8, random_state=0, devices=2).fit(X, y)
    latents = model.transform(X)
    means = np.stack([latents[y == k].mean(0) for k in model.classes_])
    np.testing.assert_allclose(model.codebook_, means, atol=1e-4 * float(np.abs(means).max()))


def test_processes_of_torchrun_write_the_run_of_one(tmp_path: Path) -> None:
    X, y = data()
    pd.DataFrame(X).add_prefix("g").assign(kind=y).to_csv(tmp_path / "table.csv", index=False)
    call = ["fit", "table.csv", "--label", "kind", "--epochs", "3", "--latent-dim", "8", "--no-report", "--json"]
    together = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "svqvae"]
    for name, launcher in (("one", ["-m", "svqvae"]), ("two", together)):
        done = subprocess.run(
            [sys.executable, *launcher, *call, "--out", name],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["n_epochs"] == 3
    one, two = (SVQVAE.load(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(two.codebook_, one.codebook_, rtol=0, atol=1e-6)
    assert not list(tmp_path.glob("*/checkpoint*"))


def test_what_breaks_down_in_another_process_is_told_as_in_one() -> None:
    with pytest.raises(FloatingPointError, match="Training broke down in epoch 1"):
        SVQVAE(**SETTINGS | {"learning_rate": 1e30, "devices": 2}).fit(*data())


def test_several_machines_need_a_launcher() -> None:
    with pytest.raises(ValueError, match="`num_nodes` must be 1 unless torchrun starts the processes"):
        SVQVAE(num_nodes=2).fit(*data())


def test_processes_that_train_together_need_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="`random_state` must be a whole number where several processes"):
        SVQVAE().fit(*data())
