"""Fits that are killed, interrupted and resumed."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes

pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

SETTINGS: dict[str, Any] = {"n_epochs": 16, "latent_dim": 8, "hidden": (32,), "random_state": 0, "dropout": 0.1}
SETTINGS |= {"early_stopping": True, "validation_fraction": 0.2, "patience": 30}


def data() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    planted = plant_classes(4, 30, n_levels=1, sizes=(40, 150), random_state=0)
    return planted.X, planted.y


def fit(path: Path, resume: bool = True, **changes: Any) -> SVQVAE:
    return SVQVAE(**(SETTINGS | changes)).fit(*data(), checkpoint=path, resume=resume)


def fit_in_a_process(path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    fit(path)


def weights(model: SVQVAE) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.module_.state_dict().items()}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_fit_killed_at_ten_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole.safetensors", resume=False)
    seconds = float(whole.history_["seconds"].sum())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["svqvae.estimator", "svqvae.data.simulate"])
    path, rng = tmp_path / "killed.safetensors", np.random.default_rng(0)
    for _ in range(10):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = context.Process(target=fit_in_a_process, args=(path,))
        process.start()
        # An epoch at least, so that ten kills do not all fall before the first.
        while process.is_alive() and (path.stat().st_mtime_ns if path.exists() else 0) == before:
            time.sleep(0.005)
        process.join(timeout=seconds / 10 * rng.uniform())
        process.kill()
        process.join()
    assert path.is_file()
    assert weights(fit(path)) == weights(whole)


def test_resuming_a_fit_that_came_to_its_end_gives_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert weights(fit(path)) == weights(fit(path))


def test_a_checkpoint_that_does_not_exist_yet_starts_anew(tmp_path: Path) -> None:
    assert fit(tmp_path / "new" / "checkpoint.safetensors", n_epochs=2).n_iter_ == 2


def test_resuming_needs_a_checkpoint() -> None:
    with pytest.raises(ValueError, match="`checkpoint` must name the file to go on from"):
        SVQVAE(n_epochs=1).fit(*data(), resume=True)


def test_other_data_or_parameters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(path, n_epochs=2)
    with pytest.raises(ValueError, match=r"`resume` must go on with the parameters .* latent_dim=8"):
        fit(path, n_epochs=2, latent_dim=9)
    X, y = data()
    with pytest.raises(ValueError, match="`resume` must go on with the data"):
        SVQVAE(**SETTINGS | {"n_epochs": 2}).fit(X + 1, y, checkpoint=path, resume=True)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(path, n_epochs=2)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="must be a safetensors file; it is damaged"):
        fit(path, n_epochs=2)
    SVQVAE(n_epochs=1, random_state=0, latent_dim=2).fit(*data()).save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"must be a checkpoint that `svqvae fit` wrote; it holds other tensors"):
        fit(tmp_path / "run" / "model.safetensors", n_epochs=2)


def test_a_resumed_fit_stays_in_the_precision_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(epoch: int, n_epochs: int, row: Any) -> None:
        raise RuntimeError("killed")

    path = tmp_path / "fit.safetensors"
    monkeypatch.setattr("svqvae.fitting.fit.choose_precision", lambda *_: "bf16-mixed")
    with pytest.raises(RuntimeError, match="killed"):
        SVQVAE(**SETTINGS, precision="auto").fit(*data(), checkpoint=path, on_epoch=stop)
    monkeypatch.setattr("svqvae.fitting.fit.choose_precision", lambda *_: "32-true")
    assert fit(path, precision="auto").precision_ == "bf16-mixed"
