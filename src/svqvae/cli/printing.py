"""What the commands print: tables and plain lines on standard output."""

import json
import sys
from typing import TYPE_CHECKING, Any

from svqvae.wording import plain

if TYPE_CHECKING:
    import pandas as pd

    from svqvae.evaluation.cross_validation import Comparison
    from svqvae.evaluation.quality import Quality
    from svqvae.report.page import Report

N_SHOWN = 10
# Queries shown, and the least classes of each.
N_QUERIES, N_EACH = 5, 3


def print_nearest(nearest: "pd.DataFrame") -> None:
    """Print the surest nearest classes, or those of the least distance where there is no support."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    surest = nearest.sort_values(["support", "distance"], ascending=[False, True], kind="stable").head(N_SHOWN)
    which = "surest" if nearest["support"].notna().any() else "closest"
    table = Table(title=f"Nearest classes, the {which} {len(surest)} of {len(nearest)}", title_justify="left")
    for column, justify in (("class", "left"), ("nearest", "left"), ("distance", "right"), ("support", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, partner, distance, support in surest.iloc[:, :4].astype(object).to_numpy():
        table.add_row(
            escape(str(name)), escape(str(partner)), f"{distance:.3g}", "" if support != support else f"{support:.2f}"
        )
    Console(emoji=False, width=None if sys.stdout.isatty() else 100).print(table)


def print_annotated(table: "pd.DataFrame", unknown: float, covers: bool) -> None:
    """Say how many samples got a class, how many are like none, and what the sets of classes promise."""
    say(f"{len(table)} samples annotated.")
    if table["is_unknown"].isna().any():
        say("The run knows no samples: it cannot tell which of these are unlike all of its classes.")
    else:
        n_unknown = int(table["is_unknown"].sum())
        say(f"{n_unknown} are unlike all known classes (novelty_p <= {unknown:g}); {unknown:.0%} would be by chance.")
    size = (table["set"].str.count("[|]") + 1).mean() if len(table) else float("nan")
    if covers:
        say(f"Sets of classes, {size:.1f} on average, hold the right one for 90 % of samples of the known classes.")
    else:
        say(
            f"Sets of classes, {size:.1f} on average, add up to 90 % of a probability that is not calibrated: the fit "
            "held no samples out, as `svqvae fit --hold-out 0.2` does."
        )


def print_agreement(agreement: "pd.DataFrame", metric: str, space: str) -> None:
    """Say how far other metrics and the other space agree."""
    low, high = agreement_range(agreement, metric, space)
    say(
        f"Other metrics and spaces name the same nearest class for {low:.0%} to {high:.0%} of classes: "
        "see agreement.csv."
    )


def agreement_range(agreement: "pd.DataFrame", metric: str, space: str) -> tuple[float, float]:
    """Return the least and the largest share of classes whose nearest class other metrics and spaces name too."""
    others = agreement[(agreement["metric"] != metric) | (agreement["space"] != space)]
    return float(others["same_nearest"].min()), float(others["same_nearest"].max())


def print_ranking(ranking: "pd.DataFrame") -> None:
    """Print the best classes of the first queries, or of the first groups of a summary."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    first, number = str(ranking.columns[0]), "quantile" if "quantile" in ranking else "score"
    names = ranking[first].unique()[:N_QUERIES]
    n_each = max(N_EACH, N_SHOWN // len(names))
    shown = ranking[ranking[first].isin(names) & (ranking["rank"] <= n_each)]
    table = Table(title=f"Best classes of the first {len(names)}" if len(names) > 1 else None, title_justify="left")
    for column, justify in ((first, "left"), ("class", "left"), (number, "right"), ("tau", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    before = None
    for name, class_name, score, tau in shown[[first, "class", number, "tau"]].astype(object).to_numpy():
        said = "" if name == before else escape(str(name))
        table.add_row(said, escape(str(class_name)), f"{score:.3f}", "" if tau != tau else f"{tau:.1f}")
        before = name
    Console(emoji=False, width=None if sys.stdout.isatty() else 100).print(table)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    from rich.console import Console

    Console(emoji=False, soft_wrap=True, highlight=False).print(text, markup=False)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; what is not known, NaN elsewhere, is null."""
    print(json.dumps(plain(document), indent=2, allow_nan=False))  # noqa: T201


def print_verdict(report: "Report") -> None:
    """Print the verdict of a page in three lines, and where the page is."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(emoji=False, width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(Text("Verdict", style="bold"))
    for sentence in report.verdict:
        console.print(Padding(Text(sentence), (0, 0, 0, 2)))
    say(f"Report: {report.page}")


def print_quality(title: str, quality: "Quality") -> None:
    """Print the figures of a model beside their baselines."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title} ({quality.n_samples} samples)", title_justify="left")
    for name, justify in (("", "left"), ("svqvae", "right"), ("baseline", "right"), ("what the baseline is", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    q = quality
    rows: list[tuple[str, float, float, str]] = [
        ("accuracy", q.accuracy, q.accuracy_class_means, "nearest class mean"),
        ("class reconstruction", q.class_reconstruction, q.class_reconstruction_means, "table of class means"),
        ("sample reconstruction", q.sample_reconstruction, q.class_reconstruction_means, "table of class means"),
    ]
    for name, ours, baseline, what in rows:
        table.add_row(name, f"{ours:.4f}", f"{baseline:.4f}", what)
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print("Reconstruction: mean squared error on the scale the model works on; lower is better.", style="dim")


def print_comparison(found: "Comparison", title: str) -> None:
    """Print the figures of all methods, mean ± standard deviation over seeds, the best of each in bold."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    methods = found.to_dict()
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    columns = []
    for figure, best in (("accuracy", max), ("balanced_accuracy", max), ("macro_f1", max), ("profile_error", min)):
        table.add_column(figure.replace("_", " "), justify="right")
        means = {name: figures[figure]["mean"] for name, figures in methods.items() if figure in figures}
        winner = best(means.values(), default=None)
        columns.append([_cell(figures.get(figure), means.get(name) == winner) for name, figures in methods.items()])
    for name, *cells in zip(methods, *columns, strict=True):
        table.add_row(name, *cells)
    console = Console(emoji=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(
        "Profile error: mean squared difference to the mean of held-out samples; lower is better.", style="dim"
    )
    if found.n_plain is not None:
        console.print(f"The plain classifiers were fitted on {found.n_plain:,} training samples, drawn at random.")
    say(verdict(found))


def verdict(found: "Comparison") -> str:
    """Return in a sentence how far the model is from the best baseline: mean and spread of each seed's difference."""
    runs = found.runs.pivot_table(index="seed", columns="method", values="accuracy")
    others = runs.drop(columns="svqvae")
    rival = str(others.mean().idxmax())
    gaps = runs["svqvae"] - others[rival]
    spread = f" ± {gaps.std():.3f} over {len(gaps)} seeds" if len(gaps) > 1 else " with one seed"
    mean = float(gaps.mean())
    if abs(mean) < 5e-4:
        return f"svqvae is as accurate as the best baseline, {rival}: a difference of {abs(mean):.3f}{spread}."
    more = "more" if mean > 0 else "less"
    return f"svqvae is {more} accurate than the best baseline, {rival}, by {abs(mean):.3f}{spread}."


def _cell(figures: dict[str, Any] | None, is_best: bool) -> str:
    if figures is None:
        return ""
    text = f"{figures['mean']:.3f}" + ("" if figures["std"] is None else f" ± {figures['std']:.3f}")
    return f"[bold]{text}[/]" if is_best else text
