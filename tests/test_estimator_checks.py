"""scikit-learn's own checks of an estimator, for both objectives."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from svqvae import SVQVAE

# Few epochs, for speed.
MODELS = [SVQVAE(n_epochs=8, batch_size=64), SVQVAE(objective="published", n_epochs=8, batch_size=64)]


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
@parametrize_with_checks(MODELS)
def test_estimator_follows_the_rules_of_scikit_learn(estimator: SVQVAE, check: Any) -> None:
    check(estimator)
