"""Commands that bring data and models of others in: l1000, import-published."""

from pathlib import Path
from typing import Annotated

import typer

from svqvae.cli.options import AsJson, Quiet
from svqvae.cli.printing import print_json, print_quality, print_verdict, say
from svqvae.cli.reporting import command_line, report_files, try_report

commands = typer.Typer()


@commands.command(
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
    unlabelled_out: Annotated[
        Path | None,
        typer.Option(
            help=".h5ad file to write for signatures left out for their class alone, for --unlabelled of fit and "
            "evaluate.",
            show_default="none",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bring L1000 signatures and the perturbagen classes of their compounds together, and say what was left out."""
    from svqvae.data.l1000 import Selection
    from svqvae.jobs.signatures import prepare_signatures
    from svqvae.progress import part_bars

    lines = tuple(cell.strip() for text in cells or [] for cell in text.split(",") if cell.strip())
    selection = Selection(lines, tuple(exclude or ()), multiple, min_per_class, min_compounds)
    with part_bars(not quiet) as progress:
        told = prepare_signatures(
            files,
            sig_info,
            pcl,
            out,
            gene_info=gene_info,
            selection=selection,
            unlabelled_out=unlabelled_out,
            on_read=progress("reading"),
        )
    if as_json:
        print_json({"files": [out] if unlabelled_out is None else [out, unlabelled_out], "told": told})
    elif not quiet:
        for sentence in told:
            say(sentence)
        say(f"Signatures: {out}")
        if unlabelled_out is not None:
            say(f"Without a class: {unlabelled_out}")


@commands.command(
    epilog="Example: svqvae import-published saved --names pcl_names.csv --genes landmark_genes.tsv --out run"
)
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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a run folder of the authors' trained LINCS model. Its files are read as data; nothing in them is run."""
    from svqvae.progress import spinner

    with spinner(not quiet, "reading"):
        from svqvae.fitting.run_folder import run_files
        from svqvae.jobs.import_published import import_run
        from svqvae.jobs.report import report_run

        fitted, quality = import_run(folder, names, genes, out, data, label, command_line(context))
    page = try_report(lambda progress: report_run(out, data, label, progress), out, quiet)
    if as_json:
        design = fitted.recipe.design
        sizes = {name: getattr(design, name) for name in ("n_classes", "n_features", "latent_dim")}
        figures = None if quality is None else quality.to_dict()
        files = [*run_files(out, "metrics.json"), *(report_files(out) if page else [])]
        print_json({"files": files, **sizes, "samples": figures})
    elif not quiet:
        design = fitted.recipe.design
        say(f"{design.n_classes} classes, {design.n_features} genes, {design.latent_dim} latent dimensions.")
        if quality is not None:
            print_quality("Samples given", quality)
        else:
            say("Without samples there are no supports, intervals or simulation: give them with --data and --label.")
        say(f"Run: {out}")
        if page is not None:
            print_verdict(page)
