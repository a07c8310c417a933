"""The network of a design: encoder → quantizer → decoder."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from svqvae.model import networks
from svqvae.model.batches import ModuleOutput
from svqvae.model.decoding import decode_own_codes
from svqvae.model.likelihood import LIKELIHOODS, Likelihood
from svqvae.model.objective import OBJECTIVES
from svqvae.model.quantizer import ClassMeanCodes, Geometry, GradientCodes, squared_distances
from svqvae.model.recipe import Design
from svqvae.model.whitening import WhitenedEncoder, Whitening


class SVQVAEModule(nn.Module):
    """Encoder, codebook, decoder and likelihood.

    Parameters
    ----------
    encoder
        (batch, ...) to (batch, latent).
    quantizer
        The codebook.
    decoder
        (batch, latent) to (batch, ...).
    likelihood
        How the decoder's output describes the data; may have parameters.
    geometry
        How latents and codes are compared; "cosine" scales latents to unit length.
    is_supervised
        Whether the code of its class represents a sample; if not, the nearest code does (the VQ-VAE baseline).
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: GradientCodes | ClassMeanCodes,
        decoder: nn.Module,
        likelihood: Likelihood,
        geometry: Geometry = "euclidean",
        is_supervised: bool = True,
    ) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder, self.likelihood = encoder, quantizer, decoder, likelihood
        self.geometry: Geometry = geometry
        self.is_supervised = is_supervised

    def encode(self, inputs: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch latent"]:
        """Return the latent of each sample, (batch, latent), in the precision of the codes."""
        latents: Tensor = self.encoder(inputs).flatten(1).to(self.quantizer.codes.dtype)
        return nn.functional.normalize(latents, dim=1) if self.geometry == "cosine" else latents

    def decode(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *event"]:
        """Return decoder outputs, (batch, ...), as the likelihood takes them, in the precision of the codes."""
        output: Tensor = self.likelihood.activation(self.decoder(latents)).to(self.quantizer.codes.dtype)
        return output

    def forward(
        self, inputs: Float[Tensor, "batch *event"], y: Int[Tensor, " batch"], needs_all_codes: bool = True
    ) -> ModuleOutput:
        """Encode a batch, compute the distances to all codes, and decode.

        With class-mean codes, latents and codes are decoded together in one pass. With gradient codes, only the code
        that represents each sample is decoded, with a straight-through gradient.

        Parameters
        ----------
        inputs
            (batch, ...).
        y
            Class index of each sample, (batch,).
        needs_all_codes
            Whether all class-mean codes must be decoded; if not, and there are more classes than samples, the code of
            each sample is decoded instead.
        """
        latents = self.encode(inputs)
        codes = self.quantizer.codes
        with torch.autocast(latents.device.type, enabled=False):
            distances = squared_distances(latents, codes, self.geometry)
        if isinstance(self.quantizer, ClassMeanCodes):
            if len(codes) > len(y) and not needs_all_codes:
                own_codes, code_of_sample = codes.index_select(0, y), torch.arange(len(y), device=y.device)
            else:
                own_codes, code_of_sample = codes, y
            return ModuleOutput(latents, codes, distances, self.decode(torch.cat([latents, own_codes])), code_of_sample)
        own = y if self.is_supervised else distances.detach().argmin(1)
        decoded = decode_own_codes(self.decoder, self.likelihood.activation, latents, codes, own).to(codes.dtype)
        return ModuleOutput(latents, codes, distances, decoded)


def build_module(design: Design, own_networks: networks.Pair | None = None) -> SVQVAEModule:
    """Build the network of a design, with weights drawn from torch's current random state.

    Parameters
    ----------
    design
        The design.
    own_networks
        Encoder and decoder if the architecture is "own"; they are copied.

    Raises
    ------
    ValueError
        The networks do not fit the samples or each other, or convolutional networks are asked of a table.
    """
    objective = OBJECTIVES[design.objective]
    encoder, decoder = _build_pair(design, own_networks)
    module = SVQVAEModule(
        encoder,
        objective.codebook(design.n_classes, design.latent_dim),
        decoder,
        LIKELIHOODS[design.likelihood](design.n_features, design.output_scale),
        design.geometry,  # type: ignore[arg-type]
        is_supervised=objective.is_supervised,
    )
    _check_shapes(module, design.event_shape, design.latent_dim)
    # Convolutions are faster with the channels of a pixel adjacent in memory.
    return module.to(memory_format=torch.channels_last) if design.image_shape else module  # type: ignore[call-overload]


def _build_pair(design: Design, own_networks: networks.Pair | None) -> networks.Pair:
    """Return encoder and decoder."""
    if own_networks is not None:
        encoder, decoder = (copy.deepcopy(part) for part in own_networks)
        return encoder, decoder
    objective = OBJECTIVES[design.objective]
    if design.architecture == "published-lincs":
        return networks.published_lincs(design.n_features, design.latent_dim)
    if design.architecture == "dense":
        encoder, decoder = networks.dense(
            design.n_features, design.latent_dim, design.hidden, design.n_features, design.dropout
        )
        if objective.whitens:
            encoder = WhitenedEncoder(Whitening(design.n_features), encoder)
    elif not design.image_shape:
        raise ValueError(
            f"`X` must hold images (n, height, width) or (n, channels, height, width) for "
            f"architecture={design.architecture!r}, or `image_shape` be given; got rows of {design.n_features} "
            "features."
        )
    elif design.architecture == "published-mnist":
        return networks.published_mnist()
    else:
        channels, height, width = design.image_shape
        encoder, decoder = networks.convolutional((channels, height, width), design.latent_dim)
    if objective.bounds_latents:
        # Both published encoders end in tanh.
        encoder = nn.Sequential(encoder, networks.Tanh())
    return encoder, decoder


@torch.no_grad()
def _check_shapes(module: SVQVAEModule, sample_shape: tuple[int, ...], latent_dim: int) -> None:
    """Pass two samples through the networks and raise a ValueError if these do not fit the data."""
    module.eval()
    probe = torch.zeros(2, *sample_shape)
    try:
        latents = module.encoder(probe)
    except RuntimeError as error:
        raise ValueError(
            f"`architecture` must have an encoder for samples of shape {sample_shape}; it fails on them: {error}"
        ) from error
    if tuple(latents.flatten(1).shape) != (2, latent_dim):
        raise ValueError(
            f"`latent_dim` must be what the encoder gives, {latents.flatten(1).shape[1]}, for samples of shape "
            f"{sample_shape}; got {latent_dim}."
        )
    try:
        decoded = module.decoder(latents.flatten(1))
    except RuntimeError as error:
        raise ValueError(
            f"`architecture` must have a decoder for {latent_dim} latent dimensions; it fails on them: {error}"
        ) from error
    if tuple(decoded.shape) != (2, *sample_shape):
        raise ValueError(
            f"`architecture` must have a decoder that gives samples of shape {sample_shape}; it gives "
            f"{tuple(decoded.shape[1:])}."
        )
    module.train()
