"""All that the page says, as JSON."""

import json

import pytest
from torch import nn

from svqvae import SVQVAE
from svqvae.jobs.report import report_fitted
from svqvae.report.summary import describe_history, describe_run


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("case", ["table", "hostile", "images"])
def test_numbers_are_valid_json_that_gives_the_summary_back(case: str, request) -> None:
    case = request.getfixturevalue(case)
    text = case.report.numbers.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == case.summary


def test_a_run_without_samples_has_valid_json(bare) -> None:
    found = json.loads(bare.numbers.read_text(encoding="utf-8"), parse_constant=refuse)
    assert found["accuracy"] is None
    assert found["map"] is None
    assert all(facts["simulation"] is None for facts in found["classes"])


def test_every_part_has_an_entry_for_each_class(table) -> None:
    found = table.summary
    parts = (found["classes"], found["relations"]["distances"], found["relations"]["nearest"], found["map"]["codes"])
    assert [len(part) for part in (*parts, found["accuracy"]["confusion"])] == [5] * 5


def test_the_run_tells_sizes_seed_settings_and_versions(table) -> None:
    run = describe_run(table.fitted)
    assert run["n_samples"] == len(table.sets["training"])
    assert (run["n_classes"], run["n_features"], run["seed"], run["n_epochs"]) == (5, 20, 0, table.model.n_iter_)
    assert run["changed"] == ["hidden", "latent_dim", "n_epochs"]
    assert {"svqvae", "torch", "scikit-learn"} <= set(run["versions"])


def test_settings_that_were_left_to_the_rules_show_as_resolved(table) -> None:
    run, recipe = describe_run(table.fitted), table.fitted.recipe
    left = {name for name, value in table.model.get_params(deep=False).items() if value in (None, "auto")}
    assert set(run["resolved"]) == left
    assert run["settings"]["batch_size"] == recipe.schedule.batch_size
    assert run["settings"]["temperature"] == recipe.design.temperature
    assert run["settings"]["hidden"] == [24]
    assert None not in run["settings"].values()


@pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")
def test_networks_of_ones_own_are_told_without_their_weights(draw) -> None:
    pair = (nn.Linear(20, 4), nn.Linear(4, 20))
    model = SVQVAE(architecture=pair, latent_dim=4, n_epochs=1, random_state=0).fit(*draw(["a", "b"]))
    run = describe_run(model.fitted_)
    assert run["settings"]["architecture"] == "networks of one's own"
    assert run["changed"] == ["architecture", "latent_dim", "n_epochs"]


def test_loss_terms_are_told_apart_from_times_and_rates(table) -> None:
    found = describe_history(table.model.history_)
    names = {term["name"] for term in found["terms"]}
    assert {"loss", "label", "commitment", "class_reconstruction", "sample_reconstruction"} == names
    assert all(len(term["training"]) == len(found["epoch"]) for term in found["terms"])


def test_the_same_run_gives_the_same_numbers(table, quick) -> None:
    folder, figures = table.report.page.parent / "again", table.summary["quality"]
    again = report_fitted(table.fitted, folder, figures, table.sets, title="a title")
    assert again.summary == table.summary
    assert again.page.read_text(encoding="utf-8") == table.page
