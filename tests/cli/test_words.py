"""Sentences about arguments of functions, in the words of a command."""

import ast
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.main import get_command

import svqvae
from svqvae import cli
from svqvae.cli.words import ALIASES, told_by

Run = Callable[..., int]
COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]


def told(command: str, sentence: str) -> str:
    return told_by(COMMANDS[command])(sentence)


@pytest.mark.parametrize(
    ("command", "name", "word"),
    [
        ("fit", "latent_dim", "--latent-dim"),
        ("fit", "hold_out", "--hold-out"),
        ("fit", "with_report", "--report"),
        ("fit", "on_disk", "--on-disk"),
        ("fit", "as_json", "--json"),
        ("fit", "quiet", "--quiet"),
        ("simulate", "n", "-n"),
        ("simulate", "name", "CLASS"),
        ("export", "kind", "--format"),
        ("export", "license_name", "--license"),
        ("l1000", "files", "GCTX..."),
        ("import-published", "folder", "DIR"),
    ],
)
def test_a_name_is_what_a_user_writes(command: str, name: str, word: str) -> None:
    assert told(command, f"`{name}` must be; got 3.") == f"`{word}` must be; got 3."


@pytest.mark.parametrize(
    ("command", "name", "word"),
    [
        ("fit", "X", "DATA"),
        ("annotate", "X", "DATA"),
        ("report", "X", "--data"),
        ("query", "X", "SIGNATURES"),
        ("fit", "y", "--label"),
        ("annotate", "folder", "RUN"),
        ("classes", "folder", "RUN"),
        ("evaluate", "groups", "--group"),
        ("fit", "unlabelled_groups", "--group"),
        ("fit", "n_epochs", "--epochs"),
        ("fit", "validation_fraction", "--hold-out"),
    ],
)
def test_what_is_called_otherwise_below_has_its_option(command: str, name: str, word: str) -> None:
    assert told(command, f"`{name}` must be.") == f"`{word}` must be."


def test_every_alias_stands_for_a_parameter_of_a_command() -> None:
    names = {parameter.name for command in COMMANDS.values() for parameter in command.params}
    for name, sources in ALIASES.items():
        assert names & set(sources), name


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Use method='profile', which does.", "Use --method profile, which does."),
        ("Use top=3.", "Use --top 3."),
        ("with method='profile' and top=2, seed=1", "with --method profile and --top 2, --seed 1"),
        ("Use by='cell line'.", "Use --by 'cell line'."),
        ("Use by='a\"b'.", "Use --by 'a\"b'."),
        ("Use by=''.", "Use --by ''."),
        ("Use by=cell_id (or none).", "Use --by cell_id (or none)."),
    ],
)
def test_a_setting_becomes_an_option_with_its_value(sentence: str, expected: str) -> None:
    assert told("query", sentence) == expected


def test_settings_of_aliases_become_options_too() -> None:
    assert told("fit", "n_epochs=8 or validation_fraction=0.25") == "--epochs 8 or --hold-out 0.25"


@pytest.mark.parametrize(
    "sentence",
    [
        "`early_stopping` must be True, False or 'auto'; got 3.",
        "Use early_stopping=False.",
        "Use X.columns = X.columns.astype(str).",
        "Pass the columns X[model.feature_names_in_].",
        "Call SVQVAE.load(folder, architecture=(encoder, decoder)).",
        "Pass labels, or `label=` with AnnData.",
        "`svqvae fit` and `model.save` write run folders.",
        "See `model.health_`. A value of 3 == 3; label = kind.",
        "{'a': 1} \\d `` ` é",
    ],
)
def test_what_names_no_parameter_stays_as_it_is(sentence: str) -> None:
    assert told("fit", sentence) == sentence


def test_settings_of_what_is_no_option_stay() -> None:
    assert (
        told("query", "`X` goes before X=3, `run` before run=3.") == "`SIGNATURES` goes before X=3, `RUN` before run=3."
    )


def test_without_a_command_nothing_changes() -> None:
    sentence = "`X` must be; use n_epochs=3."
    assert told_by(None)(sentence) == sentence


def text_of(node: ast.AST) -> str:
    """Return a string literal, with a word in the place of what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Return all sentences of errors and warnings that begin with the name of an argument."""
    files = sorted(Path(svqvae.__file__).parent.rglob("*.py"))
    calls = [node for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    texts = [text_of(call.args[0]) for call in calls if call.args]
    return [text for text in texts if re.match(r"`\w+`.* ", text)]


def test_no_sentence_of_the_package_is_mangled(sentences: list[str]) -> None:
    assert len(sentences) > 150
    for sentence in sentences:
        said = told("fit", sentence)
        assert said.count("`") == sentence.count("`"), sentence
        assert said.count("`") % 2 == 0, sentence
        assert not re.search(r"----|-- |--[\w-]+=|=--|``", said), said
        # Between names in backticks and settings, all words stand as they did.
        known = re.escape(sentence)
        known = re.sub(r"`\\?\w+`", "`[^`]+`", known)
        known = re.sub(r"\w+=(?:'[^'\n]*'|[\w.\\-]*\w)", r"\\S+(?: (?:'[^']*'|\\S+?))?", known)
        assert re.fullmatch(known, said), said


@pytest.mark.parametrize("name", COMMANDS)
def test_no_sentence_names_an_option_that_the_command_lacks(name: str, sentences: list[str]) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    for sentence in sentences:
        added = set(re.findall(r"--[a-z-]+", told(name, sentence))) - set(re.findall(r"--[a-z-]+", sentence))
        assert added <= options, sentence


@pytest.mark.filterwarnings("always::UserWarning")
def test_errors_and_warnings_are_told_in_the_same_words(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*_: object, **__: object) -> NoReturn:
        warnings.warn("`X` is odd: use n_epochs=3.", UserWarning, stacklevel=1)
        raise ValueError("`y` is odd: use objective='published'.")

    monkeypatch.setattr("svqvae.data.stored.open_table", warn)
    assert run("fit", "t.csv", "--label", "kind", "--out", tmp_path / "run") == 2
    assert capsys.readouterr().err == (
        "svqvae: warning: `DATA` is odd: use --epochs 3.\nsvqvae: `--label` is odd: use --objective published.\n"
    )
