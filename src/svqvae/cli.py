"""The command line: parse, check, call, print. What is said here is said by the rooms below."""

import logging
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from svqvae.printing import (
    print_agreement,
    print_comparison,
    print_nearest,
    print_quality,
    print_ranking,
    print_verdict,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from svqvae.report.page import Report
    from svqvae.reporting import Progress

app = typer.Typer(
    help="Learn one code per class and one latent vector per sample from labelled data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

DATA_HELP = ".h5ad, .gctx, .gct, .csv, .tsv, .parquet, or a folder of IDX image files (label column: label)."
Data = Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False)]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `svqvae fit` wrote.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed; the same seed gives the same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Label = Annotated[str, typer.Option(help="Column that holds the class of each sample.")]
Ignore = Annotated[
    list[str] | None, typer.Option(help="Column of numbers that is no feature, such as age; may be repeated.")
]
Objective = Annotated[str, typer.Option(help="prototype, published or vqvae.")]
Likelihood = Annotated[
    str, typer.Option(help="auto, gaussian, bounded, bernoulli, or negative_binomial for raw counts.")
]
Geometry = Annotated[str, typer.Option(help="euclidean or cosine.")]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the data.", show_default="25 to 100, for about 2,000 steps")
]

TITLES = {"training": "Training samples", "held_out": "Samples held out to watch training"}


@app.command(epilog="Example: svqvae demo --out demo")
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the run and the picture.")] = Path("demo"),
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train on scikit-learn's handwritten digits and show what came out. Takes less than a minute."""
    from svqvae.demo import run_demo
    from svqvae.progress import part_bars

    with part_bars(not quiet) as progress:
        quality, page = run_demo(out, seed, verbose=not quiet, command=_command(context), progress=progress)
    if not quiet:
        print_quality("Held-out digits", quality)
        say(f"Picture: {out / 'digits.png'}    Run: {out}")
        print_verdict(page)


@app.command(epilog="Example: svqvae fit signatures.h5ad --label pcl --group pert_iname --out run")
def fit(
    context: typer.Context,
    data: Data,
    label: Label,
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    group: Annotated[
        str | None,
        typer.Option(help="Column of what must stay together when samples are held out, such as a compound."),
    ] = None,
    ignore: Ignore = None,
    objective: Objective = "prototype",
    architecture: Annotated[
        str | None, typer.Option(help="dense or conv.", show_default="conv for images, else dense")
    ] = None,
    latent_dim: Annotated[int, typer.Option(help="Number of latent dimensions.")] = 256,
    likelihood: Likelihood = "auto",
    geometry: Geometry = "euclidean",
    epochs: Epochs = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples a step.", show_default="a twentieth of the data, 16 to 256")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="Number of devices; 1 in this version.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, 64-true, bf16-mixed or 16-mixed.")] = "32-true",
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html, the page of the run.")
    ] = True,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train on labelled data and write a run folder."""
    from svqvae.data.tables import read_table
    from svqvae.data.text import list_some
    from svqvae.jobs import drop_features, fit_run
    from svqvae.reporting import report_fit

    adata = drop_features(read_table(data, label=label, group=group), ignore or [])
    if architecture is None:
        architecture = "conv" if "image_shape" in adata.uns else "dense"
    settings = {
        "objective": objective,
        "architecture": architecture,
        "latent_dim": latent_dim,
        "likelihood": likelihood,
        "geometry": geometry,
        "n_epochs": epochs,
        "batch_size": batch_size,
        "accelerator": accelerator,
        "devices": devices,
        "precision": precision,
        "random_state": seed,
        "verbose": not quiet,
    }
    model, qualities = fit_run(adata, label, group, out, settings, _command(context))
    if not quiet:
        say(f"{adata.n_obs} samples, {len(model.classes_)} classes, {model.n_iter_} epochs.")
        say(f"{adata.n_vars} features: {list_some(adata.var_names)}")
        for name, quality in qualities.items():
            print_quality(TITLES[name], quality)
        if "held_out" not in qualities:
            unused = f", and --group {group} was of no use" if group else ""
            say(f"No samples were held out{unused}: new samples will not do as well as the training samples.")
        say(f"Run: {out}")
    if with_report:
        _report_fit(lambda progress: report_fit(model, adata, label, out, qualities, progress), out, quiet)


@app.command(epilog="Example: svqvae report run --data signatures.h5ad --label pcl")
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
    quiet: Quiet = False,
) -> None:
    """Write report.html, a page that shows a run, and report.json, all numbers on it, into the run folder."""
    from svqvae.progress import part_bars
    from svqvae.reporting import report_run

    with part_bars(not quiet) as progress:
        page = report_run(run, data, label, progress)
    if not quiet:
        print_verdict(page)


@app.command(epilog="Example: svqvae evaluate signatures.h5ad --label pcl --group pert_iname --out quality.json")
def evaluate(
    data: Data,
    label: Label,
    out: Annotated[Path, typer.Option(help="JSON file to write: all figures, class by class and seed by seed.")],
    group: Annotated[
        str | None, typer.Option(help="Column of what must not stand on both sides of a split, such as a compound.")
    ] = None,
    ignore: Ignore = None,
    folds: Annotated[int, typer.Option(help="Parts of the data, each held out once.")] = 5,
    seeds: Annotated[int, typer.Option(help="Cross-validations, each with its own folds.")] = 3,
    objective: Objective = "prototype",
    likelihood: Likelihood = "auto",
    geometry: Geometry = "euclidean",
    epochs: Epochs = None,
    quiet: Quiet = False,
) -> None:
    """Tell how well classes are recognised in samples not seen, beside plain classifiers on the same folds."""
    from svqvae.data.tables import read_table
    from svqvae.jobs import drop_features, evaluate_model
    from svqvae.progress import part_bars

    if seeds < 1:
        raise ValueError(f"`--seeds` must be 1 or more; got {seeds}.")
    adata = drop_features(read_table(data, label=label, group=group), ignore or [])
    settings = {
        "architecture": "conv" if "image_shape" in adata.uns else "dense",
        "objective": objective,
        "likelihood": likelihood,
        "geometry": geometry,
        "n_epochs": epochs,
    }
    with part_bars(not quiet) as progress:
        found = evaluate_model(
            adata, label, group, out, settings, n_folds=folds, n_seeds=seeds, on_fit=progress("folds")
        )
    if not quiet:
        apart = f", each {group} on one side" if group else ""
        print_comparison(found, f"{adata.n_obs} samples held out in {folds} folds{apart}")
        say(f"Figures: {out}")


@app.command(epilog="Example: svqvae annotate run new.h5ad --out classes.csv")
def annotate(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            help=".csv to write: sample, class, probability; or .h5ad: the data with latents and classes, for scanpy."
        ),
    ],
    quiet: Quiet = False,
) -> None:
    """Name the class of each sample of new data. The probabilities are not calibrated."""
    from svqvae.data.tables import read_table
    from svqvae.jobs import annotate_samples

    table = annotate_samples(run, read_table(data), out)
    if not quiet:
        say(f"{len(table)} samples annotated: {out}")


@app.command(epilog="Example: svqvae classes run --out relations")
def classes(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder to write: distances.csv, nearest.csv, pairs.csv, network.graphml, tree.nwk and more."
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(help="mahalanobis, euclidean, cosine or correlation.", show_default="mahalanobis"),
    ] = None,
    space: Annotated[str, typer.Option(help="profile (decoded codes) or code.")] = "profile",
    resamples: Annotated[int, typer.Option(help="Resamples for the support of each relation; 0 for none.")] = 1000,
    refit: Annotated[
        list[Path] | None,
        typer.Option(help="Run of the same data with another seed, for how often relations return; may be repeated."),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write how classes relate, with how sure that is: nearest classes, network, tree."""
    from svqvae.atlas.atlas import ClassAtlas
    from svqvae.atlas.exports import write_relations
    from svqvae.progress import part_bars

    if resamples < 0:
        raise ValueError(f"`--resamples` must be 0 or more; got {resamples}.")
    atlas = ClassAtlas.load(run)
    with part_bars(not quiet) as progress:
        found = write_relations(
            atlas,
            out,
            metric,
            space,
            n_resamples=resamples,
            random_state=seed,
            refits=[ClassAtlas.load(folder) for folder in refit or []],
            progress=progress,
        )
    if not quiet:
        print_nearest(found["nearest"])
        print_agreement(found["agreement"], metric or atlas.default_metric, space)
        say(f"Relations: {out}")


@app.command(epilog="Example: svqvae profile run CP_MEK_INHIBITOR --versus CP_RAF_INHIBITOR --out mek_raf.csv")
def profile(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="A class.", show_default=False)],
    out: Annotated[Path, typer.Option(help=".csv (all figures), .rnk (ranking) or .gmt (gene sets up and down).")],
    versus: Annotated[
        str | None, typer.Option(help="The class to compare with.", show_default="all other samples")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write what is typical of a class, feature by feature, with intervals, p- and q-values."""
    from svqvae.atlas.atlas import ClassAtlas
    from svqvae.atlas.exports import check_contrast_path, write_contrast

    check_contrast_path(out)
    atlas = ClassAtlas.load(run)
    table = atlas.profile(name) if versus is None else atlas.contrast(name, versus)
    write_contrast(table, out, name if versus is None else f"{name} versus {versus}")
    if not quiet:
        sure = table[table["q"] <= 0.05]
        if atlas.profile_spread is None:
            say(f"{len(table)} features, without intervals, p- and q-values: the spread within classes is not known.")
        else:
            say(
                f"{len(sure)} of {len(table)} features differ at q <= 0.05: {(sure['t'] > 0).sum()} up, "
                f"{(sure['t'] < 0).sum()} down."
            )
            say(f"Correlation with the plain difference of class means: {table.attrs['agreement']:.3f}")
        say(f"Profile: {out}")


@app.command(
    epilog="Example: svqvae l1000 *.gctx --sig-info sig_info.txt --pcl pcl.csv --exclude MG-132 --out signatures.h5ad"
)
def l1000(
    files: Annotated[
        list[Path], typer.Argument(metavar="GCTX...", help="GCTX or GCT files of level 4 or 5.", show_default=False)
    ],
    sig_info: Annotated[Path, typer.Option(help="Table of the signatures: sig_id, pert_id, cell_id and more.")],
    pcl: Annotated[
        Path, typer.Option(help="Classes of the compounds: two columns, a column named pcl, a wide form, or .gmt.")
    ],
    out: Annotated[Path, typer.Option(help=".h5ad file to write; the class is in the column pcl.")],
    gene_info: Annotated[
        Path | None, typer.Option(help="Table of the genes.", show_default="the 978 landmark genes")
    ] = None,
    cells: Annotated[
        list[str] | None, typer.Option(help="Cell lines, apart by commas; may be repeated.", show_default="all")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Compound to leave out, by name or id; may be repeated.")
    ] = None,
    multiple: Annotated[
        str, typer.Option(help="What becomes of compounds of several classes: drop, first or duplicate.")
    ] = "drop",
    min_per_class: Annotated[int, typer.Option(help="Signatures that a class must have.")] = 1,
    min_compounds: Annotated[int, typer.Option(help="Compounds that a class must have.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Bring L1000 signatures and the perturbagen classes of their compounds together, and say what was left out."""
    from svqvae.data.l1000 import Selection
    from svqvae.jobs import prepare_signatures
    from svqvae.progress import part_bars

    lines = tuple(cell.strip() for text in cells or [] for cell in text.split(",") if cell.strip())
    selection = Selection(lines, tuple(exclude or ()), multiple, min_per_class, min_compounds)
    with part_bars(not quiet) as progress:
        told = prepare_signatures(
            files, sig_info, pcl, out, gene_info=gene_info, selection=selection, on_read=progress("reading")
        )
    if not quiet:
        for sentence in told:
            say(sentence)
        say(f"Signatures: {out}")


@app.command(epilog="Example: svqvae import-published saved --names pcl_names.csv --genes landmark_genes.tsv --out run")
def import_published(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of S_VQ_VAE_encode.pth, S_VQ_VAE_embedding.pth and S_VQ_VAE_decode.pth.",
            show_default=False,
        ),
    ],
    names: Annotated[Path, typer.Option(help="Table of the classes: columns index (row of the code) and pcl.")],
    genes: Annotated[
        Path,
        typer.Option(
            help="Table of the genes in the order of the network's inputs: column pr_gene_symbol, else the first."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled signatures of all classes, to measure counts, spread and density on."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the data that holds the class.")] = None,
    quiet: Quiet = False,
) -> None:
    """Make a run folder of the authors' trained LINCS model. Its files are read as data; nothing in them is run."""
    from svqvae.published import import_run
    from svqvae.reporting import report_run

    model, quality = import_run(folder, names, genes, out, data, label, _command(context))
    if not quiet:
        say(f"{len(model.classes_)} classes, {model.n_features_in_} genes, {model.latent_dim} latent dimensions.")
        if quality is not None:
            print_quality("Samples given", quality)
        else:
            say("Without samples there are no supports, intervals or simulation: give them with --data and --label.")
        say(f"Run: {out}")
    _report_fit(lambda progress: report_run(out, data, label, progress), out, quiet)


@app.command(epilog="Example: svqvae simulate run CP_HDAC_INHIBITOR -n 500 --out simulated.h5ad")
def simulate(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="A class.", show_default=False)],
    n: Annotated[int, typer.Option("-n", help="Number of samples.")],
    out: Annotated[Path, typer.Option(help="File to write: .h5ad, .gctx, .gct or .csv.")],
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate samples of a class."""
    from svqvae.jobs import simulate_samples

    n_features = simulate_samples(run, name, n, out, seed)
    if not quiet:
        say(f"{n} samples of {name} with {n_features} features: {out}")


@app.command(epilog="Example: svqvae query run signatures.h5ad --by cell_id --out ranking.csv")
def query(
    run: Run,
    signatures: Annotated[
        Path,
        typer.Argument(
            metavar="SIGNATURES",
            help="Data, features matched by name; or gene sets, .gmt, where X up and X down make one query.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write: query, class, rank, score, tau.")],
    background: Annotated[
        Path | None,
        typer.Option(
            help="Other signatures (or gene sets) that tell how unusual a score is.",
            show_default="SIGNATURES, from 50 on; random gene sets",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of SIGNATURES, such as cell line, to summarise by, in a second file.")
    ] = None,
    method: Annotated[str, typer.Option(help="code (latents with codes) or profile (features; may be part).")] = "code",
    top: Annotated[int | None, typer.Option(help="Classes to keep for each query.", show_default="all")] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Rank the classes for each signature, or for sets of genes up and down, with how unusual the scores are."""
    from svqvae.progress import part_bars
    from svqvae.querying import query_signatures

    with part_bars(not quiet) as progress:
        answer = query_signatures(
            run, signatures, out, background=background, by=by, method=method, top=top, seed=seed, progress=progress
        )
    if not quiet:
        print_ranking(answer.ranking if answer.groups is None else answer.groups)
        for note in answer.notes:
            say(note)
        for file in answer.files:
            say(f"Ranking: {file}")


def _command(context: typer.Context) -> str:
    """Return the command as it was given."""
    return shlex.join(["svqvae", *(context.obj or [])])


def _report_fit(write: "Callable[[Progress], Report]", run: Path, quiet: bool) -> None:
    """Write the page of a run that is saved already: what goes wrong here must not cost the run."""
    from svqvae.progress import part_bars

    try:
        with part_bars(not quiet) as progress:
            page = write(progress)
    except Exception as error:
        _show_warning(f"The report was not written: {error} The run is whole; `svqvae report {run}` tries again.")
        return
    if not quiet:
        print_verdict(page)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"svqvae: warning: {message}", file=sys.stderr)  # noqa: T201


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; a mistake in the input ends with one sentence on standard error and status 2."""
    warnings.showwarning = _show_warning
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        status: Any = app(args=given, standalone_mode=False, obj=given)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"svqvae: {error}", file=sys.stderr)  # noqa: T201
        status = 2
    except KeyboardInterrupt:
        print("svqvae: stopped.", file=sys.stderr)  # noqa: T201
        status = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if message := error.format_message():
            print(f"svqvae: {message}", file=sys.stderr)  # noqa: T201
        status = getattr(error, "exit_code", 2)
    sys.exit(status if isinstance(status, int) else 0)
