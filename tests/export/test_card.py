"""A model card says what is known in YAML and Markdown that others read, whatever classes are called."""

import json
import re
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from svqvae.export.card import N_CLASSES, markdown_text, write_card, yaml_text

NAMES = [
    "a|b",
    'say "no"',
    "two\nlines",
    "---",
    "Θήτα 細胞 😀",
    "*bold* <b>x</b> [link](http://a.b) `code` &lt; \\| $x$",
    "name: #1",
    "\x85\u2028\x07\u200d",
    "1. x",
]


DESIGN = {"latent_dim": 8, "architecture": "dense", "objective": "prototype", "n_features": 2, "image_shape": []}


def build_run(names: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "classes": {"values": names},
        "feature_names": ["x|y", "ζ\n*"],
        "sample_shape": [2],
        "recipe": {"design": DESIGN, "schedule": {"learning_rate": 0.003, "seed": 7}},
        "n_iter": 25,
        "data": {"n_samples": 50, "n_trained": 40, "sha256": "abc123"},
        "versions": {"svqvae": "0.1.0", "torch": "2.13.0"},
        **changes,
    }


def front_matter(card: str) -> dict[str, Any]:
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert head
    read: dict[str, Any] = yaml.safe_load(head[1])
    return read


def shown(tokens: Any) -> str:
    return "".join(child.content if child.type == "text" else f"<{child.type}>" for child in tokens.children)


def table(card: str) -> list[list[str]]:
    body = card.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    cells = [shown(tokens[i + 1]) for i, token in enumerate(tokens) if token.type == "td_open"]
    return [cells[i : i + 2] for i in range(0, len(cells), 2)]


def test_class_names_are_shown_as_they_are_in_one_row_each() -> None:
    rows = table(write_card("n", build_run(NAMES), {}, range(1, len(NAMES) + 1), "mit"))
    expected = [" ".join(name.split()).replace("\x07", "") for name in NAMES]
    assert rows == [[name, str(k + 1)] for k, name in enumerate(expected)]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_yaml_scalar_and_a_heading(name: str) -> None:
    assert yaml.safe_load(f"a: {yaml_text(name)}") == {"a": name}
    card = write_card(name, build_run(["p", "q"]), {"held_out": HELD_OUT}, [1, 2], name)
    head = front_matter(card)
    assert head["license"] == head["model-index"][0]["name"] == name
    headings = [token for token in MarkdownIt("commonmark").parse(card.split("---\n", 2)[2]) if token.tag == "h1"]
    assert len(headings) == 2
    assert f"\n# {markdown_text(name)}\n" in card


HELD_OUT = {"accuracy": 0.75, "accuracy_class_means": 0.5, "n_samples": 12}


def test_figures_stand_in_the_card_only_where_samples_were_held_out() -> None:
    card = write_card("n", build_run(["p", "q"]), {"training": HELD_OUT, "held_out": HELD_OUT}, [1, 2], "other")
    result = front_matter(card)["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "accuracy", "name": "accuracy of the nearest code", "value": 0.75}]
    assert "On 12 samples held out to watch training, 0.750 were given their class" in card
    without = write_card("n", build_run(["p", "q"]), {"training": HELD_OUT}, [1, 2], "other")
    assert not {"model-index", "metrics"} & set(front_matter(without))
    assert "No samples were held out" in without
    assert "0.75" not in without


def test_what_is_not_known_is_said() -> None:
    data = {"n_samples": 0, "n_trained": 0, "sha256": None, "imported": {"encode.pth": "12ab"}}
    run = build_run(
        ["p", "q"], data=data, recipe={"design": DESIGN | {"image_shape": [1, 1, 2]}, "schedule": {"seed": 7}}
    )
    card = write_card("n", run, {}, [0, 0], "other")
    assert table(card) == [["p", "unknown"], ["q", "unknown"]]
    assert "- Unknown: the weights were imported from encode.pth" in card
    assert "Trained for" not in card
    assert "nothing can be simulated" in card
    assert front_matter(card)["pipeline_tag"] == "image-classification"


def test_how_it_was_made_is_told_with_all_settings() -> None:
    card = write_card("n", build_run(["p", "q"]), {}, [1, 2], "mit")
    assert "Trained for 25 epochs with seed 7 by svqvae 0.1.0, torch 2.13.0" in card
    settings = re.search(r"```json\n(.*?)\n```", card, re.DOTALL)
    assert settings
    assert json.loads(settings[1]) == DESIGN | {"learning_rate": 0.003, "seed": 7}
    assert "one code of 8 dimensions for each of 2 classes, for samples of 2 features" in card


def test_many_classes_are_cut_and_counted() -> None:
    n = N_CLASSES + 5
    card = write_card("n", build_run([f"c{i}" for i in range(n)]), {}, [3] * n, "other")
    assert len(table(card)) == N_CLASSES
    assert "5 more stand in `run.json`." in card
