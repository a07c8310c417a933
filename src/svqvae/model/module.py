"""The network: encoder → quantizer → decoder, with one small dataclass out."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from svqvae.model import networks
from svqvae.model.decoding import decode_own_codes
from svqvae.model.likelihood import Likelihood, build_likelihood
from svqvae.model.quantizer import ClassMeanCodes, Geometry, GradientCodes, squared_distances
from svqvae.model.whitening import WhitenedEncoder, Whitening


# Not frozen: Fabric rebuilds what a network returns.
@dataclass
class ModuleOutput:
    """What one pass over a batch gives.

    Attributes
    ----------
    latents
        z, (batch, latent).
    codes
        E, (classes, latent).
    distances
        Squared distance of each latent to each code in the model's geometry, (batch, classes).
    decoded
        Decoder outputs: with gradient codes one for the code that stands for each sample, (batch, ...); with class-mean
        codes one for each latent and then one for each code that is decoded, (batch + codes, ...).
    code_of_sample
        With class-mean codes, which of the decoded codes is that of each sample, (batch,); else None.
    """

    latents: Float[Tensor, "batch latent"]
    codes: Float[Tensor, "classes latent"]
    distances: Float[Tensor, "batch classes"]
    decoded: Float[Tensor, "rows *event"]
    code_of_sample: Int[Tensor, " batch"] | None = None

    @property
    def sample_output(self) -> Float[Tensor, "batch *event"] | None:
        """Decoder output for each latent, (batch, ...); None where the objective does not decode latents."""
        return None if self.code_of_sample is None else self.decoded[: len(self.latents)]

    @property
    def class_output(self) -> Float[Tensor, "batch *event"]:
        """Decoder output for the code that stands for each sample, (batch, ...)."""
        if self.code_of_sample is None:
            return self.decoded
        return self.decoded[len(self.latents) :].index_select(0, self.code_of_sample)

    @property
    def code_output(self) -> Float[Tensor, "classes *event"] | None:
        """Decoder output for each code, (classes, ...); None where they are not all decoded."""
        rows = self.decoded[len(self.latents) :]
        return rows if len(rows) == len(self.codes) else None


class SVQVAEModule(nn.Module):
    """Encoder, codebook, decoder and the meaning of the decoder's output.

    Parameters
    ----------
    encoder
        (batch, ...) to (batch, latent).
    quantizer
        The codebook.
    decoder
        (batch, latent) to (batch, ...).
    likelihood
        What the decoder's output means; may hold parameters.
    geometry
        How latents and codes are compared; in the cosine geometry latents have unit length.
    is_supervised
        Whether a sample is represented by the code of its class, or by the nearest code (the VQ-VAE baseline).
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
        """Return the latent of each sample, in the precision of the codes."""
        latents: Tensor = self.encoder(inputs).flatten(1).to(self.quantizer.codes.dtype)
        return nn.functional.normalize(latents, dim=1) if self.geometry == "cosine" else latents

    def decode(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *event"]:
        """Return decoder outputs, whose meaning the likelihood knows, in the precision of the codes."""
        output: Tensor = self.likelihood.activation(self.decoder(latents)).to(self.quantizer.codes.dtype)
        return output

    def forward(
        self, inputs: Float[Tensor, "batch *event"], y: Int[Tensor, " batch"], needs_all_codes: bool = True
    ) -> ModuleOutput:
        """Encode a batch, compare it with the codes, decode; what is decoded depends on the codebook.

        Class-mean codes: latents and codes together, in one run of the decoder; all codes, or those of the samples
        where these are fewer and not all are needed. Gradient codes: the codes of the samples, straight through.
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


def build_module(
    architecture: str | networks.Pair,
    objective: str,
    *,
    n_features: int,
    image_shape: tuple[int, int, int] | None,
    n_classes: int,
    latent_dim: int,
    hidden: Sequence[int],
    dropout: float,
    likelihood: str,
    output_scale: float,
    geometry: Geometry,
) -> SVQVAEModule:
    """Build the network that hyper-parameters describe, with weights from torch's current random state.

    Parameters
    ----------
    architecture
        "dense", "conv", "published-mnist", "published-lincs", or an (encoder, decoder) pair, which is copied.
    objective
        Decides the codebook: class means for "prototype", codes learnt by gradient for "published" and "vqvae".
    n_features, image_shape
        Features of a row, and (channels, height, width) where samples are images.
    n_classes, latent_dim
        Shape of the codebook.
    hidden, dropout
        Of the dense networks.
    likelihood, output_scale
        Meaning of the decoder's output.
    geometry
        How latents and codes are compared.
    """
    if isinstance(architecture, tuple):
        encoder, decoder = (copy.deepcopy(part) for part in architecture)
    elif architecture == "dense":
        encoder, decoder = networks.dense(n_features, latent_dim, hidden, n_features, dropout)
        if objective == "prototype":
            encoder = WhitenedEncoder(Whitening(n_features), encoder)
    elif architecture == "published-lincs":
        encoder, decoder = networks.published_lincs(n_features, latent_dim)
    elif image_shape is None:
        raise ValueError(
            f"`X` must hold images (n, height, width) or (n, channels, height, width) for "
            f"architecture={architecture!r}, or `image_shape` be given; got rows of {n_features} features."
        )
    elif architecture == "conv":
        encoder, decoder = networks.convolutional(image_shape, latent_dim)
    else:
        encoder, decoder = networks.published_mnist()
    if objective != "prototype" and architecture in ("dense", "conv"):
        # Both published encoders end so; it bounds latents that the divergence terms would drive off.
        encoder = nn.Sequential(encoder, networks.Tanh())
    codebook = ClassMeanCodes if objective == "prototype" else GradientCodes
    module = SVQVAEModule(
        encoder,
        codebook(n_classes, latent_dim),
        decoder,
        build_likelihood(likelihood, n_features, output_scale),
        geometry,
        is_supervised=objective != "vqvae",
    )
    _check_shapes(module, image_shape or (n_features,), latent_dim)
    # Convolutions are faster with the channels of a pixel side by side.
    return module.to(memory_format=torch.channels_last) if image_shape else module  # type: ignore[call-overload]


@torch.no_grad()
def _check_shapes(module: SVQVAEModule, sample_shape: tuple[int, ...], latent_dim: int) -> None:
    """Pass two samples through, so that networks that do not fit the data fail with a sentence."""
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
