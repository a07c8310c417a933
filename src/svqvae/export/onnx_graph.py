"""A fitted model as an ONNX graph, for programs without torch: scaling, encoder, nearest code, probabilities."""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from svqvae.files import check_file, write_whole
from svqvae.fitting.fitted import Fitted
from svqvae.model.quantizer import RelativeDistances

if TYPE_CHECKING:
    from onnx import ModelProto

# ONNX 1.13 of December 2022: read by ONNX Runtime from 1.14 on.
OPSET = 18
INPUT = "X"
OUTPUTS = ("class_index", "probability", "latent")
NEEDED = ("onnx", "onnxscript")
# Any number of samples but one, which the exporter would take for a fixed size.
N_PROBES = 3


class Inference(nn.Module):
    """What `SVQVAE` does with new samples, as one module: from the units of X to class, probabilities and latent.

    The network runs in single precision. The scaling of the features, which would lose digits there, runs in double,
    as in the estimator.

    Parameters
    ----------
    fitted
        What was learnt; the network is copied.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        module = copy.deepcopy(fitted.module).float()
        self.module = module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.distances = RelativeDistances(module.quantizer.codes, module.geometry)
        self.total = fitted.units.total
        self.register_buffer("center", torch.as_tensor(fitted.units.center))
        self.register_buffer("scale", torch.as_tensor(fitted.units.scale))
        self.event_shape = fitted.recipe.design.event_shape
        self.temperature = fitted.recipe.design.temperature
        self.eval()

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class index, (n,), probabilities, (n, n_classes), and latents, (n, latent_dim), of X, (n, ...)."""
        rows = X.flatten(1)
        if self.total is not None:
            totals = rows.sum(1, keepdim=True).clamp_min(1.0)
            rows = torch.log1p(rows * (self.total / totals))
        read = ((rows - self.center) / self.scale).float()
        latents = self.module.encode(read.reshape(-1, *self.event_shape))
        distances = self.distances(latents)
        probabilities = torch.softmax(-distances.double() / self.temperature, 1).float()
        return distances.argmin(1), probabilities, latents


def export_onnx(fitted: Fitted, path: Path | str) -> "ModelProto":
    """Write a fitted model as ONNX and return what was written.

    The graph takes ``X`` in the units and the shape of the fit, in double precision, any number of samples, and gives
    ``class_index`` (n,), the place of the nearest code's class among the classes; ``probability`` (n, n_classes), as
    `SVQVAE.predict_proba`; ``latent`` (n, latent_dim), as `SVQVAE.transform`. It checks nothing: NaN gives NaN. The
    metadata hold, as JSON, ``classes`` and ``feature_names`` in their order, and ``svqvae``: what was exported.

    Parameters
    ----------
    fitted
        What was learnt, `SVQVAE.fitted_`.
    path
        File to write, whole or not at all.

    Raises
    ------
    ModuleNotFoundError
        Where the extra `onnx` is not installed.
    ValueError
        Where the encoder is one's own and torch cannot export it.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, onnxruntime
    >>> from sklearn.datasets import load_iris
    >>> from svqvae import SVQVAE
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SVQVAE(random_state=0, n_epochs=20).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export_onnx(model.fitted_, Path(folder) / "iris.onnx")
    ...     session = onnxruntime.InferenceSession(Path(folder) / "iris.onnx")
    >>> class_index, probability, latent = session.run(None, {"X": X.astype(np.float64)})
    >>> bool((model.classes_[class_index] == model.predict(X)).all())
    True
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        raise ModuleNotFoundError(
            f"ONNX files need the packages {' and '.join(NEEDED)}; {' and '.join(absent)} cannot be found. "
            'Run pip install "svqvae[onnx]".'
        )
    import onnx

    path = Path(path)
    check_file(path)
    graph = _trace(fitted)
    _strip(graph)
    _describe(graph, fitted)
    onnx.checker.check_model(graph, full_check=True)
    write_whole(path, graph.SerializeToString())
    return graph


def _trace(fitted: Fitted) -> "ModelProto":
    """Return the graph as torch exports it."""
    probe = torch.zeros(N_PROBES, *fitted.sample_shape, dtype=torch.float64)
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                Inference(fitted),
                (probe,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            "`fitted` must have an encoder that torch.onnx can export for any number of samples; got a "
            f"{type(fitted.module.encoder).__name__} on which it fails. The error above says where."
        ) from error
    return cast("ModelProto", program.model_proto)


def _strip(graph: "ModelProto") -> None:
    """Drop what the exporter notes about its own code, which includes the folders of this machine."""
    parts: list[Any] = [*graph.graph.node, *graph.graph.input, *graph.graph.output]
    for part in [*parts, *graph.graph.value_info, *graph.graph.initializer, graph.graph]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _describe(graph: "ModelProto", fitted: Fitted) -> None:
    """Write names into the metadata, as JSON."""
    names, design = fitted.feature_names, fitted.recipe.design
    facts = {
        "version": version("svqvae"),
        "objective": design.objective,
        "geometry": design.geometry,
        "temperature": design.temperature,
        "units": design.units,
        "seed": fitted.seed,
        "fingerprint": fitted.fingerprint,
        "data": dict(fitted.origin),
    }
    described = {
        "classes": fitted.classes.tolist(),
        "feature_names": None if names is None else [str(name) for name in names],
        "svqvae": facts,
    }
    graph.ClearField("metadata_props")
    for key, value in described.items():
        graph.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    graph.producer_name, graph.producer_version = "svqvae", version("svqvae")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter tells about itself: absent packages that it could also translate, coming changes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
