"""Whitening once against whitening in each step, and folded into the first layer against by itself."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes


@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}, {"devices": 2}, {"precision": "64-true"}])
def test_whitening_in_advance_trains_the_model_of_whitening_in_each_step(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant_classes(4, 12, sizes=(40, 60), between_variance=4.0, within_variance=1.0)
    settings = {"n_epochs": 6, "latent_dim": 5, "hidden": (16,), "random_state": 0, **changes}
    found = SVQVAE(**settings).fit(planted.X, planted.y)
    monkeypatch.setattr("svqvae.fitting.fit.MAX_BYTES", 0)
    same = SVQVAE(**settings).fit(planted.X, planted.y)
    np.testing.assert_allclose(found.codebook_, same.codebook_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.transform(planted.X), same.transform(planted.X), rtol=1e-3, atol=1e-3)
    assert not any(part.training for part in found.module_.modules())


def test_a_stored_model_whose_whitening_was_not_folded_still_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant_classes(4, 12, sizes=(40, 60), between_variance=4.0, within_variance=1.0)
    settings = {"n_epochs": 6, "latent_dim": 5, "hidden": (16,), "random_state": 0}
    folded = SVQVAE(**settings).fit(planted.X, planted.y)
    with monkeypatch.context() as patch:
        patch.setattr("svqvae.model.whitening.WhitenedEncoder.fold", lambda encoder: None)
        apart = SVQVAE(**settings).fit(planted.X, planted.y)
    for model, name in ((folded, "folded"), (apart, "apart")):
        model.save(tmp_path / name)
        again = SVQVAE.load(tmp_path / name)
        np.testing.assert_array_equal(again.transform(planted.X), model.transform(planted.X))
    np.testing.assert_allclose(apart.transform(planted.X), folded.transform(planted.X), rtol=1e-4, atol=1e-4)
    assert load_file(tmp_path / "folded" / "model.safetensors")["module.encoder.whitening.axes"].size == 0
    assert load_file(tmp_path / "apart" / "model.safetensors")["module.encoder.whitening.axes"].size == 12 * 12
