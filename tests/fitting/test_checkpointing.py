"""A state of training is gone on from by the fit that it belongs to, and by no other."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from svqvae import SVQVAE
from svqvae.files import read_tensors, write_tensors
from svqvae.fitting import checkpointing
from svqvae.fitting.checkpointing import FORMAT, KIND, Checkpointing, study_of
from svqvae.model.checkpoint import Checkpoint
from svqvae.model.recipe import Recipe
from svqvae.parameters import PARAMETERS, Facts, resolve

pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

PROGRESS = {"history": [{"epoch": 0, "loss": 1.5}], "rates": [0.1], "n_trained": None}
STATE = Checkpoint({"module.codes": torch.arange(6.0).reshape(2, 3), "best.steps": torch.tensor(3)}, PROGRESS)
X = np.random.default_rng(0).normal(size=(40, 5))
Y = np.array(["a", "b"])[np.arange(40) % 2]
GROUPS = np.arange(40) // 4


def recipe(seed: int = 0, **changes: Any) -> Recipe:
    given = {parameter.name: parameter.default for parameter in PARAMETERS} | {"n_epochs": 9} | changes
    return resolve(given, Facts(n_samples=60, n_trained=60, n_features=4, n_classes=3), seed)


def study(fingerprint: str = "first", data: str = "data", **changes: Any) -> dict[str, Any]:
    return study_of(recipe(**changes), data, fingerprint)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept = tmp_path / "checkpoint.safetensors"
    Checkpointing.open(kept, False, study()).keeper("bf16-mixed")(STATE)
    return kept


def resume(path: Path, now: Mapping[str, Any]) -> Checkpointing:
    return Checkpointing.open(path, True, now)


def test_what_was_kept_is_gone_on_from(path: Path) -> None:
    found = resume(path, study())
    assert (found.path, found.precision) == (path, "bf16-mixed")
    assert found.start is not None
    assert found.start.progress == STATE.progress
    assert set(found.start.tensors) == set(STATE.tensors)
    for name, value in STATE.tensors.items():
        assert found.start.tensors[name].dtype == value.dtype
        assert torch.equal(found.start.tensors[name], value)


def test_what_is_kept_again_belongs_to_the_same_study(path: Path) -> None:
    resume(path, study()).keeper("bf16-mixed")(STATE)
    assert resume(path, study()).start is not None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_study_is_of_data_recipe_torch_and_fingerprint() -> None:
    found, parts = study(), recipe().to_dict()
    assert found == {
        "data": "data",
        "recipe": {**parts["design"], **parts["schedule"]},
        "torch": version("torch"),
        "fingerprint": "first",
    }


def test_training_starts_anew_where_nothing_was_kept_or_nobody_asks(path: Path, tmp_path: Path) -> None:
    new = resume(tmp_path / "deep" / "new.safetensors", study())
    assert (new.start, new.precision) == (None, None)
    assert (tmp_path / "deep").is_dir()
    assert Checkpointing.open(path, False, study(latent_dim=7)).start is None


def test_going_on_needs_a_file() -> None:
    with pytest.raises(ValueError, match=r"`checkpoint` must name the file to go on from where resume=True; got None"):
        Checkpointing.open(None, True, study())


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(NotADirectoryError, match=r"`checkpoint` must be a folder; got the file .*mine"):
        Checkpointing.open(tmp_path / "mine" / "checkpoint.safetensors", False, study())


def test_other_data_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"`resume` must go on with the data that .*; these are others\. Start anew"):
        resume(path, study(data="others"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latent_dim": 9}, "latent_dim=256"),
        ({"hidden": (3,)}, r"hidden=\[512\]"),
        ({"learning_rate": 0.1}, "learning_rate=0.003"),
        ({"n_epochs": 20}, "n_epochs=9, n_settling_epochs=1"),
        ({"seed": 5}, "seed=0"),
        ({"devices": 2}, "devices=1"),
        ({"precision": "64-true"}, "precision='32-true'"),
        ({"objective": "published", "commitment_cost": 2.0}, r"objective='prototype', hidden=\[512\], .*"),
    ],
)
def test_other_parameters_are_refused_by_name_and_value(changes: dict[str, Any], told: str, path: Path) -> None:
    with pytest.raises(ValueError, match=rf"with the parameters .* then it was {told}\. Use the same, or start anew"):
        resume(path, study(**changes))


def test_what_the_rules_chose_may_as_well_be_given(path: Path) -> None:
    assert resume(path, study(hidden=(512,), learning_rate=0.003, temperature=1.0)).start is not None


def test_another_torch_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = version("torch")
    monkeypatch.setattr(checkpointing, "version", lambda package: "99.0")
    with pytest.raises(ValueError, match=rf"the torch that .* was made with; then it was {then.split('+')[0]}"):
        resume(path, study())


def test_another_fingerprint_is_refused(path: Path) -> None:
    message = r"with the classes, groups, networks and unlabelled samples that .* was made with; some are others"
    with pytest.raises(ValueError, match=message):
        resume(path, study(fingerprint="second"))


def test_a_state_of_an_earlier_format_is_refused(path: Path) -> None:
    tensors, header = read_tensors(path, KIND, "a checkpoint", FORMAT)
    assert header.pop("format_version") == FORMAT == 2
    write_tensors(path, tensors, KIND, header, 1)
    with pytest.raises(ValueError, match=r"checkpoint.safetensors must have format version 2; got 1"):
        resume(path, study())


def fit(path: Path, X: Any = X, y: Any = Y, pair: Any = None, others: Any = None, **options: Any) -> SVQVAE:
    networks = {} if pair is None else {"architecture": pair}
    model = SVQVAE(n_epochs=2, latent_dim=3, hidden=(4,), random_state=0, **networks, **options.pop("settings", {}))
    unlabelled = {} if others is None else {"unlabelled": X, "unlabelled_groups": others}
    return model.fit(X, y, checkpoint=path, resume=True, **unlabelled, **options)


def networks(seed: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    return nn.Linear(5, 3), nn.Linear(3, 5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"groups": GROUPS}, {"groups": GROUPS[::-1] // 2}),
        ({"groups": GROUPS}, {}),
        ({}, {"others": GROUPS}),
        ({"others": GROUPS}, {"others": GROUPS // 2}),
        ({"y": Y}, {"y": np.char.add(Y, "2")}),
        ({"pair": networks(0)}, {"pair": networks(1)}),
    ],
    ids=["groups", "no groups", "unlabelled", "groups of unlabelled", "names of classes", "networks"],
)
def test_other_groups_samples_classes_or_networks_are_refused(
    first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    trained = fit(path, **first)
    np.testing.assert_array_equal(fit(path, **first).codebook_, trained.codebook_)
    with pytest.raises(ValueError, match=r"with the classes, groups, networks and unlabelled samples that"):
        fit(path, **second)


def test_whether_a_bar_is_drawn_may_change(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    trained = fit(path)
    np.testing.assert_array_equal(fit(path, settings={"verbose": True}).codebook_, trained.codebook_)
