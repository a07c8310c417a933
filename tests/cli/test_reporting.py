"""The command that shows a run, and pages that must not cost a run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from svqvae.cli.reporting import command_line, report_files, try_report

Run = Callable[..., int]
Document = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, for a page of its own."""
    return shutil.copytree(folder, tmp_path / "run")


def test_a_page_of_the_run_alone_and_one_with_samples_tell_their_verdict(
    run: Run, table: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--data", table, "--label", "kind"]):
        assert run("report", folder, *more) == 0
        told = capsys.readouterr().out
        assert told.startswith("Verdict\n")
        assert told.endswith(f"Report: {folder / 'report.html'}\n")
        written = json.loads((folder / "report.json").read_text())
        assert written["verdict"]["accuracy"].split()[0] in told
        assert (written["map"] is not None) == bool(more)


def test_the_column_of_the_fit_is_that_of_the_class_unless_told(run: Run, table: Path, folder: Path) -> None:
    assert run("report", folder, "--data", table, "--quiet") == 0
    assert json.loads((folder / "report.json").read_text())["quality"]["training"]["n_samples"] == 60


def test_reporting_tells_the_files_and_the_verdict(document: Document, folder: Path) -> None:
    found = document("report", folder)
    assert found["files"] == [str(folder / name) for name in ("report.html", "report.json")]
    written = json.loads((folder / "report.json").read_text())["verdict"]
    assert found["verdict"] == [written[part] for part in ("accuracy", "pictures", "trust")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "kind"], "`--label` must go with `--data`; got only 'kind'. Give both, or none."),
        (["--data", "TABLE", "--label", "knd"], "`--label` must be a column of"),
        (["--data", "TABLE", "--label", "sample"], "`--label` must"),
    ],
)
def test_mistakes_in_what_is_asked_of_the_page_are_told(
    run: Run, table: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", folder, *(str(table) if word == "TABLE" else word for word in arguments)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def fail(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("A figure broke.")


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_page_that_fails_costs_no_run(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("svqvae.jobs.fit.report_fitted", fail)
    out = tmp_path / "fitted"
    assert run("fit", table, "--label", "kind", "--epochs", 1, "--out", out, "--json") == 0
    captured = capsys.readouterr()
    expected = f"The report was not written: A figure broke. The run is whole; `svqvae report {out}` tries again."
    assert captured.err == f"svqvae: warning: {expected}\n"
    assert str(out / "run.json") in json.loads(captured.out)["files"]
    assert report_files(out) == []
    monkeypatch.undo()
    assert run("report", out, "--quiet") == 0
    assert report_files(out) == [out / "report.html", out / "report.json"]


def test_what_writes_a_page_is_told_how_to_show_its_progress(tmp_path: Path) -> None:
    opened: list[Any] = []
    page = SimpleNamespace()
    assert try_report(lambda progress: opened.append(progress("tree")) or page, tmp_path, quiet=True) is page
    opened[0](1, 2)


def test_ctrl_c_while_a_page_is_written_is_no_failure_of_the_page(tmp_path: Path) -> None:
    def stop(progress: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        try_report(stop, tmp_path, quiet=True)


def test_the_command_is_quoted_as_a_shell_takes_it() -> None:
    context = SimpleNamespace(obj=["fit", "my data.csv", "--label", "it's"])
    assert command_line(context) == "svqvae fit 'my data.csv' --label 'it'\"'\"'s'"
    assert command_line(SimpleNamespace(obj=None)) == "svqvae"
