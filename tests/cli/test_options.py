"""Options that stand for the parameters of a model, and where a run's parameters are taken again."""

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from svqvae import SVQVAE, cli, parameters
from svqvae.cli.options import HELD_OUT, NAMES, PARAMETER_NAMES, settings_of, takes_parameters
from svqvae.fitting.run_folder import read_fitted
from svqvae.parameters import PARAMETERS, Parameter

Run = Callable[..., int]
COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]
GOLDEN = Path(__file__).parents[1] / "golden" / "format_1"
NAMED = sorted(path.name for path in GOLDEN.iterdir() if path.name != "own_networks")


@pytest.mark.parametrize("name", ["fit", "evaluate"])
def test_commands_that_train_take_every_parameter_of_the_estimator(name: str) -> None:
    theirs = set(inspect.signature(SVQVAE.__init__).parameters) - {"self", "random_state", "verbose"}
    ours = {parameter.name: parameter for parameter in COMMANDS[name].params}
    # One option sets two of them, and one is called otherwise.
    theirs = theirs - {"validation_fraction", "early_stopping", "n_epochs"} | {"hold_out", "epochs"}
    assert theirs <= set(ours)
    assert {ours[parameter].default for parameter in theirs} == {None}
    others = {"data", "label", "out", "group", "unlabelled", "ignore", "as_json", "quiet", "on_disk", "like"}
    alone = {"fit": {"resume", "with_report", "seed"}, "evaluate": {"folds", "jobs", "seeds"}}
    assert set(ours) - theirs == others | alone[name]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_the_help_has_the_help_and_the_default_of_each_parameter(parameter: Parameter) -> None:
    if parameter.name in HELD_OUT:
        return
    name = NAMES.get(parameter.name, parameter.name)
    option = next(option for option in COMMANDS["fit"].params if option.name == name)
    assert option.help.lower().startswith(parameter.help.lower())
    assert option.show_default == (parameter.automatic if parameter.default is None else str(parameter.default))


@pytest.mark.parametrize(("name", "function"), [("fit", "fit.fit_run"), ("evaluate", "evaluate.evaluate_model")])
def test_what_is_not_asked_for_is_left_to_the_estimator(
    name: str, function: str, run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(*arguments: Any, **_: Any) -> NoReturn:
        settings = next(part for part in arguments if isinstance(part, dict))
        # A seed of its own makes a command give the same twice; a bar is for terminals.
        given = {key: value for key, value in settings.items() if key not in ("random_state", "verbose")}
        assert given == {}
        raise ValueError("kept.")

    monkeypatch.setattr(f"svqvae.jobs.{function}", keep)
    assert run(name, table, "--label", "kind", "--out", tmp_path / "out") == 2


@pytest.fixture
def settings() -> Callable[..., dict[str, Any]]:
    """Return the function that calls a command with options and returns the settings that reach it."""
    app, found = typer.Typer(), {}

    @app.command()
    @takes_parameters
    def command(settings: dict[str, Any], label: str = "kind") -> None:
        found.update(settings, told=label)

    def call(*arguments: object) -> dict[str, Any]:
        found.clear()
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        assert found.pop("told") == "kind"
        return dict(found)

    return call


def test_only_what_was_given_reaches_the_settings(settings: Callable[..., dict[str, Any]]) -> None:
    assert settings() == {}
    assert settings("--latent-dim", 8, "--epochs", 3) == {"latent_dim": 8, "n_epochs": 3}
    assert settings("--dropout", 0, "--max-shift", 0) == {"dropout": 0.0, "max_shift": 0}
    assert settings("--geometry", "cosine", "--learning-rate", "1e-3") == {"geometry": "cosine", "learning_rate": 1e-3}


def test_what_is_given_several_times_becomes_a_tuple(settings: Callable[..., dict[str, Any]]) -> None:
    assert settings("--hidden", 16, "--hidden", 8) == {"hidden": (16, 8)}
    assert settings("--hidden", 16) == {"hidden": (16,)}
    sides = ["--image-shape", 3, "--image-shape", 28, "--image-shape", 20]
    assert settings(*sides) == {"image_shape": (3, 28, 20)}


@pytest.mark.parametrize("name", PARAMETER_NAMES)
def test_each_option_sets_its_parameter(name: str, settings: Callable[..., dict[str, Any]]) -> None:
    parameter = next(parameter for parameter in PARAMETERS if parameter.name == name)
    value: Any = "a" if parameter.least is None else 3 if parameter.is_whole else 0.5
    value = 3 if name in ("hidden", "image_shape") else value
    found = settings(f"--{NAMES.get(name, name).replace('_', '-')}", value)
    assert found == {name: (value,) if name in ("hidden", "image_shape") else value}


def test_what_is_given_beats_the_run_that_beats_what_images_ask_for() -> None:
    like = GOLDEN / "held_out"
    assert settings_of({}, None, None, are_images=False) == {}
    assert settings_of({}, None, None, are_images=True) == {"architecture": "conv"}
    assert settings_of({}, like, None, are_images=True)["architecture"] == "dense"
    given = settings_of({"architecture": "published-mnist", "hidden": (4,)}, like, None, are_images=True)
    assert (given["architecture"], given["hidden"], given["latent_dim"]) == ("published-mnist", (4,), 8)


@pytest.mark.parametrize(("share", "is_watched"), [(0.2, True), (0.0, False)])
def test_a_share_to_hold_out_beats_that_of_the_run(share: float, is_watched: bool) -> None:
    expected = {"validation_fraction": share, "early_stopping": is_watched}
    assert settings_of({}, None, share, are_images=False) == expected
    found = settings_of({}, GOLDEN / "held_out", share, are_images=False)
    assert {name: found[name] for name in expected} == expected
    kept = settings_of({}, GOLDEN / "held_out", None, are_images=False)
    assert (kept["validation_fraction"], kept["early_stopping"]) == (0.3, True)


@pytest.mark.parametrize("share", [-0.1, 1, 2, float("nan")])
def test_a_share_out_of_range_is_refused_in_the_name_of_the_option(share: float) -> None:
    with pytest.raises(ValueError, match=rf"`hold_out` must be at least 0 and below 1; got {share:g}\."):
        settings_of({}, None, share, are_images=False)


@pytest.mark.parametrize("name", NAMED)
def test_a_run_of_an_earlier_format_can_be_one_to_be_like(name: str) -> None:
    found = settings_of({}, GOLDEN / name, None, are_images=False)
    given = SVQVAE(**found).get_params(deep=False)
    parameters.check(given)
    assert not {"random_state", "verbose"} & set(found)
    assert all(given[parameter] is not None for parameter in parameters.BY_RULE)
    design = read_fitted(GOLDEN / name).recipe.design
    assert (given["architecture"], given["likelihood"], given["hidden"]) == (
        design.architecture,
        design.likelihood,
        design.hidden,
    )


OPTIONS: list[object] = ["--latent-dim", 6, "--hidden", 12, "--hidden", 10, "--batch-size", 24, "--epochs", 3]
OPTIONS += ["--geometry", "cosine", "--dropout", 0.1, "--w-label", 2, "--hold-out", 0.25, "--patience", 4]


@pytest.fixture(scope="module")
def model_run(run: Run, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of other than the default options."""
    out = tmp_path_factory.mktemp("like") / "run"
    assert run("fit", table, "--label", "kind", *OPTIONS, "--no-report", "--out", out, "--quiet") == 0
    return out


def test_a_run_like_another_has_its_recipe_but_for_what_depends_on_the_data(
    run: Run, batches: Path, model_run: Path, tmp_path: Path
) -> None:
    given = ["--label", "kind", "--ignore", "batch", "--like", model_run, "--no-report", "--quiet"]
    assert run("fit", batches, *given, "--out", tmp_path / "run") == 0
    ours, theirs = (read_fitted(folder).recipe.to_dict() for folder in (tmp_path / "run", model_run))
    sizes = {"n_features": 8, "n_classes": 2}
    assert ours == {"design": {**theirs["design"], **sizes}, "schedule": theirs["schedule"]}
    assert theirs["design"]["hidden"] == [12, 10]


def test_an_option_beside_a_run_to_be_like_wins(run: Run, batches: Path, model_run: Path, tmp_path: Path) -> None:
    given = ["--label", "kind", "--like", model_run, "--hidden", 5, "--hold-out", 0, "--seed", 7, "--no-report", "-q"]
    assert run("fit", batches, *given, "--out", tmp_path / "run") == 0
    found = read_fitted(tmp_path / "run")
    assert (found.recipe.design.hidden, found.recipe.design.latent_dim) == ((5,), 6)
    assert (found.recipe.schedule.early_stopping, found.seed, found.n_iter) == (False, 7, 3)
    assert len(found.held_out) == 0


def judged(run: Run, batches: Path, out: Path, *options: object) -> dict[str, Any]:
    """Return the settings of the model that is evaluated."""
    given = ["--label", "kind", "--ignore", "batch", "--folds", 2, "--seeds", 1, *options, "--out", out, "--quiet"]
    assert run("evaluate", batches, *given) == 0
    settings: dict[str, Any] = json.loads(out.read_text())["settings"]
    return settings


def test_a_model_like_a_run_is_what_is_judged(run: Run, batches: Path, model_run: Path, tmp_path: Path) -> None:
    found = judged(run, batches, tmp_path / "q.json", "--like", model_run)
    expected = {"latent_dim": 6, "hidden": [12, 10], "batch_size": 24, "architecture": "dense", "geometry": "cosine"}
    assert {name: found[name] for name in expected} == expected
    assert (found["n_epochs"], found["validation_fraction"], found["early_stopping"]) == (3, 0.25, True)
    assert not {"random_state", "verbose"} & set(found)
    found = judged(run, batches, tmp_path / "q.json", "--like", model_run, "--latent-dim", 4, "--epochs", 1)
    assert (found["latent_dim"], found["n_epochs"], found["hidden"]) == (4, 1, [12, 10])


@pytest.mark.parametrize("name", ["dense", "held_out", "cosine"])
def test_runs_of_an_earlier_format_are_judged_as_they_were_fitted(
    name: str, run: Run, batches: Path, tmp_path: Path
) -> None:
    found = judged(run, batches, tmp_path / "q.json", "--like", GOLDEN / name, "--epochs", 1)
    design = read_fitted(GOLDEN / name).recipe.design
    assert (found["latent_dim"], tuple(found["hidden"])) == (design.latent_dim, design.hidden)
    assert (found["architecture"], found["likelihood"]) == (design.architecture, design.likelihood)


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_a_run_of_networks_of_ones_own_cannot_be_like(
    command: str, run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    like = shutil.copytree(GOLDEN / "own_networks", tmp_path / "own")
    assert run(command, batches, "--label", "kind", "--like", like, "--out", tmp_path / "out") == 2
    expected = f"`--like` must be a run whose networks have a name; {like} was fitted with networks of one's own"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_cannot_be_like(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", batches, "--label", "kind", "--like", tmp_path, "--out", tmp_path / "out") == 2
    assert f"must be a run folder with run.json and model.safetensors; {tmp_path} has no run.json" in (
        capsys.readouterr().err
    )


def test_a_share_out_of_range_is_told_by_its_option(
    run: Run, batches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("fit", "evaluate"):
        assert run(command, batches, "--label", "kind", "--out", tmp_path / "x", "--hold-out", 2) == 2
        assert capsys.readouterr().err == "svqvae: `--hold-out` must be at least 0 and below 1; got 2.\n"
