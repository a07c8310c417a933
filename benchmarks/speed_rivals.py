"""Others that are raced where they are installed: pythae's VQ-VAE and scvi-tools' SCANVI."""

import logging
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed_data import read
from speed_methods import LATENT_DIM, MANY, as_tensors, published_networks
from speed_process import Enough, Lap, Pause
from torch import nn

MISSING = "{} is not installed; install the extra `bench` to race it"


def has(package: str) -> bool:
    """Return whether a package is installed; say so where it is not."""
    found = find_spec(package) is not None
    if not found:
        print(MISSING.format(package), flush=True)
    return found


def pythae_vqvae(pause: Pause, data: str, path: Path, batch_size: int) -> None:
    """Train pythae's VQVAE, one code a sample, with the published networks by its own trainer; a lap is an epoch.

    Its trainer is used as it is but for what it prints and the files it writes.
    """
    logging.disable(logging.WARNING)
    from pythae.data.datasets import BaseDataset
    from pythae.models import VQVAE, VQVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler

    encoder, decoder = published_networks(data)
    scale = 10.0 if data == "lincs" else 1.0

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network: nn.Module = encoder

        def forward(self, x: torch.Tensor) -> Any:
            # A picture of one pixel: pythae has a code for each pixel.
            return ModelOutput(embedding=self.network(x).flatten(1)[:, :, None, None])

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network: nn.Module = decoder

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=scale * torch.tanh(self.network(z.flatten(1))))

    class Trainer(BaseTrainer):  # type: ignore[misc]
        def _setup_callbacks(self) -> None:
            self.callback_handler = CallbackHandler(callbacks=[], model=self.model)

    inputs, y = as_tensors(data, *read(path))
    shape = tuple(inputs.shape[1:])
    config = VQVAEConfig(input_dim=shape, latent_dim=LATENT_DIM[data], num_embeddings=int(y.max()) + 1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            VQVAE(config, Encoder(), Decoder()),
            BaseDataset(inputs, y),
            training_config=BaseTrainerConfig(
                output_dir=folder, per_device_train_batch_size=batch_size, learning_rate=1e-3, no_cuda=True
            ),
        )
        trainer.prepare_training()
        for epoch in range(1, MANY):
            start = time.perf_counter()
            trainer.train_step(epoch)
            pause(Lap(time.perf_counter() - start, len(inputs)))


def scanvi(pause: Pause, path: Path, batch_size: int, width: int) -> None:
    """Train scvi-tools' SCANVI with hidden layers of some width on counts of the same shape; a lap is an epoch.

    Counts are drawn around the exponential of the signatures, and every cell has its label. An epoch is of 2,048 cells,
    since each of them takes long.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import anndata
    import pandas as pd
    import scvi
    from lightning.pytorch.callbacks import Callback

    X, y = read(path)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(X))[:2048]
    counts = rng.poisson(np.exp(X[chosen] / 3)).astype(np.float32)
    cells = anndata.AnnData(counts, obs=pd.DataFrame({"label": y[chosen].astype(str)}, index=chosen.astype(str)))

    class Watch(Callback):  # type: ignore[misc]
        start = 0.0

        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            pause(Lap(time.perf_counter() - self.start, len(counts)))

    scvi.settings.seed = 0
    scvi.model.SCANVI.setup_anndata(cells, labels_key="label", unlabeled_category="unknown")
    model = scvi.model.SCANVI(cells, n_hidden=width)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    try:
        model.train(
            max_epochs=MANY,
            batch_size=batch_size,
            train_size=1.0,
            accelerator="cpu",
            callbacks=[Watch()],
            enable_checkpointing=False,
            **quiet,
        )
    except Enough:
        return
