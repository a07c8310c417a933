"""What holds for all commands: help, defaults, exit statuses, warnings, terminals."""

import inspect
import os
import pty
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.main import get_command

from svqvae import SVQVAE, __version__, cli

Run = Callable[..., int]
COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]


def start(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=settings)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_parses(name: str) -> None:
    program, command, *arguments = shlex.split(COMMANDS[name].epilog.removeprefix("Example: "))
    assert (program, command) == ("svqvae", name)
    assert COMMANDS[name].make_context(name, arguments).params["quiet"] is False


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet_or_print_json(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--quiet", "-q", "--json"} <= options


@pytest.mark.parametrize("name", ["fit", "evaluate"])
def test_defaults_are_those_of_the_estimator(name: str) -> None:
    theirs = {key: entry.default for key, entry in inspect.signature(SVQVAE.__init__).parameters.items()}
    theirs["epochs"] = theirs["n_epochs"]
    ours = {parameter.name: parameter.default for parameter in COMMANDS[name].params}
    # Left open, the architecture is "conv" for images.
    shared = set(ours) & set(theirs) - {"architecture"}
    assert {"objective", "likelihood", "geometry", "epochs"} <= shared
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    others = {"data", "label", "out", "group", "unlabelled", "ignore", "as_json", "quiet", "architecture"}
    others |= {"on_disk"}
    alone = {"fit": {"hold_out", "resume", "with_report", "seed"}, "evaluate": {"folds", "jobs", "seeds"}}
    assert set(ours) - shared == others - ({"architecture"} if name == "evaluate" else set()) | alone[name]


@pytest.mark.parametrize(("name", "function"), [("fit", "fit.fit_run"), ("evaluate", "evaluate.evaluate_model")])
def test_what_is_not_asked_for_is_left_to_the_estimator(
    name: str, function: str, run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(*arguments: Any, **_: Any) -> NoReturn:
        settings = next(part for part in arguments if isinstance(part, dict))
        # A seed of its own makes a command give the same twice; a bar is for terminals.
        given = {key: value for key, value in settings.items() if key not in ("random_state", "verbose")}
        assert given.items() <= SVQVAE().get_params(deep=False).items()
        raise ValueError("kept.")

    monkeypatch.setattr(f"svqvae.jobs.{function}", keep)
    assert run(name, table, "--label", "kind", "--out", tmp_path / "out") == 2


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["fi"]])
def test_neither_help_nor_mistakes_load_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from svqvae.cli import main
try:
    main({arguments})
finally:
    assert not {{'torch', 'sklearn', 'pandas', 'numpy'}} & set(sys.modules)
"""
    done = start(code)
    assert "Error" not in done.stderr
    assert done.returncode == (2 if arguments == ["fi"] else 0)


def test_version_and_near_names_are_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"svqvae {__version__}\n"
    assert run("clases") == 2
    assert capsys.readouterr().err == "svqvae: No such command 'clases'. Did you mean 'classes'?\n"
    assert run("fit", "--lable", "x") == 2
    assert "--label" in capsys.readouterr().err


def test_shells_are_told_how_to_complete() -> None:
    code = "from svqvae.cli import main; main()"
    script = start(code, _SVQVAE_COMPLETE="source_bash").stdout
    assert "complete -o default -F _svqvae_completion svqvae" in script
    asked = {"_SVQVAE_COMPLETE": "complete_bash", "COMP_WORDS": "svqvae cl", "COMP_CWORD": "1"}
    assert start(code, **asked).stdout == "classes\n"


def test_ctrl_c_ends_with_130(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("svqvae.jobs.demo.run_demo", stop)
    assert run("demo", "--out", tmp_path) == 130
    assert capsys.readouterr().err == "svqvae: stopped.\n"


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_warning_is_shown_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*_: object, **__: object) -> NoReturn:
        for text in ("one", "two", "one", "two"):
            warnings.warn(text, UserWarning, stacklevel=1)
        raise ValueError("done.")

    monkeypatch.setattr("svqvae.jobs.demo.run_demo", warn)
    for _ in range(2):
        assert run("demo", "--out", tmp_path) == 2
        assert capsys.readouterr().err == "svqvae: warning: one\nsvqvae: warning: two\nsvqvae: done.\n"


def test_no_bars_are_drawn_off_a_terminal(
    run: Run, table: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = ["--label", "kind", "--epochs", 1]
    assert run("fit", table, *short, "--out", tmp_path / "run") == 0
    assert run("evaluate", table, *short, "--folds", 2, "--seeds", 1, "--out", tmp_path / "q.json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out


@pytest.mark.parametrize("is_refused", [True, False])
def test_colours_are_for_terminals_that_want_them(is_refused: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if is_refused else {})
    code = "from svqvae.cli import main; main(['fit', '--help'])"
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        # The end of a terminal is an error on Linux.
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"Train on labelled data" in shown
    assert (b"\x1b[1;3" in shown or b"\x1b[3" in shown) is not is_refused


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_wheel_turns_on_terminals_alone(is_terminal: bool) -> None:
    ours, theirs = pty.openpty()
    code = "from svqvae.progress import spinner\nwith spinner(True, 'annotating'): pass"
    stderr = theirs if is_terminal else subprocess.PIPE
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=stderr, env=environment) as process:
        os.close(theirs)
        told = process.stderr.read() if process.stderr else b""
        while chunk := _read(ours):
            told += chunk
    os.close(ours)
    assert (b"annotating" in told) is is_terminal


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
