"""What the commands print: tables and sentences, and JSON of what there is."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from svqvae.cli.printing import (
    N_QUERIES,
    agreement_range,
    print_agreement,
    print_annotated,
    print_comparison,
    print_json,
    print_nearest,
    print_quality,
    print_ranking,
    print_verdict,
    say,
    verdict,
)
from svqvae.evaluation.cross_validation import Comparison
from svqvae.evaluation.quality import Quality

Shown = pytest.CaptureFixture[str]


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]


def body(text: str) -> list[list[str]]:
    """Return the rows of a table, without its head."""
    return [cells(line) for line in text.splitlines() if line.startswith("│")]


def relations(n: int, supports: Any) -> pd.DataFrame:
    names = [f"class {k}" for k in range(n)]
    distances = np.arange(n, 0, -1) / 7
    return pd.DataFrame({"class": names, "nearest": names[::-1], "distance": distances, "support": supports, "n": 3})


def test_the_surest_nearest_classes_come_first(capsys: Shown) -> None:
    print_nearest(relations(12, np.arange(12) / 20))
    text = capsys.readouterr().out
    assert "Nearest classes, the surest 10 of 12" in text
    assert [row[0] for row in body(text)] == [f"class {k}" for k in range(11, 1, -1)]
    assert body(text)[0] == ["class 11", "class 0", "0.143", "0.55"]


def test_where_there_is_no_support_the_closest_come_first(capsys: Shown) -> None:
    print_nearest(relations(3, np.nan))
    text = capsys.readouterr().out
    assert "Nearest classes, the closest 3 of 3" in text
    assert body(text) == [
        ["class 2", "class 0", "0.143", ""],
        ["class 1", "class 1", "0.286", ""],
        ["class 0", "class 2", "0.429", ""],
    ]


def test_names_in_tables_are_no_markup(capsys: Shown) -> None:
    named = relations(1, 0.5).assign(**{"class": "[bold]B[/bold]", "nearest": "[/]"})
    print_nearest(named)
    assert body(capsys.readouterr().out)[0][:2] == ["[bold]B[/bold]", "[/]"]


def annotated(unknown: list[bool] | None, sets: list[str]) -> pd.DataFrame:
    flags = pd.array([pd.NA] * len(sets) if unknown is None else unknown, dtype="boolean")
    return pd.DataFrame({"class": "a", "set": sets, "is_unknown": flags})


def test_it_is_said_how_many_samples_are_like_no_class(capsys: Shown) -> None:
    print_annotated(annotated([True, False, True], ["a", "a|b", "a|b|c"]), 0.1, True)
    assert capsys.readouterr().out.splitlines() == [
        "3 samples annotated.",
        "2 are unlike all known classes (novelty_p <= 0.1); 10% would be by chance.",
        "Sets of classes, 2.0 on average, hold the right one for 90 % of samples of the known classes.",
    ]


def test_what_a_run_without_samples_cannot_tell_is_said(capsys: Shown) -> None:
    print_annotated(annotated(None, ["a", "a|b"]), 0.05, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "The run knows no samples: it cannot tell which of these are unlike all of its classes."
    assert lines[2].startswith("Sets of classes, 1.5 on average, add up to 90 % of a probability that is not calib")


def test_agreement_is_that_of_other_metrics_and_the_other_space(capsys: Shown) -> None:
    found = pd.DataFrame(
        [("euclidean", "code", 1.0), ("euclidean", "profile", 0.25), ("cosine", "code", 0.75)],
        columns=["metric", "space", "same_nearest"],
    )
    assert agreement_range(found, "euclidean", "code") == (0.25, 0.75)
    print_agreement(found, "euclidean", "code")
    expected = "Other metrics and spaces name the same nearest class for 25% to 75% of classes: see agreement.csv.\n"
    assert capsys.readouterr().out == expected


def ranking(n_queries: int, n_classes: int, **more: Any) -> pd.DataFrame:
    rows = [(f"q{i}", f"c{k}", k + 1, 1 - k / 8, 90.0) for i in range(n_queries) for k in range(n_classes)]
    return pd.DataFrame(rows, columns=["query", "class", "rank", "score", "tau"]).assign(**more)


@pytest.mark.parametrize(("n_queries", "n_each"), [(1, 10), (2, 5), (3, 3), (8, 3)])
def test_of_few_queries_more_classes_are_shown(n_queries: int, n_each: int, capsys: Shown) -> None:
    print_ranking(ranking(n_queries, 12))
    text = capsys.readouterr().out
    n_shown = min(n_queries, N_QUERIES)
    assert len(body(text)) == n_shown * n_each
    assert (f"Best classes of the first {n_shown}" in text) == (n_queries > 1)
    assert [row[0] for row in body(text) if row[0]] == [f"q{i}" for i in range(n_shown)]


def test_scores_without_a_background_have_no_tau(capsys: Shown) -> None:
    print_ranking(ranking(1, 2, tau=np.nan))
    assert body(capsys.readouterr().out) == [["q0", "c0", "1.000", ""], ["", "c1", "0.875", ""]]


def test_groups_are_shown_by_their_quantile(capsys: Shown) -> None:
    print_ranking(ranking(1, 1, quantile=0.5).rename(columns={"query": "group"}))
    text = capsys.readouterr().out
    assert cells(text.splitlines()[1]) == ["group", "class", "quantile", "tau"]
    assert body(text) == [["q0", "c0", "0.500", "90.0"]]


def test_a_line_is_said_as_it_is_however_long(capsys: Shown) -> None:
    line = f"Run: {'deep/' * 60}[b]run[/b] \\[x] 'a' 17"
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_json_of_what_is_not_known_is_null_and_of_a_path_text(capsys: Shown) -> None:
    found = {"files": [Path("run") / "run.json"], "tau": float("nan"), "best": np.float32("inf"), "n": np.int64(3)}
    print_json({**found, "table": pd.DataFrame({"class": ["é"], "p": [np.nan]}), "none": None})
    read = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    known = {"files": ["run/run.json"], "n": 3, "table": [{"class": "é", "p": None}]}
    assert read == {**known, "tau": None, "best": None, "none": None}


def test_a_verdict_is_three_lines_under_a_title(capsys: Shown) -> None:
    print_verdict(SimpleNamespace(verdict=("One [of].", "Two.", "Three."), page=Path("run/report.html")))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Verdict", "  One [of].", "  Two.", "  Three.", "Report: run/report.html"]


def test_figures_stand_beside_their_baselines(capsys: Shown) -> None:
    print_quality("Held-out digits", Quality(0.91, 0.82, 0.31, 0.22, 0.13, 7))
    text = capsys.readouterr().out
    assert text.splitlines()[0].rstrip() == "Held-out digits (7 samples)"
    assert body(text) == [
        ["accuracy", "0.9100", "0.8200", "nearest class mean"],
        ["class reconstruction", "0.3100", "0.2200", "table of class means"],
        ["sample reconstruction", "0.1300", "0.2200", "table of class means"],
    ]
    assert "lower is better" in text


def compared(accuracies: dict[str, list[float]], n_plain: int | None = None) -> Comparison:
    rows = [
        {"method": name, "seed": seed, "accuracy": value, "balanced_accuracy": value, "macro_f1": 1 - value}
        | {"profile_error": 0.5 if name == "svqvae" else np.nan}
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return Comparison(pd.DataFrame(rows), pd.DataFrame(), 0, n_plain)


def test_methods_stand_side_by_side_with_mean_and_spread(capsys: Shown) -> None:
    print_comparison(compared({"svqvae": [0.8, 0.9], "majority": [0.4, 0.4]}), "80 samples [of] 4")
    text = capsys.readouterr().out
    assert text.splitlines()[0].rstrip() == "80 samples [of] 4"
    assert body(text) == [
        ["svqvae", "0.850 ± 0.071", "0.850 ± 0.071", "0.150 ± 0.071", "0.500 ± 0.000"],
        ["majority", "0.400 ± 0.000", "0.400 ± 0.000", "0.600 ± 0.000", ""],
    ]
    assert "were fitted on" not in text


def test_a_single_seed_has_no_spread_and_a_part_of_the_samples_is_told(capsys: Shown) -> None:
    print_comparison(compared({"svqvae": [0.8], "majority": [0.4]}, n_plain=12345), "title")
    text = capsys.readouterr().out
    assert body(text)[0][1] == "0.800"
    assert "The plain classifiers were fitted on 12,345 training samples, drawn at random." in text


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([0.75, 0.5], [0.5, 0.5], "more accurate than the best baseline, b, by 0.125 ± 0.177 over 2 seeds."),
        ([0.5], [0.75], "less accurate than the best baseline, b, by 0.250 with one seed."),
        ([0.5, 0.75], [0.75, 0.5], "as accurate as the best baseline, b: a difference of 0.000 ± 0.354 over 2 seeds."),
    ],
)
def test_the_verdict_is_the_mean_gap_to_the_best_baseline(
    ours: list[float], theirs: list[float], expected: str
) -> None:
    assert verdict(compared({"a": [0.1] * len(ours), "b": theirs, "svqvae": ours})) == f"svqvae is {expected}"
