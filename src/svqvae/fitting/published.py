"""The authors' trained LINCS model as a fitted SVQVAE; their files are read as data, and nothing in them is run."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from svqvae.atlas.health import CodeHealthWarning, describe_health
from svqvae.data import inputs
from svqvae.data.inert_pickle import Module
from svqvae.data.l1000 import rename_genes
from svqvae.data.legacy_modules import read_module
from svqvae.data.scaling import Scaling
from svqvae.data.tables import read_table
from svqvae.data.text import SEPARATORS, told_in_a_sentence
from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import Quality, held_out_quality
from svqvae.fitting.building import build
from svqvae.fitting.measure import Findings, know_codes_only, measure
from svqvae.model.batches import MemoryBatches
from svqvae.wording import list_some

ENCODER, CODES, DECODER = (f"S_VQ_VAE_{part}.pth" for part in ("encode", "embedding", "decode"))
# The columns of the authors' table of classes, and that of LINCS's gene tables which holds the symbols.
INDEX, CLASS, SYMBOL = "index", "pcl", "pr_gene_symbol"

Array = NDArray[np.float32]


def read_published(folder: Path | str, names: Path | str, genes: Path | str) -> SVQVAE:
    """Return the authors' trained model as a fitted estimator that has seen no samples.

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

    Raises
    ------
    ValueError
        Where a file is damaged or not what it should be, or the parts do not fit each other.

    Examples
    --------
    >>> model = read_published("saved", "pcl_names.csv", "landmark_genes.tsv")  # doctest: +SKIP
    >>> model.to_atlas().nearest(metric="correlation", space="code")  # doctest: +SKIP
    """
    folder = Path(folder)
    encoder, encoder_bias = _layer(folder / ENCODER)
    decoder, decoder_bias = _layer(folder / DECODER)
    codes = _codes(folder / CODES)
    _check_shapes(encoder, codes, decoder)
    classes = _class_names(Path(names), len(codes))
    model = SVQVAE.published("lincs", latent_dim=encoder.shape[0], random_state=0)
    # Classes are in the order of their names, as in any fitted model.
    order = np.argsort(classes, kind="stable")
    model.classes_, codes = classes[order], codes[order]
    model.feature_names_in_ = _gene_names(Path(genes), encoder.shape[1])
    model.n_features_in_ = encoder.shape[1]
    model.sample_shape_, model.image_shape_, model.layer_ = (encoder.shape[1],), None, None
    model.scaling_ = Scaling("none", np.zeros(1), np.ones(1))
    model.median_size_, model.log_size_spread_ = 1.0, 0.0
    model.held_out_, model.history_ = np.zeros(0, dtype=np.int64), pd.DataFrame({"epoch": []})
    model.precision_ = "32-true"
    model.seed_, model.n_iter_, model._n_features_out = 0, int(model.n_epochs or 0), model.latent_dim
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ENCODER, CODES, DECODER)}
    model.data_ = {"n_samples": 0, "n_trained": 0, "sha256": None, "imported": files}
    with torch.random.fork_rng():
        module = build(model)
    weights = {"encoder.0.weight": encoder, "encoder.0.bias": encoder_bias, "quantizer.codes": codes}
    weights |= {"decoder.0.weight": decoder, "decoder.0.bias": decoder_bias}
    module.load_state_dict({name: torch.as_tensor(values) for name, values in weights.items()})
    model.module_ = module.eval()
    _keep(model, know_codes_only(model))
    return model


def measure_on(model: SVQVAE, data: Path, label: str) -> Quality:
    """Measure counts, means, spread and density of the classes on labelled signatures, and how good the model is there.

    Parameters
    ----------
    model
        As `read_published` returns it; changed in place.
    data
        Signatures in [-10, 10] of every class of the model, with the model's genes by name; others are left out.
    label
        The column that holds the class.

    Warns
    -----
    CodeHealthWarning
        Where some codes do not stand for their class.
    """
    features = list(model.feature_names_in_)
    adata = rename_genes(read_table(data, label=label), features)
    absent = set(features) - set(adata.var_names)
    if absent:
        raise ValueError(
            f"`--data` must have the {len(features)} genes of the model as features; {len(absent)} are missing: "
            f"{list_some(sorted(absent))}. Name them as in `--genes`."
        )
    unpacked = inputs.unpack(adata[:, features], None, label, None)
    found, _ = inputs.check_rows(model, unpacked, takes_images=False, is_fitting=False)
    rows = inputs.dense(found)
    inputs.check_bounds(rows, float(model.output_scale or 1))
    y = np.asarray(unpacked.y).astype(str)
    for wrong, rule in (
        (set(y) - set(model.classes_), "hold classes of the model only; others are"),
        (set(model.classes_) - set(y), "hold samples of every class; there are none of"),
    ):
        if wrong:
            raise ValueError(
                f"`--label` must {rule} {list_some(sorted(map(str, wrong)))}. Choose other samples, or leave `--data` "
                "out."
            )
    index = np.searchsorted(model.classes_, y).astype(np.int64)
    seen = torch.as_tensor(rows, dtype=torch.float32)
    _keep(model, measure(model, MemoryBatches(seen, seen, torch.as_tensor(index), 256, model.seed_, 0)))
    model.data_ |= {"n_samples": len(rows), "sha256": inputs.fingerprint(rows, index)}
    if trouble := describe_health(model.health_):
        warnings.warn(trouble, CodeHealthWarning, stacklevel=2)
    table = pd.DataFrame(rows, columns=features)
    return held_out_quality(model, table, y, table, y)


def _keep(model: SVQVAE, found: Findings) -> None:
    model.health_, model.atlas_, model.noise_ = found.health, found.atlas, found.noise


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
    table = _read(path, "--names")
    absent = [column for column in (INDEX, CLASS) if column not in table]
    if absent:
        raise ValueError(f"`--names` must have the columns {INDEX} and {CLASS}; {path} has {list_some(table.columns)}.")
    if sorted(table[INDEX]) != sorted(map(str, range(n))):
        raise ValueError(
            f"`--names` must have a row for each of {n} codes, {INDEX} 0 to {n - 1}; {path} has {len(table)} rows, "
            f"{INDEX} {list_some(table[INDEX])}."
        )
    names = table.set_index(table[INDEX].astype(int))[CLASS].sort_index()
    return _unique(names, "--names", "class").astype(str)


def _gene_names(path: Path, n: int) -> NDArray[Any]:
    """Return the name of each input, (n,)."""
    table = _read(path, "--genes")
    if len(table) != n:
        raise ValueError(f"`--genes` must have a row for each of {n} inputs, in their order; {path} has {len(table)}.")
    return _unique(table[SYMBOL if SYMBOL in table else table.columns[0]], "--genes", "gene")


def _unique(names: "pd.Series[Any]", argument: str, what: str) -> NDArray[Any]:
    wrong = sorted(set(names[names.duplicated() | (names.str.strip() == "")]))
    if wrong:
        raise ValueError(f"`{argument}` must name each {what} once; got {list_some(wrong)} more than once or empty.")
    return names.to_numpy(dtype=object)
