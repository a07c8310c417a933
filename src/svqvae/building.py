"""The network that an estimator's hyper-parameters and data describe."""

from typing import TYPE_CHECKING

from svqvae import parameters
from svqvae.model.module import SVQVAEModule, build_module

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE


def build(model: "SVQVAE") -> SVQVAEModule:
    """Build the untrained network of an estimator that knows its data, with torch's current random state."""
    return build_module(
        model.architecture,
        model.objective,
        n_features=model.n_features_in_,
        image_shape=model.image_shape_,
        n_classes=len(model.classes_),
        latent_dim=model.latent_dim,
        hidden=parameters.resolve_hidden(model),
        dropout=model.dropout,
        likelihood=parameters.resolve_likelihood(model),
        output_scale=model.output_scale or 1.0,
        geometry=model.geometry,
    )
