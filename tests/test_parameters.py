"""What may be set, and how hyper-parameters that are left open are chosen."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from svqvae import SVQVAE, parameters
from svqvae.data.units import UNITS
from svqvae.model import likelihood, objective
from svqvae.model.recipe import OWN_NETWORKS, Recipe
from svqvae.parameters import (
    ARCHITECTURES,
    BY_RULE,
    LIKELIHOODS,
    OBJECTIVES,
    PARAMETERS,
    Facts,
    Parameter,
    check,
    resolve,
    resolve_seed,
)

TABLE = Facts(n_samples=1000, n_trained=1000, n_features=784, n_classes=3)
IMAGES = replace(TABLE, image_shape=(1, 28, 28))


def given(**changes: Any) -> dict[str, Any]:
    return dict(SVQVAE(**changes).get_params(deep=False))


def resolved(facts: Facts = TABLE, **changes: Any) -> Recipe:
    check(given(**changes))
    return resolve(given(**changes), facts, seed=0)


def test_the_table_has_the_parameters_and_defaults_of_the_estimator() -> None:
    signature = inspect.signature(SVQVAE.__init__).parameters
    defaults = {name: parameter.default for name, parameter in signature.items() if name != "self"}
    del defaults["random_state"], defaults["verbose"]
    assert {parameter.name: parameter.default for parameter in PARAMETERS} == defaults
    assert len(PARAMETERS) == len(defaults)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_a_parameter_may_be_none_where_the_table_says_what_it_takes_then(parameter: Parameter) -> None:
    assert (parameter.default is None) == bool(parameter.automatic)
    assert parameter.help
    parameter.check(parameter.default)


def test_defaults_obey_the_rules() -> None:
    check(given())
    for data in ("mnist", "lincs"):
        check(SVQVAE.published(data).get_params(deep=False))


def test_the_rules_know_what_the_model_knows() -> None:
    assert list(OBJECTIVES) == list(objective.OBJECTIVES)
    assert list(LIKELIHOODS) == list(likelihood.LIKELIHOODS)
    assert {parameters.resolve_units(given(**changes)) for changes in every_combination()} == set(UNITS)
    for name, rules in OBJECTIVES.items():
        weighed = objective.OBJECTIVES[name].of(resolved(objective=name))
        assert (weighed.settling_weight(3) is not None) == (rules.settling_share > 0)
        assert ("label" in weighed.weights) == rules.has_labels
        assert ("divergence" in weighed.weights) == rules.has_divergence
        optimizer, _ = weighed.optimize(torch.nn.Linear(1, 1), 0.1, weight_decay=0.5, n_steps=1)
        assert (optimizer.param_groups[0]["weight_decay"] > 0) == rules.has_decay


def every_combination() -> list[dict[str, Any]]:
    """Return each objective with each architecture, likelihood and geometry that go together."""
    names = ("objective", "architecture", "likelihood", "geometry", "output_scale")
    choices = product(
        OBJECTIVES, [*ARCHITECTURES, (abs, abs)], ["auto", *LIKELIHOODS], ["euclidean", "cosine"], [None, 2.0]
    )
    allowed = []
    for values in choices:
        changes = dict(zip(names, values, strict=True))
        try:
            check(given(**changes))
        except ValueError:
            continue
        allowed.append(changes)
    return allowed


def test_a_recipe_has_a_value_for_every_choice() -> None:
    combinations = every_combination()
    for name, choices in (("objective", OBJECTIVES), ("architecture", ARCHITECTURES), ("likelihood", LIKELIHOODS)):
        assert set(choices) <= {changes[name] for changes in combinations}
    for changes in combinations:
        for facts in (TABLE, IMAGES):
            recipe = resolved(facts, **changes)
            text = json.dumps(recipe.to_dict(), allow_nan=False)
            assert "null" not in text
            assert Recipe.from_dict(json.loads(text)) == recipe


def test_what_is_chosen_by_other_parameters_does_not_depend_on_the_data() -> None:
    facts = [replace(IMAGES, n_samples=n, n_trained=n, n_classes=n) for n in (60, 10**6)]
    facts.append(replace(IMAGES, image_shape=(1, 8, 8), n_features=64, has_cuda=True))
    chosen = []
    for each in facts:
        recipe = resolved(each, architecture="conv")
        values = asdict(recipe.design) | asdict(recipe.schedule)
        chosen.append({parameter.name: values[parameter.name] for parameter in PARAMETERS if parameter.name in values})
    changed = {name for name in chosen[0] if any(other[name] != chosen[0][name] for other in chosen)}
    by_data = {"n_epochs", "batch_size", "max_shift", "early_stopping", "validation_fraction"}
    assert changed == {*by_data, "image_shape", "accelerator"}
    automatic = {parameter.name for parameter in PARAMETERS if parameter.default is None}
    # The scale is 1 where none is given.
    assert set(BY_RULE) == automatic - changed - {"output_scale"}


def test_what_is_given_is_taken() -> None:
    design: dict[str, Any] = {"objective": "published", "architecture": "conv", "latent_dim": 5, "hidden": (7, 3)}
    design |= {"dropout": 0.25, "likelihood": "bounded", "output_scale": 3.0, "temperature": 0.5}
    schedule: dict[str, Any] = {"w_sample": 2.0, "w_class": 3.0, "w_label": 5.0, "commitment_cost": 0.75}
    schedule |= {"divergence_cost": 0.5, "label_smoothing": 0.125, "n_epochs": 11, "batch_size": 13, "patience": 4}
    schedule |= {"learning_rate": 0.02, "max_shift": 3, "validation_fraction": 0.5, "early_stopping": True}
    schedule |= {"accelerator": "cpu", "devices": 2, "precision": "bf16-mixed"}
    recipe = resolved(IMAGES, **design, **schedule)
    assert {name: getattr(recipe.design, name) for name in design} == design
    assert {name: getattr(recipe.schedule, name) for name in schedule} == schedule
    assert (recipe.design.n_features, recipe.design.n_classes, recipe.design.image_shape) == (784, 3, (1, 28, 28))
    assert resolve(given(), TABLE, seed=17).schedule.seed == 17


def test_numbers_of_numpy_become_plain_ones() -> None:
    changes = {"latent_dim": np.int64(5), "hidden": (np.int64(7),), "learning_rate": np.float32(0.5)}
    recipe = resolved(**changes, n_epochs=np.int32(3), dropout=np.float64(0.5))
    assert json.loads(json.dumps(recipe.to_dict()))["design"]["hidden"] == [7]
    for part in (recipe.design, recipe.schedule):
        assert {type(value) for value in asdict(part).values()} <= {str, int, float, bool, tuple}


@pytest.mark.parametrize("hidden", [[7, 3], np.array([7, 3])], ids=["list", "array"])
def test_widths_may_stand_in_any_sequence(hidden: Any) -> None:
    assert resolved(hidden=hidden).design.hidden == (7, 3)


@pytest.mark.parametrize(("n_trained", "expected"), [(10, 16), (1000, 50), (10**6, 256)])
def test_a_batch_is_a_twentieth_of_the_samples_within_bounds(n_trained: int, expected: int) -> None:
    assert resolved(replace(TABLE, n_trained=n_trained)).schedule.batch_size == expected


@pytest.mark.parametrize(("n_batches", "expected"), [(1, 100), (40, 50), (10_000, 25)])
def test_there_are_about_2000_steps(n_batches: int, expected: int) -> None:
    # The last batch need not be full.
    facts = replace(TABLE, n_trained=16 * n_batches - 15)
    assert resolved(facts, batch_size=16).schedule.n_epochs == expected
    assert resolved(facts, batch_size=16, n_epochs=7).schedule.n_epochs == 7
    assert parameters.resolve_n_epochs(given(), n_batches) == expected


@pytest.mark.parametrize(("n_epochs", "expected"), [(1, 0), (2, 1), (15, 1), (16, 2), (100, 12)])
def test_an_eighth_of_the_epochs_settles_with_the_default_objective(n_epochs: int, expected: int) -> None:
    assert resolved(n_epochs=n_epochs).schedule.n_settling_epochs == expected
    for name in ("published", "vqvae"):
        assert resolved(n_epochs=n_epochs, objective=name).schedule.n_settling_epochs == 0


@pytest.mark.parametrize(("architecture", "expected"), [("dense", 1.0), ("conv", 0.05)])
def test_dense_networks_decay_faster(architecture: str, expected: float) -> None:
    def decay(**changes: Any) -> float:
        return resolved(IMAGES, architecture=architecture, **changes).schedule.weight_decay

    assert decay() == expected
    assert decay(weight_decay=0.2) == 0.2
    assert decay(weight_decay=0) == 0
    assert decay(objective="published") == 0


@pytest.mark.parametrize(("architecture", "expected"), [("dense", 0.2), ("conv", 0.0)])
def test_labels_of_tables_are_smoothed(architecture: str, expected: float) -> None:
    assert resolved(IMAGES, architecture=architecture).schedule.label_smoothing == expected
    assert resolved(IMAGES, architecture=architecture, label_smoothing=0.1).schedule.label_smoothing == 0.1


def test_the_default_objective_has_values_of_its_own() -> None:
    recipe = resolved()
    assert (recipe.schedule.commitment_cost, recipe.schedule.learning_rate) == (2.0, 0.003)
    assert recipe.design.hidden == (512,)


def test_the_published_values_stay() -> None:
    lincs = resolve(SVQVAE.published("lincs").get_params(deep=False), TABLE, 0)
    assert lincs.schedule.commitment_cost == 0.25
    assert lincs.schedule.learning_rate == 1e-4
    assert lincs.design.hidden == ()
    assert (lincs.schedule.n_epochs, lincs.schedule.n_settling_epochs) == (900, 0)
    mnist = resolve(SVQVAE.published("mnist").get_params(deep=False), IMAGES, 0)
    assert mnist.schedule.max_shift == 0
    for schedule in (lincs.schedule, mnist.schedule):
        assert (schedule.weight_decay, schedule.divergence_cost, schedule.batch_size) == (0.0, 0.1, 256)


@pytest.mark.parametrize(("side", "expected"), [(8, 0), (14, 1), (28, 2)])
def test_images_are_moved_by_a_pixel_in_14_with_the_default_objective(side: int, expected: int) -> None:
    images = replace(TABLE, image_shape=(3, side, side + 30))
    assert resolved(images, architecture="conv").schedule.max_shift == expected
    assert resolved(images, architecture="conv", objective="vqvae").schedule.max_shift == 0
    assert resolved(TABLE, architecture="published-lincs", max_shift=3).schedule.max_shift == 0


@pytest.mark.parametrize(
    ("early_stopping", "n_samples", "expected"),
    [("auto", 9_999, 0.0), ("auto", 10_000, 0.05), (True, 20, 0.05), (False, 10**6, 0.0)],
)
def test_samples_are_held_out_where_training_may_stop_early(
    early_stopping: bool | str, n_samples: int, expected: float
) -> None:
    schedule = resolved(replace(TABLE, n_samples=n_samples), early_stopping=early_stopping).schedule
    assert (schedule.validation_fraction, schedule.early_stopping) == (expected, expected > 0)


def test_squared_distances_between_unit_vectors_are_divided_by_a_tenth() -> None:
    assert resolved().design.temperature == 1.0
    assert resolved(geometry="cosine").design.temperature == 0.1
    assert resolved(geometry="cosine", temperature=2).design.temperature == 2.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("gaussian", "standard")),
        ({"architecture": "conv"}, ("bounded", "range")),
        ({"architecture": "published-lincs"}, ("bounded", "range")),
        ({"architecture": "conv", "likelihood": "gaussian"}, ("gaussian", "range")),
        ({"architecture": (abs, abs)}, ("gaussian", "standard")),
        ({"likelihood": "bounded", "output_scale": 10}, ("bounded", "bounded")),
        ({"likelihood": "bernoulli"}, ("bernoulli", "zero_one")),
        ({"likelihood": "negative_binomial"}, ("negative_binomial", "counts")),
    ],
)
def test_likelihood_and_units_follow_from_the_data(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    design = resolved(IMAGES if changes.get("architecture") == "conv" else TABLE, **changes).design
    assert (design.likelihood, design.units) == expected
    assert design.output_scale == changes.get("output_scale", 1.0)


def test_networks_that_were_passed_have_a_name_of_their_own() -> None:
    assert resolved(architecture=(abs, abs)).design.architecture == OWN_NETWORKS


def test_cuda_is_taken_where_there_is_one() -> None:
    found = [parameters.resolve_accelerator(name, has_cuda=True) for name in ("auto", "cpu", "cuda", "gpu")]
    assert found == ["cuda", "cpu", "cuda", "cuda"]
    assert parameters.resolve_accelerator("auto", has_cuda=False) == "cpu"
    for name in ("cuda", "gpu"):
        with pytest.raises(ValueError, match=f"`accelerator` must be 'cpu' or 'auto' on .* without CUDA; got '{name}'"):
            resolve(given(accelerator=name), TABLE, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood": "poisson"}, r"`likelihood` must be one of 'auto', 'gaussian', .*'negative_binomial'; got 'poi"),
        ({"objective": None}, r"`objective` must be one of 'prototype', 'published', 'vqvae'; got None"),
        ({"latent_dim": None}, r"`latent_dim` must be a whole number of at least 1; got None"),
        ({"latent_dim": 2.0}, r"`latent_dim` must be a whole number of at least 1; got 2\.0"),
        ({"devices": True}, r"`devices` must be a whole number of at least 1; got True"),
        ({"w_class": "2"}, r"`w_class` must be a number of at least 0; got '2'"),
        ({"weight_decay": float("inf")}, r"`weight_decay` must be a number of at least 0 or None; got inf"),
        ({"temperature": float("nan")}, r"`temperature` must be a number above 0 or None; got nan"),
        ({"label_smoothing": 1}, r"`label_smoothing` must be at least 0 and below 1 or None; got 1"),
        ({"hidden": "ab"}, r"`hidden` must hold whole numbers of at least 1; got \('a', 'b'\)"),
        ({"architecture": (abs, abs, abs)}, r"`architecture` must be .* encoder and decoder; got a tuple"),
        (
            {"architecture": "conv", "likelihood": "negative_binomial"},
            r"`likelihood` 'negative_binomial' must go with architecture='dense'; got 'conv'",
        ),
        (
            {"objective": "published", "commitment_cost": 0.05},
            r"`divergence_cost` must be below `commitment_cost`, .*; got 0\.1 and 0\.05\. The published",
        ),
        ({"num_nodes": 2}, r"`num_nodes` must be 1 unless torchrun starts .*; got 2\. Use `torchrun --nnodes`"),
    ],
)
def test_what_breaks_a_rule_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(given(**changes))


def test_divergence_counts_with_the_objective_that_has_it_only() -> None:
    for name in ("prototype", "vqvae"):
        check(given(objective=name, divergence_cost=9.0))


def test_a_seed_comes_from_all_that_scikit_learn_takes() -> None:
    a, b = np.random.RandomState(1), np.random.RandomState(1)
    assert resolve_seed(a) == resolve_seed(b)
    assert resolve_seed(np.random.default_rng(1)) == resolve_seed(np.random.default_rng(1))
    assert resolve_seed(5) == resolve_seed(np.int64(5)) == 5
    assert resolve_seed(None) >= 0
    for wrong in (-1, 2**32, 1.5):
        with pytest.raises(ValueError, match=rf"`random_state` must be None, a generator or .* from 0; got {wrong}"):
            resolve_seed(wrong)


def test_the_rules_load_neither_numpy_nor_torch() -> None:
    code = "import sys, svqvae.parameters; print(sorted({'numpy', 'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
