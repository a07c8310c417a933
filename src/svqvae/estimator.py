"""SVQVAE, the estimator: the one door to the model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from svqvae import parameters
from svqvae.atlas.atlas import ClassAtlas
from svqvae.data import samples as door
from svqvae.data.samples import Samples
from svqvae.fitting.fit import Request, Split, learn, split, warn_of
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import read_fitted, write_run
from svqvae.model.checkpoint import OnEpoch
from svqvae.model.module import SVQVAEModule
from svqvae.model.networks import Pair
from svqvae.model.objective import ObjectiveName
from svqvae.model.quantizer import Geometry
from svqvae.model.recipe import OWN_NETWORKS, Recipe
from svqvae.progress import epoch_bar

# Architectures that read rows, whatever shape samples have.
FOR_ROWS = ("dense", "published-lincs")


class SVQVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """Supervised vector-quantized variational autoencoder.

    Learns one code per class and one latent vector per sample, and a decoder that turns both into data: a decoded
    code shows what is typical of its class. A new sample belongs to the class of the nearest code.

    The default objective is ours; `SVQVAE.published` gives the two models of the paper. Parameters that are None
    are chosen by the rules in :mod:`svqvae.parameters`.

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
    fitted_ : `svqvae.fitting.fitted.Fitted`, all that was learnt, which alone decides what is predicted: parameters
        that are set later change nothing before the next fit

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

    fitted_: Fitted

    def __init__(
        self,
        objective: ObjectiveName = "prototype",
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
        self.__dict__.pop("fitted_", None)
        given = self._parameters()
        parameters.check(given)
        samples = door.read_samples(X, y, label=label, layer=layer, groups=groups, are_labelled=True)
        self._validate(samples, X, is_fitting=True)
        recipe, parts = self._resolve(given, samples)
        others = door.read_unlabelled(unlabelled, unlabelled_groups, layer)
        if others is not None:
            self._validate(others, unlabelled, is_fitting=False)
        with epoch_bar(self.verbose and on_epoch is None) as draw_bar:
            request = Request(
                given=_given(given, recipe.schedule.seed),
                own_networks=self.architecture if isinstance(self.architecture, tuple) else None,
                unlabelled=others,
                layer=layer,
                on_epoch=on_epoch or draw_bar,
                checkpoint=None if checkpoint is None else Path(checkpoint),
                resume=resume,
            )
            self.fitted_ = learn(recipe, samples, parts, request)
        warn_of(self.fitted_, stacklevel=2)
        return self

    def predict(self, X: Any) -> NDArray[np.generic]:
        """Return the class of the nearest code for each sample, (n,)."""
        fitted = self._fitted()
        return np.asarray(fitted.classes[self._of_latents(X, fitted.recognizer().nearest)])

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return class probabilities softmax(-d / temperature), (n, n_classes), d squared distances to the codes.

        They are those of the label term and not calibrated; see `svqvae.fitting.annotate.tell_classes`.
        """
        return self._of_latents(X, self._fitted().recognizer().probabilities)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the latent of each sample, (n, latent_dim)."""
        return self._of_latents(X, lambda latents: latents.numpy())

    def inverse_transform(self, Z: Any) -> NDArray[np.float64]:
        """Decode latents, (n, latent_dim), to data in the shape and units of X; counts at the median total."""
        fitted = self._fitted()
        Z, latent_dim = np.atleast_2d(np.asarray(Z, dtype=np.float32)), fitted.recipe.design.latent_dim
        if Z.ndim != 2 or Z.shape[1] != latent_dim:
            raise ValueError(f"`Z` must be latents (n, {latent_dim}); got shape {Z.shape}.")
        if not np.isfinite(Z).all():
            raise ValueError(f"`Z` must be finite; got {(~np.isfinite(Z)).sum()} NaN or infinite cells.")
        return fitted.decode(torch.as_tensor(Z))

    def reconstruct(self, X: Any) -> NDArray[np.float64]:
        """Encode and decode each sample, in the shape and units of X; counts at each sample's own total.

        With the published objectives, whose decoder has only ever seen codes, the nearest code is decoded.
        """
        fitted = self._fitted()
        return np.concatenate([fitted.reconstruct(block) for block in fitted.blocks(self._samples(X))])

    def class_profiles(self) -> NDArray[np.float64]:
        """Return the decoded code of each class, (n_classes, n_features), or images, in the units of X."""
        return self._fitted().class_profiles()

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
        fitted = self._fitted()
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"`n` must be a whole number of at least 1; got {n!r}.")
        return fitted.sample(name, int(n), np.random.default_rng(parameters.resolve_seed(random_state)))

    def to_atlas(self) -> ClassAtlas:
        """Return what is typical of each class and how classes relate, without the samples and without torch."""
        return self._fitted().atlas

    def save(self, folder: Path | str) -> None:
        """Write a run folder: `model.safetensors`, `atlas.safetensors`, `run.json`, `history.csv`.

        A run that stands there is replaced as a whole; its figures and its page go.
        """
        write_run(Path(folder), self._fitted())

    @classmethod
    def load(cls, folder: Path | str, architecture: Pair | None = None) -> Self:
        """Read a run folder; models with networks of the user's own need the same pair again as `architecture`."""
        return cls.of_fitted(read_fitted(Path(folder), architecture), architecture)

    @classmethod
    def of_fitted(cls, fitted: Fitted, architecture: Pair | None = None) -> Self:
        """Return an estimator that holds what was learnt elsewhere, with the parameters by which it was."""
        given: dict[str, Any] = dict(fitted.given)
        given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        if given["architecture"] == OWN_NETWORKS:
            given["architecture"] = architecture
        model = cls(**given)
        model.fitted_ = fitted
        model.n_features_in_ = fitted.recipe.design.n_features
        if fitted.feature_names is not None:
            model.feature_names_in_ = fitted.feature_names
        return model

    @property
    def classes_(self) -> NDArray[np.generic]:
        """The classes, sorted, (n_classes,)."""
        return self._learnt("classes_").classes

    @property
    def codebook_(self) -> NDArray[np.floating]:
        """The code of each class, (n_classes, latent_dim)."""
        return self._learnt("codebook_").codebook

    @property
    def atlas_(self) -> ClassAtlas:
        """What `to_atlas` returns."""
        return self._learnt("atlas_").atlas

    @property
    def module_(self) -> SVQVAEModule:
        """The trained network."""
        return self._learnt("module_").module

    @property
    def history_(self) -> pd.DataFrame:
        """One row per epoch with each loss term."""
        return self._learnt("history_").history

    @property
    def health_(self) -> pd.DataFrame:
        """One row per class: whether its code stands for it."""
        return self._learnt("health_").health

    @property
    def held_out_(self) -> NDArray[np.int64]:
        """Rows of X that were held out to watch training."""
        return self._learnt("held_out_").held_out

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return self._learnt("n_iter_").n_iter

    @property
    def precision_(self) -> str:
        """The precision that it was trained in."""
        return self._learnt("precision_").recipe.schedule.precision

    @property
    def _n_features_out(self) -> int:
        return self._learnt("_n_features_out").recipe.design.latent_dim

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a fit came to its end; one that broke down leaves no model."""
        return "fitted_" in self.__dict__

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _parameters(self) -> dict[str, Any]:
        return dict(self.get_params(deep=False))

    def _fitted(self) -> Fitted:
        check_is_fitted(self)
        return self.fitted_

    def _learnt(self, name: str) -> Fitted:
        """Return what was learnt, or raise what Python does where an attribute is missing."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError(f"`SVQVAE` has no `{name}` before it is fitted. Call `fit` first.")
        return self.fitted_

    def _validate(self, samples: Samples, X: Any, is_fitting: bool) -> None:
        """Hold features against those of the fit by scikit-learn's rules, or keep them where this is a fit.

        A data frame whose columns have numbers for names is refused where features have names.
        """
        if not is_fitting:
            columns = [] if samples.feature_names is not None else [str(name) for name in door.columns_of(X)]
            seen = np.array(columns, dtype=object) if columns else samples.feature_names
            door.check_features(seen, getattr(self, "feature_names_in_", None))
        validate_data(self, samples.head(), reset=is_fitting, skip_check_array=True)

    def _resolve(self, given: Mapping[str, Any], samples: Samples) -> tuple[Recipe, Split]:
        """Return the recipe of a fit, and which samples it trains on."""
        if self.architecture == "dense":
            door.check_is_table(samples)
        image_shape = door.resolve_image_shape(
            samples.image_shape if self.image_shape is None else self.image_shape,
            samples.sample_shape,
            takes_images=self.architecture not in FOR_ROWS,
        )
        seed = parameters.resolve_seed(self.random_state)
        fraction = parameters.resolve_validation_fraction(given, len(samples))
        parts = split(samples, fraction, seed)
        if self.early_stopping is True and not len(parts.held_out):
            raise ValueError(
                f"`validation_fraction` must hold out at least one sample where early_stopping=True; {fraction:g} of "
                f"{len(samples)} samples holds out none. Raise it, or do without early stopping."
            )
        facts = parameters.Facts(
            n_samples=len(samples),
            n_trained=len(parts.kept),
            n_features=samples.n_features,
            n_classes=len(samples.classes),
            image_shape=image_shape,
            has_cuda=torch.cuda.is_available(),
        )
        return parameters.resolve(given, facts, seed), parts

    def _samples(self, X: Any) -> Samples:
        """Return samples in any form, held against the fit."""
        fitted = self._fitted()
        samples = door.read_samples(X, layer=fitted.layer if door.is_anndata(X) else None)
        if not fitted.recipe.design.image_shape and fitted.recipe.design.architecture == "dense":
            door.check_is_table(samples)
        self._validate(samples, X, is_fitting=False)
        door.check_sample_shape(samples.sample_shape, fitted.sample_shape)
        return samples

    def _of_latents(self, X: Any, run: Callable[[Tensor], NDArray[Any]]) -> NDArray[Any]:
        """Return what a function makes of the latents of all samples."""
        fitted = self._fitted()
        return np.concatenate([run(fitted.encode(block)) for block in fitted.blocks(self._samples(X))])


def _given(given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return parameters as a run keeps them: with the seed that was drawn, and without networks of one's own."""
    networks = {"architecture": OWN_NETWORKS} if isinstance(given["architecture"], tuple) else {}
    return {**given, "random_state": seed, **networks}
