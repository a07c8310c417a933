"""What a fit was made with goes through a file and back."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from svqvae.model.recipe import Design, Recipe, Schedule

DESIGN = Design("prototype", "dense", 64, 3, (), 8, (16, 4), 0.1, "gaussian", 1.5, "standard", "euclidean", 0.7)
SCHEDULE = Schedule(4.0, 1.0, 1.0, 2.0, 0.1, 0.2, 25, 3, 16, 3e-3, 1.0, 0, 0.1, True, 10, "cpu", 2, 1, "32-true", 7)
IMAGES: dict[str, Any] = {"architecture": "conv", "image_shape": (1, 8, 8), "hidden": ()}
RECIPES = [Recipe(DESIGN, SCHEDULE), Recipe(replace(DESIGN, **IMAGES), replace(SCHEDULE, max_shift=1, seed=2**32 - 1))]


@pytest.mark.parametrize("recipe", RECIPES, ids=["table", "images"])
def test_a_recipe_comes_back_from_json_as_it_was(recipe: Recipe) -> None:
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict(), allow_nan=False)))
    assert again == recipe
    # Lists would be equal to nothing that is hashed.
    assert hash(again) == hash(recipe)


def test_a_recipe_is_written_as_two_parts_with_all_their_entries() -> None:
    written = RECIPES[0].to_dict()
    assert list(written) == ["design", "schedule"]
    assert written["design"] == asdict(DESIGN) | {"image_shape": [], "hidden": [16, 4]}
    assert written["schedule"] == asdict(SCHEDULE)


@pytest.mark.parametrize(("part", "name"), [("design", "hidden"), ("schedule", "n_epochs")])
def test_an_entry_that_is_missing_unknown_or_null_is_named(part: str, name: str) -> None:
    rule = f"`recipe` must have a value for each entry of {part}; got .* for "
    written = RECIPES[0].to_dict()
    missing = {other: value for other, value in written[part].items() if other != name}
    changed = (missing, written[part] | {name: None}, written[part] | {"colour": "blue"})
    for entries, wrong in zip(changed, (name, name, "colour"), strict=True):
        with pytest.raises(ValueError, match=f"{rule}'{wrong}'"):
            Recipe.from_dict(written | {part: entries})


@pytest.mark.parametrize(("part", "first"), [("design", "architecture"), ("schedule", "accelerator")])
def test_an_entry_of_a_part_that_is_missing_is_named(part: str, first: str) -> None:
    rest = {name: entries for name, entries in RECIPES[0].to_dict().items() if name != part}
    with pytest.raises(ValueError, match=f"`recipe` must have a value for each entry of {part}; got .* for '{first}'"):
        Recipe.from_dict(rest)


def test_the_encoder_reads_rows_or_images() -> None:
    assert [recipe.design.event_shape for recipe in RECIPES] == [(64,), (1, 8, 8)]
