"""SVQVAE, the estimator: the one door to the model."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from svqvae import parameters
from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.health import CodeHealthWarning, describe_health
from svqvae.data import inputs
from svqvae.data.inputs import AnyRows, Rows
from svqvae.data.rows import StoredRows
from svqvae.fitting import run_folder as runs
from svqvae.fitting.building import build, whiten_in_advance
from svqvae.fitting.measure import measure
from svqvae.fitting.reading import Reader, scaled
from svqvae.fitting.simulation import add_noise
from svqvae.fitting.splitting import split_validation
from svqvae.fitting.survey import survey
from svqvae.model import inference
from svqvae.model.batches import Batches, MemoryBatches
from svqvae.model.checkpoint import Checkpoint, Keep, OnEpoch
from svqvae.model.disk_batches import DiskBatches
from svqvae.model.module import SVQVAEModule
from svqvae.model.networks import Pair
from svqvae.model.objective import Loss, Objective
from svqvae.model.precision import choose_precision
from svqvae.model.quantizer import Geometry
from svqvae.model.whitening import WhitenedEncoder, measure_whitening
from svqvae.progress import epoch_bar


class SVQVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """Supervised vector-quantized variational autoencoder.

    Learns one code per class and one latent vector per sample, and a decoder that turns both into data: a decoded
    code shows what is typical of its class. A new sample belongs to the class of the nearest code.

    The default objective is ours; `SVQVAE.published` gives the two models of the paper. Parameters that are None
    are chosen from the data by the rules in :mod:`svqvae.parameters`.

    Parameters
    ----------
    objective
        "prototype": codes are class means, classes are kept apart by a cross-entropy, and both latents and codes
        are decoded. "published": the objective of the paper. "vqvae": its unsupervised baseline, whose codes are
        given to classes after training.
    architecture
        "dense" for tables, "conv" for images, "published-mnist" and "published-lincs" for the paper's networks, or
        a pair (encoder, decoder) of `torch.nn.Module`, which is copied.
    latent_dim
        Number of latent dimensions.
    hidden
        Widths of the hidden layers of the dense encoder; the decoder mirrors them. None is one layer of 512
        (prototype) or none (published, vqvae), as in the LINCS notebook.
    dropout
        Share of input features left out at each training step of the dense encoder.
    likelihood
        What the decoder gives: "gaussian", "bounded" (tanh × `output_scale`), "bernoulli" for values in [0, 1], or
        "negative_binomial" for counts. "auto" is bounded for images and gaussian for tables.
    output_scale
        Largest absolute value of X with likelihood="bounded"; X is then not scaled. None scales X to [-1, 1].
    geometry
        "euclidean" or "cosine": how latents and codes are compared.
    w_sample, w_class, w_label
        Weights of sample reconstruction, class reconstruction and label cross-entropy (prototype).
    commitment_cost
        Weight of the squared distance between latents and codes; None is 2 (prototype) or 0.25 (published).
    divergence_cost
        Weight of the push away from a wrong nearest code (published); below `commitment_cost`.
    label_smoothing
        Share of each label that the cross-entropy spreads evenly over all classes (prototype); None is 0.2 ("dense")
        or 0.
    temperature
        Divides squared distances in class probabilities; None is 1 (euclidean) or 0.1 (cosine).
    n_epochs
        Passes over the data; None takes 25 to 100, for about 2,000 steps. An eighth of them trains the decoder
        alone on the final codes (prototype).
    batch_size
        Samples per step; None takes a twentieth of the data, from 16 to 256.
    learning_rate, weight_decay
        Of the optimiser; a learning rate of None is 0.003 (prototype) or 0.001 (published), a weight decay of None
        1 ("dense") or 0.05; the published objectives have none.
    max_shift
        Training images are moved by up to this many pixels; None is one pixel in 14 (prototype, "conv").
    validation_fraction
        Share of the samples held out to watch training where there is early stopping.
    early_stopping
        Whether to keep the weights with the least validation loss and stop after `patience` epochs without a
        better one; "auto" does so from 10,000 samples on.
    patience
        Epochs to wait for a better validation loss.
    image_shape
        (height, width) or (channels, height, width) where X holds images as flat rows.
    accelerator
        "auto", "cpu", or "cuda".
    devices, num_nodes
        Processes that train together, on each of so many machines; under torchrun, those that it started. Each takes
        its part of each batch.
    precision
        "32-true", "64-true", "bf16-mixed", "16-mixed"; or "auto": bfloat16 where a short measurement finds training
        faster with it on this machine.
    random_state
        Seed; on the CPU the same seed gives the same bits. The global random states are left alone.
    verbose
        Whether to draw a progress bar on a terminal.

    Attributes
    ----------
    classes_ : (n_classes,), sorted labels
    atlas_ : ClassAtlas, what `to_atlas` returns
    codebook_ : (n_classes, latent_dim), the code of each class
    history_ : DataFrame, one row per epoch with each loss term
    health_ : DataFrame, one row per class: whether its code stands for it, see `svqvae.atlas.health`
    held_out_ : (n_held_out,), rows of X that were held out to watch training
    module_ : the trained `torch.nn.Module`
    precision_ : the precision that it was trained in
    n_iter_ : number of epochs trained

    References
    ----------
    Xue, Ding, Lu: Supervised Vector Quantized Variational AutoEncoder for Learning Interpretable Global
    Representations, arXiv:1909.11124.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = SVQVAE(random_state=0, n_epochs=20).fit(X, y)
    >>> model.class_profiles().shape
    (3, 4)
    """

    module_: SVQVAEModule

    def __init__(
        self,
        objective: Objective = "prototype",
        architecture: str | Pair = "dense",
        latent_dim: int = 256,
        hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        likelihood: str = "auto",
        output_scale: float | None = None,
        geometry: Geometry = "euclidean",
        w_sample: float = 4.0,
        w_class: float = 1.0,
        w_label: float = 1.0,
        commitment_cost: float | None = None,
        divergence_cost: float = 0.1,
        label_smoothing: float | None = None,
        temperature: float | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        max_shift: int | None = None,
        validation_fraction: float = 0.05,
        early_stopping: bool | Literal["auto"] = "auto",
        patience: int = 10,
        image_shape: tuple[int, ...] | None = None,
        accelerator: str = "auto",
        devices: int = 1,
        num_nodes: int = 1,
        precision: str = "32-true",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.objective = objective
        self.architecture = architecture
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.dropout = dropout
        self.likelihood = likelihood
        self.output_scale = output_scale
        self.geometry = geometry
        self.w_sample = w_sample
        self.w_class = w_class
        self.w_label = w_label
        self.commitment_cost = commitment_cost
        self.divergence_cost = divergence_cost
        self.label_smoothing = label_smoothing
        self.temperature = temperature
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_shift = max_shift
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.image_shape = image_shape
        self.accelerator = accelerator
        self.devices = devices
        self.num_nodes = num_nodes
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def published(cls, data: Literal["mnist", "lincs"], **changes: Any) -> Self:
        """Return the model of the paper for MNIST images or for LINCS L1000 signatures.

        Parameters
        ----------
        data
            "mnist": images of 28×28 pixels. "lincs": level-5 signatures of landmark genes, clipped to [-10, 10].
        **changes
            Hyper-parameters to change.

        Examples
        --------
        >>> SVQVAE.published("lincs", random_state=0).n_epochs
        900
        """
        settings: dict[str, Any] = {
            "objective": "published",
            "likelihood": "bounded",
            "batch_size": 256,
            "early_stopping": False,
            "validation_fraction": 0.0,
        }
        if data == "mnist":
            settings |= {"architecture": "published-mnist", "latent_dim": 3200, "learning_rate": 1e-3, "n_epochs": 25}
        elif data == "lincs":
            settings |= {"architecture": "published-lincs", "latent_dim": 1000, "learning_rate": 1e-4, "n_epochs": 900}
            settings |= {"output_scale": 10.0}
        else:
            raise ValueError(f"`data` must be 'mnist' or 'lincs'; got {data!r}.")
        return cls(**{**settings, **changes})

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        label: str | None = None,
        layer: str | None = None,
        groups: Any = None,
        unlabelled: Any = None,
        unlabelled_groups: Any = None,
        on_epoch: OnEpoch | None = None,
        checkpoint: Path | str | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on labelled samples.

        Parameters
        ----------
        X : (n, n_features), a table or sparse matrix; (n, [channels,] height, width), images; or AnnData
        y : (n,), labels: strings or whole numbers
        label
            Column of `X.obs` that holds the labels, where X is AnnData.
        layer
            Layer of the AnnData to use in the place of `X.X`.
        groups : (n,), samples that belong together are held out together
        unlabelled : (n_unlabelled, n_features), samples without a label, or None
            They show how samples that should be alike differ: with the default objective and architecture="dense",
            directions in which they vary within a group count less (`svqvae.model.whitening`). Nothing else is learnt
            from them.
        unlabelled_groups : (n_unlabelled,), which of these should be alike, such as those of one compound
        on_epoch
            Called as ``on_epoch(epoch, n_epochs, row)`` after each epoch with that row of `history_`.
        checkpoint
            File (.safetensors) that gets the state of training after each epoch, whole or not at all.
        resume
            Whether to go on from `checkpoint`: with the same data and parameters, training ends with the same bits as
            if it had never stopped. Where there is no such file yet, training starts anew.

        Raises
        ------
        ValueError, TypeError
            Where data or hyper-parameters break a rule; the message says which, what was seen and what to do.
        FloatingPointError
            Where the loss stops being finite.

        Warns
        -----
        CodeHealthWarning
            Where some codes do not stand for their class.
        """
        # From here to the end of training there is no model: an old network with new classes would mislead.
        self.__dict__.pop("module_", None)
        parameters.check_parameters(self)
        unpacked = inputs.unpack(X, y, label, layer)
        rows, self.sample_shape_ = inputs.check_rows(
            self, unpacked, takes_images=self.architecture != "dense", is_fitting=True
        )
        self.classes_, index = inputs.check_labels(unpacked.y, len(rows))
        groups = inputs.check_groups(groups, len(rows))
        self.image_shape_ = inputs.resolve_image_shape(
            unpacked.image_shape if self.image_shape is None else self.image_shape,
            self.sample_shape_,
            self.architecture,
        )
        self.layer_ = layer
        others = inputs.check_unlabelled(self, unlabelled, unlabelled_groups, layer)
        self.seed_ = parameters.resolve_seed(self.random_state)
        fraction = parameters.resolve_validation_fraction(self, len(rows))
        kept, self.held_out_ = split_validation(index, groups, fraction, self.seed_)
        if self.early_stopping is True and not len(self.held_out_):
            raise ValueError(
                f"`validation_fraction` must hold out at least one sample where early_stopping=True; {fraction:g} of "
                f"{len(rows)} samples holds out none. Raise it, or use early_stopping=False."
            )
        found = survey(self, rows, kept)
        self.scaling_ = found.scaling
        self.median_size_, self.log_size_spread_ = found.median_size, found.log_size_spread
        self._n_features_out = self.latent_dim
        digest = inputs.fingerprint(rows, index)
        keep, start = runs.checkpointing(self, checkpoint, resume, digest)
        with self._random_state(), epoch_bar(self.verbose and on_epoch is None) as draw_bar:
            self.module_ = build(self)
            try:
                training, history = self._train(rows, index, kept, others, on_epoch or draw_bar, keep, start)
            except BaseException:
                del self.module_
                raise
        self.history_ = pd.DataFrame(history)
        self.n_iter_ = len(history)
        held_out = self._batches(rows, index, self.held_out_, 256, 0) if len(self.held_out_) else None
        findings = measure(self, training, held_out, None if groups is None else groups[kept])
        self.health_, self.atlas_, self.noise_ = findings.health, findings.atlas, findings.noise
        self.data_ = {"n_samples": len(rows), "n_trained": len(training.y), "sha256": digest}
        if others is not None:
            self.data_["n_unlabelled"] = len(others.rows)
        self._warn()
        return self

    def predict(self, X: Any) -> NDArray[np.generic]:
        """Return the class of the nearest code for each sample, (n,)."""
        check_is_fitted(self)
        distances = inference.nearness(self.module_)
        nearest = self._of_latents(X, lambda latents: distances(latents).argmin(1))
        return np.asarray(self.classes_[nearest])

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return class probabilities softmax(-d / temperature), (n, n_classes), d squared distances to the codes.

        They are those of the label term and not calibrated; see `svqvae.fitting.annotate.tell_classes`.
        """
        check_is_fitted(self)
        distances, temperature = inference.nearness(self.module_), parameters.resolve_temperature(self)

        def probabilities(latents: Tensor) -> Tensor:
            return torch.softmax(-distances(latents).double() / temperature, 1).float()

        return np.asarray(self._of_latents(X, probabilities), dtype=np.float32)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the latent of each sample, (n, latent_dim)."""
        latents: NDArray[np.float32] = self._of_latents(X, lambda latents: latents)
        return latents

    def inverse_transform(self, Z: Any) -> NDArray[np.float64]:
        """Decode latents, (n, latent_dim), to data in the shape and units of X; counts at the median total."""
        check_is_fitted(self)
        Z = np.atleast_2d(np.asarray(Z, dtype=np.float32))
        if Z.ndim != 2 or Z.shape[1] != self.latent_dim:
            raise ValueError(f"`Z` must be latents (n, {self.latent_dim}); got shape {Z.shape}.")
        if not np.isfinite(Z).all():
            raise ValueError(f"`Z` must be finite; got {(~np.isfinite(Z)).sum()} NaN or infinite cells.")
        return self._decode(torch.as_tensor(Z), torch.full((len(Z),), self.median_size_))

    def reconstruct(self, X: Any) -> NDArray[np.float64]:
        """Encode and decode each sample, in the shape and units of X; counts at each sample's own total.

        With the published objectives, whose decoder has only ever seen codes, the nearest code is decoded.
        """
        return np.concatenate([self._reconstruct(block) for block in self._blocks(X)])

    def class_profiles(self) -> NDArray[np.float64]:
        """Return the decoded code of each class, (n_classes, n_features), or images, in the units of X."""
        check_is_fitted(self)
        codes = self.module_.quantizer.codes.detach()
        sizes = torch.full((len(codes),), self.median_size_)
        return self._to_data(inference.decode_exactly(self.module_, codes, sizes))

    @property
    def codebook_(self) -> NDArray[np.float32]:
        """The code of each class, (n_classes, latent_dim)."""
        codes: NDArray[np.float32] = self.module_.quantizer.codes.detach().numpy().copy()
        return codes

    def sample(self, name: Any, n: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Simulate samples of a class.

        Latents are drawn from the class's mixture of Gaussians and decoded. Gaussian data get per feature the
        variance within classes that decoded draws lack; counts are drawn from the likelihood, at totals from a
        log-normal distribution like that of the training samples; 0/1 data are drawn from the likelihood. Bounded
        data, such as images, come back as their means. The decoder of the published objectives has only ever seen
        codes, so what it makes of drawn latents says little.

        Parameters
        ----------
        name
            A class, as in `classes_`.
        n
            Number of samples.
        random_state
            Seed; None draws anew each time.

        Returns
        -------
        (n, n_features) array, or images, in the shape and units of X
        """
        check_is_fitted(self)
        k = self.atlas_.find(name)
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"`n` must be a whole number of at least 1; got {n!r}.")
        rng = np.random.default_rng(parameters.resolve_seed(random_state))
        if self.atlas_.density is None:
            raise ValueError(
                "`sample` must know where the latents of a class lie, which this model never learnt: it was imported "
                "without samples. Import it with `--data` and `--label`, or fit it anew."
            )
        latents = self.atlas_.density.draw(k, int(n), rng)
        sizes = self.median_size_ * np.exp(self.log_size_spread_ * rng.standard_normal(len(latents)))
        means = self._decode(torch.as_tensor(latents), torch.as_tensor(sizes, dtype=torch.float32))
        return add_noise(means, self, rng)

    def to_atlas(self) -> ClassAtlas:
        """Return what is typical of each class and how classes relate, without the samples and without torch."""
        check_is_fitted(self)
        return self.atlas_

    def save(self, folder: Path | str) -> None:
        """Write a run folder: `model.safetensors`, `atlas.safetensors`, `run.json`, `history.csv`."""
        check_is_fitted(self)
        runs.write_model(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str, architecture: Pair | None = None) -> Self:
        """Read a run folder; models with networks of the user's own need the same pair again as `architecture`."""
        return runs.read_model(cls, Path(folder), architecture)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a fit came to its end; one that broke down leaves no model."""
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _train(
        self,
        rows: AnyRows,
        index: NDArray[np.int64],
        kept: NDArray[np.int64],
        others: inputs.Unlabelled | None,
        on_epoch: OnEpoch,
        keep: Keep | None,
        start: Checkpoint | None,
    ) -> tuple[Batches, list[dict[str, float]]]:
        # What trains takes a second or two to import, which a model that is only asked does without.
        from svqvae.model.processes import train_on

        batch_size = parameters.resolve_batch_size(self, len(kept))
        accelerator = parameters.resolve_accelerator(self.accelerator, torch.cuda.is_available())
        max_shift = parameters.resolve_max_shift(self, self.image_shape_)
        batches = self._batches(rows, index, kept, batch_size, max_shift)
        held_out = self.held_out_
        validation = self._batches(rows, index, held_out, batch_size, 0) if len(held_out) else None
        n_epochs = parameters.resolve_n_epochs(self, batches.n_batches)
        n_settling = parameters.resolve_n_settling_epochs(self, n_epochs)
        module, training, unseen = self.module_, batches, validation
        if isinstance(self.module_.encoder, WhitenedEncoder):
            beside = None
            if others is not None:
                beside = (
                    scaled(others.rows, self.scaling_, self.image_shape_),
                    len(self.classes_) + torch.as_tensor(others.groups),
                )
            measure_whitening(self.module_.encoder.whitening, batches, beside)
            # Graphics cards whiten in no time, and in double precision whitening is to be done in it as well.
            if accelerator == "cpu" and self.precision != "64-true":
                module, training, unseen = whiten_in_advance(self.module_, batches, validation)
        elif others is not None:
            warnings.warn(
                "`unlabelled` samples are of use with objective='prototype' and architecture='dense' only; they were "
                "left out.",
                UserWarning,
                stacklevel=3,
            )
        if start is None:
            sample_shape = self.image_shape_ or (self.n_features_in_,)
            self.precision_ = choose_precision(module, sample_shape, batch_size, accelerator, self.precision)
        else:
            self.precision_ = start.progress["precision"]
        history = train_on(
            module,
            training,
            unseen,
            loss=Loss(
                self.objective,
                parameters.resolve_weights(self),
                parameters.resolve_temperature(self),
                parameters.resolve_label_smoothing(self),
            ),
            n_epochs=n_epochs - n_settling,
            n_settling_epochs=n_settling,
            learning_rate=parameters.resolve_learning_rate(self),
            weight_decay=parameters.resolve_weight_decay(self),
            patience=self.patience if validation is not None else None,
            accelerator=accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            precision=self.precision_,
            on_epoch=on_epoch,
            keep=keep,
            start=start,
            notes={"precision": self.precision_},
        )
        if isinstance(self.module_.encoder, WhitenedEncoder):
            self.module_.encoder.fold()
        self.module_.eval()
        return batches, history

    def _batches(
        self, rows: AnyRows, index: NDArray[np.int64], chosen: NDArray[np.int64], batch_size: int, max_shift: int
    ) -> Batches:
        y = torch.as_tensor(index[chosen])
        if isinstance(rows, StoredRows):
            own = rows.subset(chosen)
            read = Reader(own, self.scaling_, self.image_shape_)
            return DiskBatches(read, y, batch_size, self.seed_, max_shift, own.n_together)
        seen, target = Reader(rows, self.scaling_, self.image_shape_)(torch.as_tensor(chosen))
        return MemoryBatches(seen, target, y, batch_size, self.seed_, max_shift)

    def _warn(self) -> None:
        if "interrupted" in self.history_:
            warnings.warn(
                f"Training was interrupted after epoch {self.n_iter_}; the model holds what was learnt until then.",
                UserWarning,
                stacklevel=3,
            )
        trouble = describe_health(self.health_)
        if trouble:
            warnings.warn(trouble, CodeHealthWarning, stacklevel=3)

    def _rows(self, X: Any) -> AnyRows:
        check_is_fitted(self)
        unpacked = inputs.unpack(X, None, None, self.layer_ if inputs.is_anndata(X) else None)
        rows, sample_shape = inputs.check_rows(
            self, unpacked, takes_images=self.architecture != "dense", is_fitting=False
        )
        inputs.check_sample_shape(sample_shape, self.sample_shape_)
        return rows

    def _blocks(self, X: Any) -> Iterator[Rows]:
        """Yield the rows of samples in any form, in parts, and refuse what is not counts where they should be."""
        start = 0
        for block in inputs.blocks(self, self._rows(X), inference.CHUNK):
            if self.scaling_.kind == "counts":
                inputs.check_counts(block, start)
            start += len(block)
            yield block

    def _encode(self, block: Rows) -> Tensor:
        return inference.encode(self.module_, scaled(block, self.scaling_, self.image_shape_))

    def _of_latents(self, X: Any, run: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        """Return what a function makes of the latents of all samples."""
        return torch.cat([run(self._encode(block)) for block in self._blocks(X)]).numpy()

    def _reconstruct(self, block: Rows) -> NDArray[np.float64]:
        sizes = block.sum(axis=1, dtype=np.float64) if self.scaling_.kind == "counts" else np.ones(len(block))
        latents = self._encode(block)
        if self.objective != "prototype":
            nearest = inference.nearness(self.module_)(latents).argmin(1)
            latents = self.module_.quantizer.codes.detach()[nearest]
        return self._decode(latents, torch.as_tensor(sizes, dtype=torch.float32))

    def _decode(self, latents: Tensor, sizes: Tensor) -> NDArray[np.float64]:
        return self._to_data(inference.decode(self.module_, latents, sizes))

    def _to_data(self, decoded: Tensor) -> NDArray[np.float64]:
        rows = decoded.flatten(1).numpy()
        values = rows.astype(np.float64) if self.scaling_.kind == "counts" else self.scaling_.invert(rows)
        return values.reshape(-1, *self.sample_shape_)

    @contextmanager
    def _random_state(self) -> Iterator[None]:
        """Seed torch within the block and give its global random state back afterwards."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed_)
            yield
