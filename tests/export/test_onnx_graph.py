"""The ONNX graph says what the estimator says, in ONNX Runtime."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from svqvae import SVQVAE
from svqvae.export import onnx_graph
from svqvae.export.onnx_graph import export_onnx
from svqvae.model import inference

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

N, N_FITTED = 1000, 300
rng = np.random.default_rng(0)
y = rng.integers(0, 5, N)
TABLE = rng.normal(size=(N, 30)) + rng.normal(size=(5, 30))[y]
IMAGES = rng.random((N, 8, 8)) + np.eye(8)[y][:, :, None]
LARGE = np.eye(28)[y + 10][:, :, None] + rng.random((N, 28, 28))
COUNTS = rng.poisson(1 + 9 * rng.random((5, 30))[y])
SHORT: dict[str, Any] = {"n_epochs": 2, "random_state": 0}


class UnitRows(nn.Module):
    """A step of one's own: values clipped and compressed, rows brought to unit length."""

    def forward(self, rows: Tensor) -> Tensor:
        clipped = torch.asinh(rows.clamp(-3, 3))
        return clipped / clipped.norm(dim=1, keepdim=True).clamp_min(1e-6)


OWN = (nn.Sequential(UnitRows(), nn.Linear(30, 256), nn.GELU(), nn.Linear(256, 256)), nn.Linear(256, 30))
MODELS: dict[str, tuple[SVQVAE, Any]] = {
    "dense": (SVQVAE(**SHORT), TABLE),
    "dense cosine": (SVQVAE(**SHORT, geometry="cosine", hidden=(20, 10), dropout=0.1), TABLE),
    "large features": (SVQVAE(**SHORT), 1e6 + TABLE),
    "conv": (SVQVAE(**SHORT, architecture="conv"), IMAGES),
    "conv cosine": (SVQVAE(**SHORT, architecture="conv", geometry="cosine"), IMAGES[:, None]),
    "conv of flat rows": (SVQVAE(**SHORT, architecture="conv", image_shape=(8, 8)), IMAGES.reshape(N, -1)),
    "counts": (SVQVAE(**SHORT, likelihood="negative_binomial"), COUNTS),
    "bernoulli": (SVQVAE(**SHORT, likelihood="bernoulli"), (TABLE > 0).astype(np.float32)),
    "bounded": (SVQVAE(**SHORT, likelihood="bounded"), TABLE),
    "vqvae": (SVQVAE(**SHORT, objective="vqvae"), TABLE),
    "own networks": (SVQVAE(**SHORT, architecture=OWN), TABLE),
    "double precision": (SVQVAE(**SHORT, precision="64-true"), TABLE),
    "published-mnist": (SVQVAE.published("mnist", n_epochs=1, random_state=0), LARGE),
    "published-lincs": (SVQVAE.published("lincs", n_epochs=1, random_state=0), TABLE),
}


def start(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_agrees_with_the_estimator(name: str, tmp_path: Path) -> None:
    model, X = MODELS[name]
    model.fit(X[:N_FITTED], y[:N_FITTED])
    graph = export_onnx(model.fitted_, tmp_path / "deep" / "model.onnx")
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", onnx_graph.OPSET)]
    session = start(tmp_path / "deep" / "model.onnx")
    assert [put.name for put in session.get_inputs()] == ["X"]
    for n in (N, 1, 7):
        index, probability, latent = session.run(None, {"X": X[:n].astype(np.float64)})
        expected = model.predict_proba(X[:n])
        two = np.sort(expected, axis=1)[:, -2:]
        is_clear = two[:, 1] - two[:, 0] > 1e-5
        np.testing.assert_array_equal(model.classes_[index][is_clear], model.predict(X[:n])[is_clear])
        np.testing.assert_allclose(probability, expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(latent, model.transform(X[:n]), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def named() -> SVQVAE:
    import pandas as pd

    names = np.array(['ß|"x"', "κ\nlines", "c", "d", "e"])
    table = pd.DataFrame(TABLE, columns=[f"gène {i}" for i in range(30)])
    return SVQVAE(**SHORT, temperature=2.0).fit(table, names[y])


def test_names_stand_in_the_metadata(named: SVQVAE, tmp_path: Path) -> None:
    export_onnx(named.fitted_, tmp_path / "model.onnx")
    metadata = start(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    described = {key: json.loads(value) for key, value in metadata.items()}
    assert described["classes"] == named.classes_.tolist()
    assert described["feature_names"] == named.feature_names_in_.tolist()
    told, fitted = described["svqvae"], named.fitted_
    assert (told["temperature"], told["units"], told["seed"]) == (2.0, "standard", 0)
    assert (told["data"], told["fingerprint"]) == (fitted.origin, fitted.fingerprint)


def test_export_is_silent_repeatable_and_tells_nothing_of_the_machine(
    named: SVQVAE, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in named.module_.state_dict().items()}
    export_onnx(named.fitted_, tmp_path / "a.onnx")
    export_onnx(named.fitted_, tmp_path / "b.onnx")
    assert "".join(capfd.readouterr()) == ""
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    assert str(Path(onnx_graph.__file__).parent).encode() not in content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert all((before[name] == value).all() for name, value in named.module_.state_dict().items())


def test_without_the_extra_one_sentence_says_what_to_install(
    named: SVQVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ModuleNotFoundError, match=r'onnxscript cannot be found\. Run pip install "svqvae\[onnx\]"'):
        export_onnx(named.fitted_, tmp_path / "model.onnx")


class Fickle(nn.Linear):
    """A layer whose path depends on the data, which no graph can hold."""

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows if rows.sum() > 0 else -rows)


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_networks_that_cannot_be_exported_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pair = (Fickle(30, 4), nn.Linear(4, 30))
    model = SVQVAE(**SHORT, architecture=pair, latent_dim=4).fit(TABLE, y)
    with pytest.raises(ValueError, match=r"must have an encoder that torch\.onnx can export"):
        export_onnx(model.fitted_, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_the_published_model_agrees_on_real_signatures(real_file: Callable[[str], Path], tmp_path: Path) -> None:
    from svqvae.data import gctx
    from svqvae.data.l1000 import rename_genes
    from svqvae.jobs.import_published import read_published

    saved = real_file("lincs/reference_model")
    model = read_published(saved, saved / "pcl_names.csv", real_file("lincs/landmark_genes.tsv"))
    adata = rename_genes(gctx.read(min(real_file("lincs/a375").glob("*.gctx"))), model.feature_names_in_)
    X = np.clip(adata[:, list(model.feature_names_in_)].to_df(), -10, 10)
    export_onnx(model.fitted_, tmp_path / "model.onnx")
    index, probability, latent = start(tmp_path / "model.onnx").run(None, {"X": X.to_numpy(np.float64)})
    assert len(X) > 300
    np.testing.assert_array_equal(model.classes_[index], model.predict(X))
    np.testing.assert_allclose(probability, model.predict_proba(X), atol=1e-5, rtol=0)
    # Sums of 978 values of up to 10 round in single precision, by as much in the estimator as in the graph.
    exact = inference.encode(copy.deepcopy(model.module_).double(), torch.as_tensor(X.to_numpy(np.float64))).numpy()
    ours, theirs = (np.abs(found - exact).max() for found in (latent, model.transform(X)))
    assert ours <= 2 * theirs
