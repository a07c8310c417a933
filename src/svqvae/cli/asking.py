"""Commands that ask a run: annotate, classes, profile, simulate, query."""

from pathlib import Path
from typing import Annotated

import typer

from svqvae.cli.options import AsJson, ClassName, Data, Quiet, Run, Seed
from svqvae.cli.printing import N_SHOWN, agreement_range, print_agreement, print_json, print_nearest, print_ranking, say

commands = typer.Typer()


@commands.command(epilog="Example: svqvae annotate run new.h5ad --out classes.csv")
def annotate(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            help=".csv to write: sample, class, probability, set, novelty_p, is_unknown; or .h5ad: the data with "
            "latents and all of these, for scanpy."
        ),
    ],
    unknown: Annotated[
        float, typer.Option(help="Largest novelty_p of samples that are said to be of no known class.")
    ] = 0.05,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Name the class of each sample of new data, and tell how sure that is."""
    from svqvae.cli.printing import print_annotated
    from svqvae.progress import spinner

    if not 0 <= unknown <= 1:
        raise ValueError(f"`--unknown` must be from 0 to 1; got {unknown:g}.")
    with spinner(not quiet, "annotating"):
        from svqvae.data.stored import open_table
        from svqvae.jobs.annotate import annotate_samples

        table, covers = annotate_samples(run, open_table(data), out, unknown)
    if as_json:
        counts = table["class"].value_counts().rename_axis("class").reset_index(name="n_samples")
        n_unknown = None if table["is_unknown"].isna().any() else int(table["is_unknown"].sum())
        found = {"n_samples": len(table), "n_unknown": n_unknown, "is_calibrated": covers, "classes": counts}
        print_json({"files": [out], **found})
    elif not quiet:
        print_annotated(table, unknown, covers)
        say(f"Classes: {out}")


@commands.command(epilog="Example: svqvae classes run --out relations")
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
    as_json: AsJson = False,
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
    metric = metric or atlas.default_metric
    if as_json:
        low, high = agreement_range(found["agreement"], metric, space)
        agreement = {"same_nearest_min": low, "same_nearest_max": high}
        print_json(
            {"files": found["files"], "metric": metric, "space": space, "nearest": found["nearest"], **agreement}
        )
    elif not quiet:
        print_nearest(found["nearest"])
        print_agreement(found["agreement"], metric, space)
        say(f"Relations: {out}")


@commands.command(epilog="Example: svqvae profile run CP_MEK_INHIBITOR --versus CP_RAF_INHIBITOR --out mek_raf.csv")
def profile(
    run: Run,
    name: ClassName,
    out: Annotated[Path, typer.Option(help=".csv (all figures), .rnk (ranking) or .gmt (gene sets up and down).")],
    versus: Annotated[
        str | None, typer.Option(help="The class to compare with.", show_default="all other samples")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write what is typical of a class, feature by feature, with intervals, p- and q-values."""
    from svqvae.progress import spinner

    with spinner(not quiet, "comparing"):
        from svqvae.atlas.atlas import ClassAtlas
        from svqvae.atlas.exports import check_contrast_path, write_contrast

        check_contrast_path(out)
        atlas = ClassAtlas.load(run)
        table = atlas.profile(name) if versus is None else atlas.contrast(name, versus)
        write_contrast(table, out, name if versus is None else f"{name} versus {versus}")
    sure = table[table["q"] <= 0.05]
    n_up, n_down = int((sure["t"] > 0).sum()), int((sure["t"] < 0).sum())
    if as_json:
        found = {"n_features": len(table), "n_up": n_up, "n_down": n_down, "agreement": table.attrs["agreement"]}
        print_json({"files": [out], "class": name, "versus": versus, **found})
    elif not quiet:
        if atlas.profile_spread is None:
            say(f"{len(table)} features, without intervals, p- and q-values: the spread within classes is not known.")
        else:
            say(f"{len(sure)} of {len(table)} features differ at q <= 0.05: {n_up} up, {n_down} down.")
            say(f"Correlation with the plain difference of class means: {table.attrs['agreement']:.3f}")
        say(f"Profile: {out}")


@commands.command(epilog="Example: svqvae simulate run CP_HDAC_INHIBITOR -n 500 --out simulated.h5ad")
def simulate(
    run: Run,
    name: ClassName,
    n: Annotated[int, typer.Option("-n", help="Number of samples.")],
    out: Annotated[Path, typer.Option(help="File to write: .h5ad, .gctx, .gct or .csv.")],
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate samples of a class."""
    from svqvae.progress import spinner

    with spinner(not quiet, "simulating"):
        from svqvae.jobs.simulate import simulate_samples

        n_features = simulate_samples(run, name, n, out, seed)
    if as_json:
        print_json({"files": [out], "class": name, "n_samples": n, "n_features": n_features})
    elif not quiet:
        say(f"{n} samples of {name} with {n_features} features: {out}")


@commands.command(epilog="Example: svqvae query run signatures.h5ad --by cell_id --out ranking.csv")
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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank the classes for each signature, or for sets of genes up and down, with how unusual the scores are."""
    from svqvae.jobs.query import query_signatures
    from svqvae.progress import part_bars

    with part_bars(not quiet) as progress:
        answer = query_signatures(
            run, signatures, out, background=background, by=by, method=method, top=top, seed=seed, progress=progress
        )
    if as_json:
        tables = {"ranking": answer.ranking, "groups": answer.groups}
        best = {key: None if table is None else table[table["rank"] <= N_SHOWN] for key, table in tables.items()}
        print_json({"files": answer.files, "notes": answer.notes, **best})
    elif not quiet:
        print_ranking(answer.ranking if answer.groups is None else answer.groups)
        for note in answer.notes:
            say(note)
        for file in answer.files:
            say(f"Ranking: {file}")
