"""Runs of format 1 mean what they meant when version 0.1.0 wrote them."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from svqvae.fitting.format_1 import upgraded
from svqvae.fitting.run_folder import RUN, read_fitted, read_parameters, read_run, write_run
from svqvae.model.recipe import Recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "format_1"
RUNS = sorted(path.name for path in GOLDEN.iterdir())
KEPT = ("parameters", "classes", "feature_names", "sample_shape", "layer", "held_out", "n_iter", "data", "health")


def stored(name: str = "dense", **parameters: Any) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((GOLDEN / name / RUN).read_text())
    run["parameters"] |= parameters
    return run


def resolved(run: dict[str, Any]) -> dict[str, Any]:
    recipe = upgraded(run)["recipe"]
    return {**recipe["design"], **recipe["schedule"]}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_the_entries_of_todays_format_and_no_null_in_its_recipe(name: str) -> None:
    run = stored(name)
    before = copy.deepcopy(run)
    found = upgraded(run)
    assert run == before
    assert Recipe.from_dict(found["recipe"]).to_dict() == found["recipe"]
    assert {entry: found[entry] for entry in KEPT} == {entry: run[entry] for entry in KEPT}
    design = found["recipe"]["design"]
    assert (design["n_features"], design["n_classes"]) == (run["n_features"], len(run["classes"]["values"]))
    assert (found["fingerprint"], found["sha256"]) == ("", {})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense", {"hidden": [512], "commitment_cost": 2.0, "label_smoothing": 0.2, "temperature": 1.0}),
        ("dense", {"learning_rate": 0.003, "weight_decay": 1.0, "batch_size": 16, "n_settling_epochs": 1}),
        ("dense", {"likelihood": "gaussian", "max_shift": 0, "image_shape": [], "validation_fraction": 0.0}),
        ("cosine", {"hidden": [16], "temperature": 0.1, "label_smoothing": 0.1, "w_label": 2.0, "seed": 1}),
        ("conv", {"likelihood": "bounded", "label_smoothing": 0.0, "weight_decay": 0.05, "image_shape": [1, 8, 8]}),
        ("published", {"hidden": [], "commitment_cost": 0.25, "learning_rate": 0.0001, "output_scale": 10.0}),
        ("published", {"n_settling_epochs": 0, "batch_size": 32, "early_stopping": False}),
        ("vqvae", {"hidden": [], "commitment_cost": 0.25, "learning_rate": 0.001, "n_settling_epochs": 0}),
        ("held_out", {"early_stopping": True, "validation_fraction": 0.3, "patience": 10, "dropout": 0.1}),
        ("own_networks", {"architecture": "own"}),
        ("imported", {"n_epochs": 900}),
    ],
)
def test_what_was_left_to_the_rules_is_what_version_0_1_0_chose(name: str, expected: dict[str, Any]) -> None:
    found = resolved(stored(name))
    assert {entry: found[entry] for entry in expected} == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dense", "standard"),
        ("conv", "range"),
        ("counts", "counts"),
        ("zero_one", "zero_one"),
        ("published", "bounded"),
    ],
)
def test_the_map_of_features_is_called_by_what_the_numbers_are(name: str, kind: str) -> None:
    run, found = stored(name), upgraded(stored(name))
    assert found["units"]["kind"] == found["recipe"]["design"]["units"] == kind
    totals = {entry: run[entry] for entry in ("median_size", "log_size_spread")} if kind == "counts" else {}
    assert found["units"] == {"kind": kind, **totals}


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (100, {"batch_size": 16, "n_epochs": 100, "early_stopping": False, "validation_fraction": 0.0}),
        (2_000, {"batch_size": 100, "n_epochs": 100, "n_settling_epochs": 12}),
        (10_000, {"batch_size": 256, "n_epochs": 50, "early_stopping": True, "validation_fraction": 0.05}),
        (100_000, {"batch_size": 256, "n_epochs": 25, "n_settling_epochs": 3}),
    ],
)
def test_what_depended_on_the_number_of_samples_is_found_again(n: int, expected: dict[str, Any]) -> None:
    run = stored(n_epochs=None)
    run["data"] |= {"n_samples": n, "n_trained": n}
    found = resolved(run)
    assert {entry: found[entry] for entry in expected} == expected


@pytest.mark.parametrize(("objective", "max_shift"), [("prototype", 2), ("published", 0)])
def test_images_of_28_pixels_were_moved_by_2(objective: str, max_shift: int) -> None:
    run = stored("conv", objective=objective) | {"image_shape": [1, 28, 28]}
    assert resolved(run)["max_shift"] == max_shift
    run["parameters"]["max_shift"] = 5
    assert resolved(run)["max_shift"] == 5


def test_what_was_set_to_zero_or_nothing_stays_so() -> None:
    zero = {"commitment_cost": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0, "hidden": []}
    found = resolved(stored(**zero))
    assert {entry: found[entry] for entry in zero} == zero


def test_the_first_versions_trained_in_the_precision_that_was_set() -> None:
    run = stored(precision="auto") | {"precision": "bf16-mixed"}
    assert resolved(run)["precision"] == "bf16-mixed"
    run = stored(precision="64-true")
    del run["precision"]
    assert resolved(run)["precision"] == "64-true"


@pytest.mark.parametrize("name", ["devices", "num_nodes", "label_smoothing"])
def test_runs_from_before_a_parameter_was_there_are_read(name: str) -> None:
    run = stored()
    del run["parameters"][name]
    assert upgraded(run)["recipe"]["design"] == upgraded(stored())["recipe"]["design"]


@pytest.mark.parametrize("lacking", ["parameters", "classes", "scaling", "seed", "n_features", "health", "versions"])
def test_a_run_that_lacks_an_entry_is_refused_by_name(lacking: str, tmp_path: Path) -> None:
    run = stored()
    del run[lacking]
    (tmp_path / RUN).write_text(json.dumps(run))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=rf"must be a whole run; its run.json has no '{lacking}'"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", [name for name in RUNS if name != "own_networks"])
def test_a_run_is_written_in_todays_format_with_the_same_content(name: str, tmp_path: Path) -> None:
    found = read_fitted(GOLDEN / name)
    write_run(tmp_path, found)
    again = read_fitted(tmp_path)
    assert json.loads((tmp_path / RUN).read_text())["format_version"] == 2
    assert (again.recipe, again.origin, again.n_iter) == (found.recipe, found.origin, found.n_iter)
    assert again.units.to_dict() == found.units.to_dict()
    for part in ("codebook", "noise", "held_out", "classes"):
        np.testing.assert_array_equal(getattr(again, part), getattr(found, part))
    np.testing.assert_array_equal(again.class_profiles(), found.class_profiles())


def test_parameters_of_a_run_are_filled() -> None:
    given = read_parameters(GOLDEN / "cosine")
    assert (given["hidden"], given["temperature"], given["commitment_cost"]) == ((16,), 0.1, 2.0)
    assert (given["likelihood"], given["n_epochs"], given["batch_size"]) == ("gaussian", 6, None)
