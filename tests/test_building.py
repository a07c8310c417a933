"""Samples that are whitened once against samples that are whitened in each step."""

import numpy as np
import pytest

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes


@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}, {"devices": 2}, {"precision": "64-true"}])
def test_whitening_in_advance_trains_the_model_of_whitening_in_each_step(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = plant_classes(4, 12, sizes=(40, 60), between_variance=4.0, within_variance=1.0)
    settings = {"n_epochs": 6, "latent_dim": 5, "hidden": (16,), "random_state": 0, **changes}
    found = SVQVAE(**settings).fit(planted.X, planted.y)
    monkeypatch.setattr("svqvae.building.MAX_BYTES", 0)
    same = SVQVAE(**settings).fit(planted.X, planted.y)
    np.testing.assert_allclose(found.codebook_, same.codebook_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.transform(planted.X), same.transform(planted.X), rtol=1e-3, atol=1e-3)
    assert not any(part.training for part in found.module_.modules())
