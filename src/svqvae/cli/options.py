"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DATA_HELP = ".h5ad, .zarr, .gctx, .gct, .csv, .tsv, .parquet, or a folder of IDX image files (label column: label)."
Data = Annotated[Path, typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False)]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `svqvae fit` wrote.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, files written and main figures, in place of text.")
]
Label = Annotated[str, typer.Option(help="Column that holds the class of each sample.")]
Unlabelled = Annotated[
    Path | None,
    typer.Option(
        help="Samples without a class, such as those of svqvae l1000 --unlabelled-out: how those of one --group differ "
        "counts less when classes are told apart."
    ),
]
Ignore = Annotated[
    list[str] | None, typer.Option(help="Column of numbers that is no feature, such as age; may be repeated.")
]
OnDisk = Annotated[
    bool | None,
    typer.Option(
        "--on-disk/--in-memory",
        help="Whether the numbers of .h5ad, .zarr and .gctx stay on disk and are read as they are needed.",
        show_default="on disk from 1 GiB of numbers on",
    ),
]
Objective = Annotated[str, typer.Option(help="prototype, published or vqvae.")]
Likelihood = Annotated[
    str, typer.Option(help="auto, gaussian, bounded, bernoulli, or negative_binomial for raw counts.")
]
Geometry = Annotated[str, typer.Option(help="euclidean or cosine.")]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the data.", show_default="25 to 100, for about 2,000 steps")
]
ClassName = Annotated[str, typer.Argument(metavar="CLASS", help="A class.", show_default=False)]
