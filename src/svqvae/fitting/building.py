"""The network that an estimator's hyper-parameters and data describe."""

from typing import TYPE_CHECKING

from svqvae import parameters
from svqvae.model.batches import Batches, MemoryBatches
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.whitening import WhitenedEncoder

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

# Bytes of samples up to which they are whitened in advance.
MAX_BYTES = 1 << 30


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


def whiten_in_advance(
    module: SVQVAEModule, batches: Batches, validation: Batches | None
) -> tuple[SVQVAEModule, Batches, Batches | None]:
    """Whiten samples in memory once for all epochs, since nothing of it is learnt.

    Parameters
    ----------
    module
        Left as it is.
    batches, validation
        Training data, and held-out data or None.

    Returns
    -------
    tuple
        A module that shares all weights with this one but reads whitened samples, and such data. Where the module does
        not whiten, and where data are on disk or more than 1 GiB, all comes back as it is.
    """
    encoder = module.encoder
    data = [batches] if validation is None else [batches, validation]
    in_memory = [part for part in data if isinstance(part, MemoryBatches)]
    is_small = len(in_memory) == len(data) and sum(part.inputs.nbytes for part in in_memory) <= MAX_BYTES
    if not isinstance(encoder, WhitenedEncoder) or not is_small:
        return module, batches, validation
    whitened = [part.with_inputs(encoder.whitening.of_all(part.inputs)) for part in in_memory]
    reader = WhitenedEncoder(encoder.whitening, encoder.network, reads_whitened=True)
    parts = (reader, module.quantizer, module.decoder, module.likelihood)
    shared = SVQVAEModule(*parts, module.geometry, module.is_supervised)
    return shared, whitened[0], None if validation is None else whitened[1]
