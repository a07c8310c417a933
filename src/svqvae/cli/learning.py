"""Commands that train: demo, fit, evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svqvae.cli.options import (
    AsJson,
    Data,
    HoldOut,
    Ignore,
    Label,
    Like,
    OnDisk,
    Quiet,
    Seed,
    Unlabelled,
    settings_of,
    takes_parameters,
)
from svqvae.cli.printing import print_comparison, print_json, print_quality, print_verdict, say, verdict
from svqvae.cli.reporting import command_line, report_files, try_report

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData

    from svqvae.jobs.fit import FittedRun

DEFAULT_FOLDS = 5
# Files in which annotations stand apart from the features.
ANNOTATED = {".h5ad", ".zarr", ".gctx", ".gct"}
TITLES = {"training": "Training samples", "held_out": "Samples held out to watch training"}

commands = typer.Typer()


@commands.command(epilog="Example: svqvae demo --out demo")
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the run and the picture.")] = Path("demo"),
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on scikit-learn's handwritten digits and show what came out. Takes less than a minute."""
    from svqvae.fitting.run_folder import run_files
    from svqvae.jobs.demo import run_demo
    from svqvae.progress import part_bars

    with part_bars(not quiet) as progress:
        quality, page = run_demo(out, seed, verbose=not quiet, command=command_line(context), progress=progress)
    if as_json:
        files = [*run_files(out, "digits.png"), *report_files(out)]
        print_json({"files": files, "held_out": quality.to_dict(), "verdict": list(page.verdict)})
    elif not quiet:
        print_quality("Held-out digits", quality)
        say(f"Picture: {out / 'digits.png'}    Run: {out}")
        print_verdict(page)


@commands.command(epilog="Example: svqvae fit signatures.h5ad --label pcl --group pert_iname --out run")
@takes_parameters
def fit(
    settings: dict[str, Any],
    context: typer.Context,
    data: Data,
    label: Label,
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    group: Annotated[
        str | None,
        typer.Option(help="Column of what must stay together when samples are held out, such as a compound."),
    ] = None,
    unlabelled: Unlabelled = None,
    ignore: Ignore = None,
    like: Like = None,
    hold_out: HoldOut = None,
    on_disk: OnDisk = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a fit into the same run folder was stopped or killed.")
    ] = False,
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html, the page of the run.")
    ] = True,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train on labelled data and write a run folder."""
    from svqvae.progress import spinner

    with spinner(not quiet, "reading"):
        from svqvae.data.stored import open_table
        from svqvae.fitting.run_folder import run_files
        from svqvae.jobs.fit import drop_features, fit_run
        from svqvae.progress import is_first

        adata = drop_features(open_table(data, label=label, group=group, on_disk=on_disk), ignore or [])
    quiet |= not is_first()
    if not (quiet or as_json or resume) and any(path.is_file() for path in run_files(out)):
        say(f"{out} holds a run, which the new one will replace.")
    settings = settings_of(settings, like, hold_out, "image_shape" in adata.uns)
    settings |= {"random_state": seed, "verbose": not quiet}
    others = _read_unlabelled(unlabelled, group, ignore)
    run = fit_run(adata, label, group, out, settings, command_line(context), others, resume)
    if not is_first():
        return
    if not (quiet or as_json):
        notes = [] if ANNOTATED & set(data.suffixes) else adata.obs.columns.drop([label, *([group] if group else [])])
        _print_fit(adata, run, group, notes)
        say(f"Run: {out}")
    page = None
    if with_report:
        page = try_report(lambda progress: run.report(out, progress), out, quiet)
    if as_json:
        sizes = {"n_samples": adata.n_obs, "n_features": adata.n_vars, "n_classes": len(run.fitted.classes)}
        figures = {name: quality.to_dict() for name, quality in run.qualities.items()}
        files = [*run_files(out, "metrics.json"), *(report_files(out) if page else [])]
        print_json({"files": files, **sizes, "n_epochs": run.fitted.n_iter, "metrics": figures})
    elif page is not None and not quiet:
        print_verdict(page)


def _read_unlabelled(path: Path | None, group: str | None, ignore: list[str] | None) -> "AnnData | None":
    """Return the samples without a class, if any; they need the column that says which should be alike."""
    from svqvae.data.tables import read_table
    from svqvae.jobs.fit import drop_features

    if path is None:
        return None
    if group is None:
        raise ValueError(
            "`--group` must be given with `--unlabelled`: it says which samples should be alike, such as a compound's."
        )
    return drop_features(read_table(path, group=group), ignore or [])


def _print_fit(adata: "AnnData", run: "FittedRun", group: str | None, notes: "Collection[str]") -> None:
    from svqvae.wording import list_some

    say(f"{adata.n_obs} samples, {len(run.fitted.classes)} classes, {run.fitted.n_iter} epochs.")
    say(f"{adata.n_vars} features: {list_some(adata.var_names)}")
    if len(notes):
        say(f"Columns of text, which are no features: {list_some(notes)}")
    for name, quality in run.qualities.items():
        print_quality(TITLES[name], quality)
    if "held_out" not in run.qualities:
        unused = f", and --group {group} was of no use" if group else ""
        say(f"No samples were held out{unused}: new samples will not do as well as the training samples.")


@commands.command(epilog="Example: svqvae evaluate signatures.h5ad --label pcl --group pert_iname --out quality.json")
@takes_parameters
def evaluate(
    settings: dict[str, Any],
    data: Data,
    label: Label,
    out: Annotated[Path, typer.Option(help="JSON file to write: all figures, class by class and seed by seed.")],
    group: Annotated[
        str | None, typer.Option(help="Column of what must not stand on both sides of a split, such as a compound.")
    ] = None,
    unlabelled: Unlabelled = None,
    ignore: Ignore = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Parts of the data, each held out once.", show_default="5, or a group each where fewer are"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Cross-validations, each with its own folds.")] = 3,
    jobs: Annotated[
        int, typer.Option(help="Folds at the same time, each in a process of its own; -1 is one for each core.")
    ] = -1,
    like: Like = None,
    hold_out: HoldOut = None,
    on_disk: OnDisk = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell how well classes are recognised in samples not seen, beside plain classifiers on the same folds."""
    from svqvae.progress import part_bars, spinner

    if jobs != -1 and jobs < 1:
        raise ValueError(f"`--jobs` must be 1 or more, or -1 for one for each core; got {jobs}.")
    if seeds < 1:
        raise ValueError(f"`--seeds` must be 1 or more; got {seeds}.")
    with spinner(not quiet, "reading"):
        from svqvae.data.stored import open_table
        from svqvae.jobs.evaluate import evaluate_model
        from svqvae.jobs.fit import drop_features

        adata = drop_features(open_table(data, label=label, group=group, on_disk=on_disk), ignore or [])
    settings = settings_of(settings, like, hold_out, "image_shape" in adata.uns)
    others = _read_unlabelled(unlabelled, group, ignore)
    if folds is None:
        folds = min(DEFAULT_FOLDS, adata.n_obs if group is None else adata.obs[group].nunique())
    with part_bars(not quiet) as progress:
        found = evaluate_model(
            adata,
            label,
            group,
            out,
            settings,
            n_folds=folds,
            n_seeds=seeds,
            n_jobs=jobs,
            unlabelled=others,
            on_fit=progress("folds"),
        )
    if as_json:
        figures = {"n_samples": adata.n_obs, "n_folds": folds, "n_seeds": seeds, "methods": found.to_dict()}
        figures |= {"n_near_duplicates": found.n_near_duplicates, "n_plain": found.n_plain}
        print_json({"files": [out], **figures, "verdict": verdict(found)})
    elif not quiet:
        apart = f", each {group} on one side" if group else ""
        print_comparison(found, f"{adata.n_obs} samples held out in {folds} folds{apart}")
        say(f"Figures: {out}")
