"""The command that shows a run, report, and what the commands that train share with it."""

import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svqvae.cli.options import AsJson, Quiet, Run
from svqvae.cli.printing import print_json, print_verdict

if TYPE_CHECKING:
    from svqvae.jobs.report import Progress
    from svqvae.report.page import Report

commands = typer.Typer()


@commands.command(epilog="Example: svqvae report run --data signatures.h5ad --label pcl")
def report(
    run: Run,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled samples, for map, confusion and simulation: those of the fit, or others.",
            show_default="none: the page shows what the run itself tells",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the data that holds the class.", show_default="that of the fit")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html, a page that shows a run, and report.json, all numbers on it, into the run folder."""
    from svqvae.jobs.report import report_run
    from svqvae.progress import part_bars

    with part_bars(not quiet) as progress:
        page = report_run(run, data, label, progress)
    if as_json:
        print_json({"files": report_files(run), "verdict": list(page.verdict)})
    elif not quiet:
        print_verdict(page)


def command_line(context: typer.Context) -> str:
    """Return the command as it was given."""
    return shlex.join(["svqvae", *(context.obj or [])])


def report_files(run: Path) -> list[Path]:
    """Return the files of the page of a run, where they were written."""
    return [path for path in (run / "report.html", run / "report.json") if path.is_file()]


def try_report(write: "Callable[[Progress], Report]", run: Path, quiet: bool) -> "Report | None":
    """Write the page of a run that is saved already: what goes wrong here must not cost the run."""
    from svqvae.progress import part_bars

    try:
        with part_bars(not quiet) as progress:
            return write(progress)
    except Exception as error:
        warnings.warn(
            f"The report was not written: {error} The run is whole; `svqvae report {run}` tries again.",
            UserWarning,
            stacklevel=2,
        )
        return None
