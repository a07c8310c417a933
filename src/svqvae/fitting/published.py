"""The authors' trained LINCS model as a fitted one; their files are read as data, and nothing in them is run."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from svqvae.data.inert_pickle import Module
from svqvae.data.legacy_modules import read_module
from svqvae.data.samples import Samples
from svqvae.data.text import SEPARATORS, told_in_a_sentence
from svqvae.data.units import UNITS
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.measure import Trained, know_codes_only, measure
from svqvae.fitting.reading import batches_of
from svqvae.model.module import build_module
from svqvae.parameters import Facts, resolve
from svqvae.wording import list_some

ENCODER, CODES, DECODER = (f"S_VQ_VAE_{part}.pth" for part in ("encode", "embedding", "decode"))
# The columns of the authors' table of classes, and that of LINCS's gene tables which holds the symbols.
INDEX, CLASS, SYMBOL = "index", "pcl", "pr_gene_symbol"

Array = NDArray[np.float32]
# Samples that are read at a time.
BATCH_SIZE = 256


def read_networks(folder: Path | str, names: Path | str, genes: Path | str, given: Mapping[str, Any]) -> Fitted:
    """Return the authors' trained model as a fitted one that has seen no samples.

    It predicts, encodes and decodes as theirs; its atlas has no counts, supports or intervals, and it cannot simulate.

    Parameters
    ----------
    folder
        Of the three files `S_VQ_VAE_encode.pth`, `S_VQ_VAE_embedding.pth` and `S_VQ_VAE_decode.pth`.
    names
        Table with the columns ``index``, the row of a code, and ``pcl``, its class.
    genes
        Table with a gene a row in the order of the network's inputs. Features are called by the column
        ``pr_gene_symbol``; without it, by the first. Commands find them in files that name genes by Entrez id.
    given
        The hyper-parameters of the published LINCS model; the latent dimensions are those of the files.

    Raises
    ------
    ValueError
        Where a file is damaged or not what it should be, or the parts do not fit each other.
    """
    folder = Path(folder)
    encoder, encoder_bias = _layer(folder / ENCODER)
    decoder, decoder_bias = _layer(folder / DECODER)
    codes = _codes(folder / CODES)
    _check_shapes(encoder, codes, decoder)
    classes = _class_names(Path(names), len(codes))
    # Classes are in the order of their names, as in any fitted model.
    order = np.argsort(classes, kind="stable")
    given = {**given, "latent_dim": encoder.shape[0], "random_state": 0}
    recipe = resolve(given, Facts(0, 0, n_features=encoder.shape[1], n_classes=len(codes)), seed=0)
    with torch.random.fork_rng():
        module = build_module(recipe.design)
    weights = {"encoder.0.weight": encoder, "encoder.0.bias": encoder_bias, "quantizer.codes": codes[order]}
    weights |= {"decoder.0.weight": decoder, "decoder.0.bias": decoder_bias}
    module.load_state_dict({name: torch.as_tensor(values) for name, values in weights.items()})
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ENCODER, CODES, DECODER)}
    units = UNITS[recipe.design.units].measure(np.zeros((1, encoder.shape[1])))
    features = _gene_names(Path(genes), encoder.shape[1])
    fingerprint = hashlib.sha256("".join([*files.values(), *classes, *features]).encode()).hexdigest()
    trained = Trained(recipe, module.eval(), units, classes[order], features, (encoder.shape[1],), fingerprint)
    findings = know_codes_only(trained)
    return Fitted(
        recipe=recipe,
        given=given,
        units=units,
        module=trained.module,
        atlas=findings.atlas,
        health=findings.health,
        noise=findings.noise,
        history=pd.DataFrame({"epoch": []}),
        n_iter=recipe.schedule.n_epochs,
        held_out=np.zeros(0, dtype=np.int64),
        feature_names=features,
        layer=None,
        origin={"n_samples": 0, "n_trained": 0, "sha256": None, "imported": files},
        fingerprint=fingerprint,
    )


def measured_on(fitted: Fitted, samples: Samples) -> Fitted:
    """Return the same model with counts, means, spread and density of its classes as labelled samples have them.

    Parameters
    ----------
    fitted
        As `read_networks` returns it.
    samples
        With the features of the model, in [-10, 10], and of every class of it and no other.
    """
    design = fitted.recipe.design
    labels = samples.labels.astype(str)
    for wrong, rule in (
        (set(labels) - set(fitted.classes), "hold classes of the model only; others are"),
        (set(fitted.classes) - set(labels), "hold samples of every class; there are none of"),
    ):
        if wrong:
            raise ValueError(
                f"`label` must {rule} {list_some(sorted(map(str, wrong)))}. Choose other samples, or leave `data` out."
            )
    samples = replace(samples, y=np.searchsorted(fitted.classes, labels).astype(np.int64), classes=fitted.classes)
    for block in samples.blocks():
        fitted.units.check(block, 0, design.output_scale)
    batches = batches_of(samples, np.arange(len(samples)), fitted.units, design.event_shape, BATCH_SIZE, fitted.seed, 0)
    fingerprint = hashlib.sha256((fitted.fingerprint + samples.fingerprint).encode()).hexdigest()
    parts = (fitted.module, fitted.units, fitted.classes, fitted.feature_names, fitted.sample_shape, fingerprint)
    found = measure(Trained(fitted.recipe, *parts), batches)
    origin = {**fitted.origin, "n_samples": len(samples), "sha256": samples.fingerprint}
    fitted = replace(fitted, atlas=found.atlas, health=found.health, noise=found.noise)
    return replace(fitted, origin=origin, fingerprint=fingerprint)


def _layer(path: Path) -> tuple[Array, Array]:
    """Return weight and bias of a network of one linear layer and a Tanh."""
    network = read_module(path)
    kinds = [child.kind for child in network.children]
    if network.kind != "Sequential" or kinds != ["Linear", "Tanh"]:
        seen = f"{network.kind} of {', '.join(kinds) or 'nothing'}"
        raise ValueError(f"{path} must hold a Sequential of Linear, Tanh; got {seen}. Give the LINCS model's files.")
    weight, bias = _parameter(network.children[0], "weight", 2, path), _parameter(network.children[0], "bias", 1, path)
    if len(bias) != len(weight):
        raise ValueError(f"{path} must have as many biases as outputs, {len(weight)}; got {len(bias)}.")
    return weight, bias


def _codes(path: Path) -> Array:
    network = read_module(path)
    if network.kind != "Embedding":
        raise ValueError(f"{path} must hold an Embedding, the codes; got {network.kind}. Give the LINCS model's files.")
    return _parameter(network, "weight", 2, path)


def _parameter(layer: Module, name: str, n_dimensions: int, path: Path) -> Array:
    values = layer.tensors.get(name)
    if values is None or values.ndim != n_dimensions or not values.size:
        seen = "none" if values is None else f"shape {values.shape}"
        raise ValueError(f"{path} must have a {name} of {n_dimensions} dimensions in its {layer.kind}; got {seen}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path} must hold finite numbers; its {name} has {(~np.isfinite(values)).sum()} others.")
    return values


def _check_shapes(encoder: Array, codes: Array, decoder: Array) -> None:
    latent_dim, n_features = encoder.shape
    if codes.shape[1] != latent_dim:
        raise ValueError(
            f"{CODES} must have codes of {latent_dim} dimensions, as {ENCODER} gives; got {codes.shape[1]}."
        )
    if decoder.shape != (n_features, latent_dim):
        raise ValueError(
            f"{DECODER} must have a weight of shape {(n_features, latent_dim)}, as {ENCODER} asks; got {decoder.shape}."
        )
    if len(codes) < 2:
        raise ValueError(f"{CODES} must have at least 2 codes; got {len(codes)}.")


def _read(path: Path, argument: str) -> pd.DataFrame:
    """Return a text table with every cell as it stands."""
    if not path.is_file():
        raise FileNotFoundError(f"`{argument}` must be a file; {path} is none. Check the spelling and the folder.")
    separator = SEPARATORS.get(path.suffix.lower())
    if separator is None:
        raise ValueError(f"`{argument}` must end in {', '.join(SEPARATORS)}; got {path.name}.")
    with told_in_a_sentence(path, "table"):
        return pd.read_csv(path, sep=separator, dtype=str, na_filter=False, encoding="utf-8-sig", index_col=False)


def _class_names(path: Path, n: int) -> NDArray[Any]:
    """Return the class of each code, (n,), in the order of the codes."""
    table = _read(path, "names")
    absent = [column for column in (INDEX, CLASS) if column not in table]
    if absent:
        raise ValueError(f"`names` must have the columns {INDEX} and {CLASS}; {path} has {list_some(table.columns)}.")
    if sorted(table[INDEX]) != sorted(map(str, range(n))):
        raise ValueError(
            f"`names` must have a row for each of {n} codes, {INDEX} 0 to {n - 1}; {path} has {len(table)} rows, "
            f"{INDEX} {list_some(table[INDEX])}."
        )
    names = table.set_index(table[INDEX].astype(int))[CLASS].sort_index()
    return _unique(names, "names", "class").astype(str)


def _gene_names(path: Path, n: int) -> NDArray[Any]:
    """Return the name of each input, (n,)."""
    table = _read(path, "genes")
    if len(table) != n:
        raise ValueError(f"`genes` must have a row for each of {n} inputs, in their order; {path} has {len(table)}.")
    return _unique(table[SYMBOL if SYMBOL in table else table.columns[0]], "genes", "gene")


def _unique(names: "pd.Series[Any]", argument: str, what: str) -> NDArray[Any]:
    wrong = sorted(set(names[names.duplicated() | (names.str.strip() == "")]))
    if wrong:
        raise ValueError(f"`{argument}` must name each {what} once; got {list_some(wrong)} more than once or empty.")
    return names.to_numpy(dtype=object)
