"""The README's table of measured figures, from the CSVs in results/.

Prints the table; with `--write`, puts it into README.md in the place of the table there.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "benchmarks" / "results", ROOT / "README.md"
HEAD = "| question | svqvae | beside | script in `benchmarks/` |\n|---|---|---|---|\n"


def spread(values: pd.Series, digits: int = 3) -> str:
    """Return mean ± standard deviation."""
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def picked(name: str, **wanted: str | float) -> pd.DataFrame:
    """Return the rows of a CSV that hold these values."""
    table = pd.read_csv(RESULTS / f"{name}.csv")
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def digits() -> list[tuple[str, str, str]]:
    """Return how well the default model does on MNIST."""
    table = picked("default_mnist")
    error = spread(table["sample_reconstruction"], 4)
    return [
        ("Are MNIST's test digits recognised? Accuracy", spread(table["accuracy"], 4), "0.820, nearest class mean"),
        ("Are they regenerated? Mean squared error", error, "0.2117, a table of class means"),
    ]


def published() -> list[tuple[str, str, str]]:
    """Return how well the published model does on MNIST."""
    table = picked("published_mnist")
    last = table.loc[table.groupby("seed")["epoch"].idxmax(), "test_accuracy"]
    return [("Does the published model come out as published? Accuracy", spread(last), "0.826")]


def truth() -> list[tuple[str, str, str]]:
    """Return what the atlas finds of planted classes."""
    table = picked("atlas_truth")
    plain = spread(table["clades missing plain correlation"])
    return [
        (
            "Is the tree of 30 planted classes found? Clades it lacks",
            spread(table["clades missing atlas"]),
            f"{plain}, plain class means",
        ),
        ("Do intervals of 95 % cover the truth?", spread(table["coverage"]), "0.95"),
        (
            "Are rare classes shown better? Squared error of profiles",
            spread(table["rare error over plain"], 2),
            "1, plain class means",
        ),
    ]


def drug_classes() -> list[tuple[str, str, str]]:
    """Return how well drug classes of new compounds are recognised, beside the best of the plain methods."""
    table = picked("drug_classes")
    ours = table["method"].str.contains("svqvae|published")
    means = table[~ours].groupby("method")["accuracy"].mean()
    best = table.loc[table["method"] == means.idxmax(), "accuracy"]
    name = str(means.idxmax()).split(",")[0]
    own = table.loc[table["method"] == "svqvae, with unlabelled signatures", "accuracy"]
    question = "Are drug classes of compounds not seen recognised (A375)? Accuracy, `--unlabelled`"
    return [(question, spread(own), f"{spread(best)}, {name}")]


def simulation() -> list[tuple[str, str, str]]:
    """Return whether a forest tells simulated cells from real ones."""
    table = picked("simulation", data="blood cells").set_index("simulated by")["detected"]
    plain = spread(table.loc["resampled rows"])
    return [
        (
            "Can simulated cells be told from real ones?",
            f"{spread(table.loc['svqvae'])}: yes",
            f"{plain}, cells drawn again",
        )
    ]


def confidence() -> list[tuple[str, str, str]]:
    """Return how often sets of classes hold the right one."""
    table = picked("confidence", data="blood cells", samples="a fifth held out")
    sets = f"{spread(table['coverage'])} of {table['set_size'].mean():.1f} types"
    question = "Do sets of cell types hold the right one, asked 0.9? `fit --hold-out 0.2`"
    return [(question, sets, f"{table['accuracy'].mean():.3f}, the nearest code alone")]


def size() -> list[tuple[str, str, str]]:
    """Return what GSE70138 takes."""
    run = picked("gse70138_size").iloc[0]
    ours = f"{run['seconds']:.0f} s, {run['peak_gb']:.1f} GB"
    return [("Does GSE70138 fit into memory? `svqvae l1000`", ours, f"{run['file_gb']} GB of files")]


def speed() -> list[tuple[str, str, str]]:
    """Return how much faster than the notebooks' loop the published networks train."""
    table = picked("speed", part="lincs", method="svqvae published").sort_values("ratio")
    single, auto = (table[table["precision"] == precision] for precision in ("32-true", "auto"))
    plain, first, best = single[single["batch"] == 256].iloc[0], auto[auto["batch"] == 256].iloc[0], auto.iloc[-1]
    ours = f"{plain['ratio']:.1f} ×; with `--precision auto`, {first['used']}, {first['ratio']:.1f} × "
    ours += f"({first['ratio_min']:.1f} to {first['ratio_max']:.1f}), {best['ratio']:.1f} × in batches of "
    ours += f"{best['batch']:,.0f}"
    return [("How fast are the published networks trained at LINCS's size?", ours, "1, the notebooks' loop")]


def disk() -> list[tuple[str, str, str]]:
    """Return what a fit of a million signatures that stay on disk takes."""
    table = picked("out_of_core")
    most = table.loc[table["n_samples"].idxmax()]
    rates = table.groupby(["n_samples", "place"])["samples_per_second"].median()
    ratio = rates[most["n_samples"], "disk"] / rates[:, "memory"].iloc[0]
    ours = f"{most['peak_gb']:.1f} GB of memory, {ratio:.2f} × the samples a second"
    return [
        (
            "Do a million signatures have to fit into memory? `fit --on-disk`",
            ours,
            "3.9 GB of files; 1, a fifth of them in memory",
        )
    ]


ROWS: dict[str, Callable[[], list[tuple[str, str, str]]]] = {
    "default_mnist.py": digits,
    "published_mnist.py": published,
    "atlas_truth.py": truth,
    "drug_classes.py": drug_classes,
    "simulation.py": simulation,
    "confidence.py": confidence,
    "gse70138_size.py": size,
    "speed.py": speed,
    "out_of_core.py": disk,
}


def render() -> str:
    """Return the table in Markdown."""
    lines = [(*cells, script) for script, rows in ROWS.items() for cells in rows()]
    return HEAD + "".join(f"| {' | '.join(cells)} | `{script}` |\n" for *cells, script in lines)


def main() -> None:
    """Print the table, or put it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="change README.md")
    arguments = parser.parse_args()
    if not arguments.write:
        sys.stdout.write(render())
        return
    text = README.read_text(encoding="utf-8")
    before, after = text.split(HEAD)
    rest = after[after.index("\n\n") + 1 :]
    README.write_text(before + render() + rest, encoding="utf-8")


if __name__ == "__main__":
    main()
