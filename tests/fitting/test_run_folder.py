"""Run folders: of one fit, of today's format or an earlier one, and whole whatever happens while they are written."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from svqvae import SVQVAE, parameters
from svqvae.files import current
from svqvae.fitting.annotate import tell_classes
from svqvae.fitting.run_folder import (
    FORMAT_VERSION,
    METRICS,
    RUN,
    TENSORS,
    read_fitted,
    read_parameters,
    read_run,
    run_files,
    write_run,
)
from svqvae.model.recipe import Design, Schedule

# Small fits have no codes worth much, and say so.
pytestmark = pytest.mark.filterwarnings("ignore::svqvae.atlas.health.CodeHealthWarning")

PARTS = (TENSORS, "atlas.safetensors", RUN, "history.csv")
GOLDEN = Path(__file__).parents[1] / "golden" / "format_1"
NAMES = ["g0", "g1", "g2", "g3", "g4"]
Data = tuple[pd.DataFrame, NDArray[np.str_]]


def table(seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    y = np.repeat(["a", "b", "c"], 15)
    X = rng.normal(size=(45, 5)) + 2 * (y[:, None] == np.array(["a", "b", "c", "a", "b"]))
    return pd.DataFrame(X, columns=NAMES), y


def fit(data: Data, **changes: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 2, "latent_dim": 4, "hidden": (8,), "random_state": 0, **changes}).fit(*data)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    run = json.loads((folder / RUN).read_text())
    change(run)
    (folder / RUN).write_text(json.dumps(run))


@pytest.fixture(scope="module")
def model() -> SVQVAE:
    return fit(table())


@pytest.fixture(scope="module")
def others() -> dict[str, SVQVAE]:
    return {"other data": fit(table(1)), "another seed": fit(table(), random_state=1)}


@pytest.fixture
def run(model: SVQVAE, tmp_path: Path) -> Path:
    model.save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def other_defaults(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what replaces today's defaults by others."""

    def resolve_design(given: dict[str, Any], facts: parameters.Facts) -> Design:
        return resolve({**given, "temperature": given["temperature"] or 7.0}, facts)

    resolve = parameters._resolve_design
    rules = replace(parameters.OBJECTIVES["prototype"], hidden=(3,), commitment_cost=9.0, learning_rate=0.5)

    def change() -> None:
        monkeypatch.setitem(parameters.OBJECTIVES, "prototype", rules)
        monkeypatch.setattr(parameters, "_resolve_design", resolve_design)

    return change


@pytest.mark.parametrize("other", ["other data", "another seed"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_fit_is_refused(
    part: str, other: str, run: Path, others: dict[str, SVQVAE], tmp_path: Path
) -> None:
    others[other].save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / part, run / part)
    with pytest.raises(ValueError, match=rf"run must hold the parts of one fit; .*{part}.*\. Copy the whole run"):
        SVQVAE.load(run)


@pytest.mark.parametrize("other", ["other data", "another seed"])
def test_no_mixture_of_two_fits_is_read(other: str, run: Path, others: dict[str, SVQVAE], tmp_path: Path) -> None:
    others[other].save(tmp_path / "other")
    for taken in itertools.chain.from_iterable(itertools.combinations(PARTS, n) for n in (1, 2, 3)):
        mixed = shutil.copytree(run, tmp_path / "-".join(taken))
        for part in taken:
            shutil.copy(tmp_path / "other" / part, mixed / part)
        with pytest.raises(ValueError, match="must hold the parts of one fit"):
            read_fitted(mixed)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_a_part_of_the_same_fit_interrupted_is_refused(part: str, tmp_path: Path) -> None:
    def stop(epoch: int, *_: object) -> None:
        if epoch == 14:
            raise KeyboardInterrupt

    # Recipe, data and first weights are the same, and so are the codes: the last epochs train the decoder alone.
    settings: dict[str, Any] = {"n_epochs": 16, "latent_dim": 4, "hidden": (8,), "random_state": 0}
    SVQVAE(**settings).fit(*table()).save(tmp_path / "whole")
    SVQVAE(**settings).fit(*table(), on_epoch=stop).save(tmp_path / "interrupted")
    shutil.copy(tmp_path / "interrupted" / part, tmp_path / "whole" / part)
    with pytest.raises(ValueError, match="must hold the parts of one fit"):
        SVQVAE.load(tmp_path / "whole")


def test_codes_of_the_model_that_are_not_those_of_the_atlas_are_refused(run: Path, model: SVQVAE) -> None:
    replace(model.atlas_, codes=model.atlas_.codes + 1).save(run)
    with pytest.raises(ValueError, match=r"must hold the model and the atlas of one fit; their codes differ"):
        SVQVAE.load(run)


@pytest.mark.parametrize("is_in_the_atlas_too", [False, True])
@pytest.mark.parametrize("names", [["b", "a", "c"], ["c", "b", "a"], ["a", "a", "c"], ["a", "b"]])
def test_classes_in_another_order_or_twice_or_too_few_are_refused(
    names: list[str], is_in_the_atlas_too: bool, run: Path, model: SVQVAE
) -> None:
    edit(run, lambda facts: facts["classes"].update(values=names))
    if is_in_the_atlas_too:
        replace(model.atlas_, classes=np.array(names)).save(run)
    with pytest.raises(ValueError, match=r"run must hold the parts of one fit; "):
        SVQVAE.load(run)


@pytest.mark.parametrize("names", [NAMES[::-1], ["g0", "g0", *NAMES[2:]], NAMES[:4]])
def test_features_in_another_order_or_of_other_names_are_refused(names: list[str], run: Path) -> None:
    edit(run, lambda facts: facts.update(feature_names=names))
    with pytest.raises(ValueError, match=r"one fit; the features of atlas.safetensors are not those of run.json"):
        SVQVAE.load(run)


def test_a_run_without_its_history_is_read_without_it(run: Path, model: SVQVAE) -> None:
    (run / "history.csv").unlink()
    found = SVQVAE.load(run)
    assert found.history_.empty
    np.testing.assert_array_equal(found.codebook_, model.codebook_)


def test_a_stored_run_answers_alike_whatever_the_defaults_are(
    other_defaults: Callable[[], None], tmp_path: Path
) -> None:
    X, y = table()
    model = fit((X, y), hidden=None)
    model.save(tmp_path)
    expected, told = model.predict_proba(X), tell_classes(model.fitted_, X)
    other_defaults()
    new, found = fit((X, y), hidden=None).fitted_.recipe, SVQVAE.load(tmp_path)
    assert (new.design.hidden, new.design.temperature) == ((3,), 7.0)
    assert (new.schedule.commitment_cost, new.schedule.learning_rate) == (9.0, 0.5)
    assert found.fitted_.recipe == model.fitted_.recipe
    np.testing.assert_array_equal(found.predict_proba(X), expected)
    pd.testing.assert_frame_equal(tell_classes(found.fitted_, X), told)


@pytest.mark.parametrize("name", ["dense", "cosine"])
def test_a_stored_run_of_format_1_answers_alike_whatever_the_defaults_are(
    name: str, other_defaults: Callable[[], None], tmp_path: Path
) -> None:
    kept = load_file(GOLDEN / name / "answers.safetensors")
    before = SVQVAE.load(GOLDEN / name)
    X = pd.DataFrame(kept["reconstruct"], columns=getattr(before, "feature_names_in_", None))
    expected = before.predict_proba(X)
    before.save(tmp_path)
    other_defaults()
    for folder in (GOLDEN / name, tmp_path):
        np.testing.assert_array_equal(SVQVAE.load(folder).predict_proba(X), expected)


def test_parameters_that_are_set_later_change_nothing_before_the_next_fit(tmp_path: Path) -> None:
    X, y = table()
    model = fit((X, y))
    model.save(tmp_path / "before")
    expected, told = model.predict_proba(X), tell_classes(model.fitted_, X)
    model.set_params(temperature=5, latent_dim=3)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    pd.testing.assert_frame_equal(tell_classes(model.fitted_, X), told)
    model.save(tmp_path / "after")
    for part in PARTS:
        assert (tmp_path / "after" / part).read_bytes() == (tmp_path / "before" / part).read_bytes()
    model.fit(X, y).save(tmp_path / "again")
    assert model.transform(X).shape == (45, 3)
    design = read_run(tmp_path / "again")["recipe"]["design"]
    assert (design["temperature"], design["latent_dim"]) == (5.0, 3)


@pytest.mark.parametrize("architecture", ["dense", "conv"])
@pytest.mark.parametrize("objective", ["prototype", "published", "vqvae"])
def test_every_entry_of_a_recipe_is_a_value(objective: str, architecture: str, tmp_path: Path) -> None:
    X = np.random.default_rng(0).uniform(size=(30, 8, 8) if architecture == "conv" else (30, 6))
    SVQVAE(objective=objective, architecture=architecture, n_epochs=2, latent_dim=4).fit(X, np.arange(30) % 3).save(
        tmp_path
    )
    recipe = json.loads((tmp_path / RUN).read_text())["recipe"]
    for kind, values in ((Design, recipe["design"]), (Schedule, recipe["schedule"])):
        assert set(values) == {field.name for field in fields(kind)}
        assert all(value is not None and value != "auto" for value in values.values())
    assert read_fitted(tmp_path).recipe.to_dict() == recipe


STEPS = ("mkdir", "fsync", "chmod", "rename", "replace", "unlink", "rmdir")


class Killed(BaseException):
    """What no handler of errors takes for an error."""


def is_stopped(model: SVQVAE, folder: Path, n_steps: int, is_killed: bool) -> bool:
    """Save a model where the step after so many fails, or the process is killed there; tell whether it came so far."""
    counter = itertools.count()

    def stopping(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any, **options: Any) -> Any:
            place = next(counter)
            if place == n_steps or (is_killed and place > n_steps):
                raise Killed if is_killed else OSError("no space left")
            return step(*arguments, **options)

        return take

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, stopping(getattr(os, name)))
        with contextlib.suppress(Killed, OSError):
            model.save(folder)
    return next(counter) > n_steps


def seen(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_write_that_stops_at_any_step_leaves_the_old_run_or_the_new(
    is_killed: bool, model: SVQVAE, others: dict[str, SVQVAE], tmp_path: Path
) -> None:
    X, new, outcomes, is_over = table()[0], others["another seed"], [], False
    while not is_over:
        folder = tmp_path / str(len(outcomes))
        model.save(folder)
        (folder / METRICS).write_text("figures of the old run")
        is_over = not is_stopped(new, folder, len(outcomes), is_killed)
        found = read_fitted(folder)
        is_new = found.fingerprint == new.fitted_.fingerprint
        expected = new if is_new else model
        assert found.fingerprint == expected.fitted_.fingerprint
        np.testing.assert_array_equal(SVQVAE.of_fitted(found).predict_proba(X), expected.predict_proba(X))
        pd.testing.assert_frame_equal(found.history, expected.history_)
        assert current(folder, METRICS).is_file() == (not is_new)
        if not is_killed and not is_new:
            assert seen(folder) == {*PARTS, METRICS}
        new.save(folder)
        assert read_fitted(folder).fingerprint == new.fitted_.fingerprint
        assert seen(folder) == set(PARTS)
        outcomes.append(is_new)
    assert outcomes.count(False) > 8
    assert outcomes.count(True) > 8


def test_a_first_write_that_is_killed_leaves_no_run_or_a_whole_one(model: SVQVAE, tmp_path: Path) -> None:
    X, n_steps, is_over = table()[0], 0, False
    while not is_over:
        folder = tmp_path / str(n_steps)
        is_over = not is_stopped(model, folder, n_steps, is_killed=True)
        if current(folder, RUN).is_file():
            np.testing.assert_array_equal(SVQVAE.load(folder).predict_proba(X), model.predict_proba(X))
        else:
            with pytest.raises(FileNotFoundError, match="`folder` must be a run folder"):
                SVQVAE.load(folder)
        model.save(folder)
        assert seen(folder) == set(PARTS)
        n_steps += 1


def test_a_run_in_the_place_of_another_takes_its_figures_and_page_away(run: Path, others: dict[str, SVQVAE]) -> None:
    for name in (METRICS, "report.html", "report.json", "notes.txt"):
        (run / name).write_text("of the old run")
    others["other data"].save(run)
    assert seen(run) == {*PARTS, "notes.txt"}
    assert (run / "notes.txt").read_text() == "of the old run"
    assert run_files(run, METRICS) == [run / name for name in (*PARTS, METRICS)]


def test_parameters_of_a_run_fit_again_alike(other_defaults: Callable[[], None], tmp_path: Path) -> None:
    data = table()
    model = fit(data, hidden=None, geometry="cosine", w_label=2.0)
    model.save(tmp_path)
    given = read_parameters(tmp_path)
    assert not {"random_state", "verbose"} & set(given)
    other_defaults()
    again = SVQVAE(**read_parameters(tmp_path), random_state=0).fit(*data)
    np.testing.assert_array_equal(again.codebook_, model.codebook_)
    np.testing.assert_array_equal(again.predict_proba(data[0]), model.predict_proba(data[0]))
    assert again.fitted_.recipe == model.fitted_.recipe


def test_networks_of_ones_own_are_not_stored(tmp_path: Path) -> None:
    X, y = table()
    pair = (torch.nn.Linear(5, 4), torch.nn.Linear(4, 5))
    model = fit((X, y), architecture=pair)
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"`like` must be a run whose networks have a name; .* of one's own"):
        read_parameters(tmp_path)
    with pytest.raises(ValueError, match=r"`architecture` must be the pair \(encoder, decoder\) .* got None"):
        read_fitted(tmp_path)
    np.testing.assert_array_equal(SVQVAE.load(tmp_path, pair).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("kinds", [[3, 7, 40], [False, True], ["a", "größer", "β"], [1.0, 2.0, 5.0]])
def test_classes_of_any_kind_are_read_as_they_were(kinds: list[Any], tmp_path: Path) -> None:
    y = np.array(kinds)[np.arange(45) % len(kinds)]
    for labels in (y, y.astype(object)) if y.dtype.kind == "U" else (y,):
        model = fit((table()[0], labels))
        model.save(tmp_path)
        found = SVQVAE.load(tmp_path)
        assert found.classes_.dtype == found.atlas_.classes.dtype == model.classes_.dtype
        assert found.classes_.tolist() == model.classes_.tolist()
        pd.testing.assert_frame_equal(found.health_, model.health_, check_dtype=False)


def test_what_was_learnt_is_read_as_it_was_written(model: SVQVAE, tmp_path: Path) -> None:
    written = model.fitted_.made_of(label="kind", path=tmp_path / "data.csv", share=np.float32(0.5))
    write_run(tmp_path, written)
    found = read_fitted(tmp_path)
    for name in ("recipe", "n_iter", "layer", "fingerprint", "sample_shape", "seed"):
        assert getattr(found, name) == getattr(written, name)
    for name in ("noise", "held_out", "feature_names", "classes", "codebook"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    np.testing.assert_array_equal(found.units.center, written.units.center)
    assert type(found.units) is type(written.units)
    assert found.origin == {**model.fitted_.origin, "label": "kind", "path": f"{tmp_path}/data.csv", "share": 0.5}


def test_a_run_that_was_read_is_written_again_alike(run: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "again", read_fitted(run))
    for part in PARTS:
        assert (tmp_path / "again" / part).read_bytes() == (run / part).read_bytes()


@pytest.mark.parametrize("name", [RUN, TENSORS])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"`folder` must be a run folder .* has no {name}\. `svqvae fit`"):
        read_run(run)


def test_a_missing_atlas_is_named(run: Path) -> None:
    (run / "atlas.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"`folder` must hold atlas.safetensors; .*run does not"):
        read_fitted(run)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`folder` must be a run folder .*nowhere has no run.json"):
        read_run(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, None, str(FORMAT_VERSION)])
def test_another_format_version_is_refused(run: Path, version: object) -> None:
    edit(run, lambda facts: facts.update(format_version=version))
    with pytest.raises(ValueError, match=rf"run.json must have format version 2 or 1; got {version!r}"):
        SVQVAE.load(run)


def test_json_that_is_no_run_is_refused(run: Path) -> None:
    (run / RUN).write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"run.json must have format version 2 or 1; got None"):
        read_run(run)


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1', b"\xff\xfe\x00"])
def test_damaged_json_is_refused(run: Path, content: bytes) -> None:
    (run / RUN).write_bytes(content)
    with pytest.raises(ValueError, match=r"run.json must be JSON; it is damaged: .* Fit the model anew"):
        read_run(run)


@pytest.mark.parametrize("n_kept", [0, 5, 40, -1])
@pytest.mark.parametrize("part", [TENSORS, "atlas.safetensors"])
def test_damaged_safetensors_are_refused(run: Path, part: str, n_kept: int) -> None:
    (run / part).write_bytes((run / part).read_bytes()[:n_kept])
    with pytest.raises(ValueError, match=rf"{part} must be a safetensors file; it is damaged"):
        read_fitted(run)


def test_a_run_with_half_its_facts_is_refused(run: Path) -> None:
    whole = json.loads((run / RUN).read_text())
    for lacking in set(whole) - {"format_version"}:
        (run / RUN).write_text(json.dumps({name: whole[name] for name in whole if name != lacking}))
        with pytest.raises(ValueError, match=rf"must be a whole run; its run.json has no '{lacking}'"):
            read_run(run)


@pytest.mark.parametrize(("part", "entry"), [("classes", "dtype"), ("classes", "values"), ("units", "kind")])
def test_a_fact_with_half_its_entries_is_refused(part: str, entry: str, run: Path) -> None:
    edit(run, lambda facts: facts[part].pop(entry))
    with pytest.raises(ValueError, match=rf"must be a whole run; its run.json has no '{entry}'"):
        read_fitted(run)


@pytest.mark.parametrize(("entry", "value"), [("temperature", None), ("colour", "red")])
def test_a_recipe_with_a_null_or_an_unknown_entry_is_refused(entry: str, value: str | None, run: Path) -> None:
    edit(run, lambda facts: facts["recipe"]["design"].update({entry: value}))
    with pytest.raises(ValueError, match=rf"run.json must be whole; `recipe` must have .* got {value!r} for '{entry}'"):
        SVQVAE.load(run)


def test_a_run_whose_weights_do_not_fit_is_refused(run: Path) -> None:
    edit(run, lambda facts: facts["recipe"]["design"].update(hidden=[5]))
    with pytest.raises(ValueError, match=r"must hold the weights that its run.json describes"):
        SVQVAE.load(run)


def test_a_folder_that_is_a_file_is_refused(model: SVQVAE, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"`folder` must be a folder; got the file .*run\. Give another name"):
        model.save(tmp_path / "run" / "deeper")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_run_folder_holds_no_pickle(run: Path) -> None:
    for path in run.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
        assert b"numpy" not in content or path.name == RUN
