"""What holds for all commands: help, defaults, exit statuses, warnings, terminals."""

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

from svqvae import __version__, cli

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "CSV", "--label", "knd", "--out", "x"], "`--label` must be a column of"),
        (["fit", "nothing.csv", "--label", "kind", "--out", "x"], "nothing.csv"),
        (["fit", "CSV", "--label", "kind", "--out", "CSV"], "must be a folder; got the file"),
        (["fit", "CSV", "--label", "kind", "--out", "x", "--geometry", "flat"], "`--geometry` must be one of"),
        (["fit", "CSV", "--out", "x"], "Missing option '--label'"),
        (
            ["fit", "CSV", "--label", "kind", "--out", "x", "--ignore", "age"],
            "`--ignore` must name a feature; got 'age'",
        ),
        (["fit", "CSV", "--label", "kind", "--out", "x", "--hold-out", "2"], "`--hold-out` must be at least 0"),
        (["annotate", "nowhere", "CSV", "--out", "x.csv"], "`RUN` must be a run folder"),
        (["demo", "--out", "CSV"], "`--out` must be a folder; got the file"),
        (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["annotate", "nowhere", "CSV", "--out", "x.csv", "--unknown", "5"], "`--unknown` must be from 0 to 1; got 5."),
    ],
)
def test_a_mistake_ends_with_one_sentence_and_status_2(
    run: Run,
    batches: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*(batches if argument == "CSV" else argument for argument in arguments)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("statement", ["import svqvae", "import svqvae.cli", "import svqvae.atlas.density"])
def test_import_does_not_load_torch(statement: str) -> None:
    code = f"{statement}; import sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert start(code).returncode == 0


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
