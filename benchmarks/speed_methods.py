"""What is raced: the notebooks' training loop as we read it, and svqvae."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from speed_data import Array, read, scale_pixels
from speed_process import Enough, Lap, Pause
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from svqvae.model import networks

# More epochs than are ever asked for; learning rates and settling are planned over them.
MANY = 10_000
DIVERGENCE_COST, COMMITMENT_COST = 0.1, 0.25


class ReferenceQuantizer(nn.Module):
    """The notebooks' codebook: codes are picked by products with one-hot rows."""

    def __init__(self, n_classes: int, latent_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_classes, latent_dim)
        self.embedding.weight.data.uniform_(-1 / n_classes, 1 / n_classes)

    def forward(self, latents: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of the codebook, the codes straight through, and the perplexity."""
        codes = self.embedding.weight
        distances = (
            torch.sum(latents**2, dim=1, keepdim=True)
            + torch.sum(codes**2, dim=1)
            - 2 * torch.matmul(latents, codes.t())
        )
        nearest = torch.argmin(distances, dim=1).unsqueeze(1)
        nearest_rows = torch.zeros(len(latents), len(codes)).scatter_(1, nearest, 1)
        own_rows = torch.zeros(len(latents), len(codes)).scatter_(1, y.unsqueeze(1), 1)
        nearest_code, own_code = torch.matmul(nearest_rows, codes), torch.matmul(own_rows, codes)
        is_foreign = (nearest.squeeze(1) != y).float().unsqueeze(1)
        loss = (
            torch.mean((own_code - latents.detach()) ** 2)
            + COMMITMENT_COST * torch.mean((own_code.detach() - latents) ** 2)
            - torch.mean(is_foreign * (nearest_code - latents.detach()) ** 2)
            - DIVERGENCE_COST * torch.mean(is_foreign * (nearest_code.detach() - latents) ** 2)
        )
        shares = torch.mean(own_rows, dim=0)
        perplexity = torch.exp(-torch.sum(shares * torch.log(shares + 1e-10)))
        return loss, latents + (own_code - latents).detach(), perplexity


class Reference:
    """The notebooks' model with its training loop.

    Parameters
    ----------
    data
        "mnist" or "lincs": decides networks and learning rate.
    n_classes
        Number of codes.
    """

    def __init__(self, data: str, n_classes: int) -> None:
        self.encoder, self.decoder = published_networks(data)
        self.quantizer = ReferenceQuantizer(n_classes, LATENT_DIM[data])
        self.scale = 10.0 if data == "lincs" else 1.0
        parts = nn.ModuleList([self.encoder, self.quantizer, self.decoder])
        self.optimizer = torch.optim.Adam(parts.parameters(), lr=1e-4 if data == "lincs" else 1e-3, amsgrad=True)

    def epochs(self, inputs: Tensor, y: Tensor, batch_size: int) -> Iterator[float]:
        """Train for ever, and yield the seconds of each epoch."""
        loader = DataLoader(TensorDataset(inputs, y), batch_size=batch_size, shuffle=True)
        errors, perplexities = [], []
        while True:
            start = time.perf_counter()
            for batch, own in loader:
                self.optimizer.zero_grad()
                loss, quantized, perplexity = self.quantizer(self.encoder(batch), own)
                error = torch.mean((self.decode(quantized) - batch) ** 2)
                (error + loss).backward()
                self.optimizer.step()
                errors.append(error.item())
                perplexities.append(perplexity.item())
            yield time.perf_counter() - start

    def decode(self, latents: Tensor) -> Tensor:
        """Return decoded latents in the units of the data."""
        return self.scale * torch.tanh(self.decoder(latents))

    @torch.no_grad()
    def class_error(self, inputs: Tensor, y: Tensor) -> float:
        """Return the mean squared error of samples against the decoded code of their class."""
        return float(functional.mse_loss(self.decode(self.quantizer.embedding.weight)[y], inputs))


LATENT_DIM = {"mnist": 3200, "lincs": 1000}


def published_networks(data: str) -> networks.Pair:
    """Return the published encoder and decoder, the decoder without its last Tanh."""
    return networks.published_mnist() if data == "mnist" else networks.published_lincs(978, LATENT_DIM["lincs"])


def as_tensors(data: str, X: Array, y: Array) -> tuple[Tensor, Tensor]:
    """Return inputs as the published networks read them, and class indices."""
    return torch.from_numpy(scale_pixels(X) if data == "mnist" else X), torch.from_numpy(y.astype("int64"))


def reference(pause: Pause, data: str, path: Path, batch_size: int) -> None:
    """Train as the notebooks do; a lap is an epoch."""
    torch.manual_seed(0)
    inputs, y = as_tensors(data, *read(path))
    for seconds in Reference(data, int(y.max()) + 1).epochs(inputs, y, batch_size):
        pause(Lap(seconds, len(y)))


def ours(pause: Pause, settings: Mapping[str, Any], path: Path) -> None:
    """Train svqvae with these settings; a lap is an epoch."""
    from watched import watched

    from svqvae import SVQVAE

    X, y = read(path)
    model = SVQVAE(**settings, n_epochs=MANY, early_stopping=False, accelerator="cpu", random_state=0)

    def on_epoch(epoch: int, n_epochs: int, row: Mapping[str, float]) -> None:
        pause(Lap(row["seconds"], len(y), {"precision": seen.precision or model.precision}))

    try:
        with watched() as seen:
            model.fit(X, y, on_epoch=on_epoch)
    except Enough:
        return


def published_settings(data: str) -> dict[str, Any]:
    """Return the settings of `SVQVAE.published` that are about networks and objective."""
    networks_of = {"architecture": f"published-{data}", "latent_dim": LATENT_DIM[data], "likelihood": "bounded"}
    scale = {"output_scale": 10.0, "learning_rate": 1e-4} if data == "lincs" else {"learning_rate": 1e-3}
    return networks_of | scale | {"objective": "published"}


def prototype_settings(data: str) -> dict[str, Any]:
    """Return the settings of the default objective on the published networks."""
    return published_settings(data) | {"objective": "prototype"}


def default_settings(data: str) -> dict[str, Any]:
    """Return the settings of the default model."""
    return {"architecture": "conv" if data == "mnist" else "dense"}


def predicting(pause: Pause, settings: Mapping[str, Any], path: Path) -> None:
    """Predict all samples over and over; a lap is as many passes as last half a second."""
    from svqvae import SVQVAE

    X, y = read(path)
    model = SVQVAE(**settings, n_epochs=1, early_stopping=False, accelerator="cpu", random_state=0).fit(X, y)
    while True:
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < 0.5:
            model.predict(X)
            n += len(X)
        pause(Lap(time.perf_counter() - start, n))
