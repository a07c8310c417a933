"""All that the page says, as JSON."""

import json

import pytest

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
    run = describe_run(table.model)
    assert run["n_samples"] == len(table.sets["training"].y)
    assert (run["n_classes"], run["n_features"], run["seed"], run["n_epochs"]) == (5, 20, 0, table.model.n_iter_)
    assert run["changed"] == ["hidden", "latent_dim", "n_epochs"]
    assert {"svqvae", "torch", "scikit-learn"} <= set(run["versions"])


def test_loss_terms_are_told_apart_from_times_and_rates(table) -> None:
    found = describe_history(table.model.history_)
    names = {term["name"] for term in found["terms"]}
    assert {"loss", "label", "commitment", "class_reconstruction", "sample_reconstruction"} == names
    assert all(len(term["training"]) == len(found["epoch"]) for term in found["terms"])


def test_the_same_run_gives_the_same_numbers(table, make_case, draw, quick) -> None:
    from svqvae.report.page import write_report

    again = write_report(table.model, table.report.page.parent / "again", sets=table.sets, title="a title")
    assert again.summary == table.summary
    assert again.page.read_text(encoding="utf-8") == table.page
