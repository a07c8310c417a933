"""Contrasts against Welch's test of scipy, and as the files of gene set tools."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_ind_from_stats

from svqvae.atlas.contrasts import MAX_SET, compare, ranking, to_gmt, to_rnk
from svqvae.atlas.spread import Spread

Array = NDArray[np.float64]
P = 40
COUNTS = np.array([6, 15, 9])
BETWEEN_FIRST_TWO = np.array([1.0, -1.0, 0.0])


def parts(seed: int = 0, misfit: float = 0.0) -> dict[str, Any]:
    """Return three classes with their own standard deviations; decoded codes miss the means by `misfit`."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(3, P))
    deviations = rng.uniform(0.5, 2, (3, P)).astype(np.float32)
    spread = Spread(
        deviations=deviations,
        degrees=COUNTS - 1.0,
        pooled=deviations.mean(0),
        factors=np.zeros((P, 1), np.float32),
        rest=np.ones(P, np.float32),
    )
    given = {"decoded": means + misfit, "means": means, "spread": spread, "counts": COUNTS}
    return given | {"weights": BETWEEN_FIRST_TWO, "level": 0.95}


def welch(given: dict[str, Any]) -> Any:
    """Return scipy's test of the first two classes."""
    sides = []
    for k in (0, 1):
        sides += [given["means"][k], given["spread"].deviations[k].astype(np.float64), int(COUNTS[k])]
    return ttest_ind_from_stats(*sides, equal_var=False)


def test_two_classes_are_compared_as_by_welch() -> None:
    given = parts()
    table, theirs = compare(**given), welch(given)
    np.testing.assert_allclose(table["t"], theirs.statistic, rtol=1e-9)
    np.testing.assert_allclose(table["p"], theirs.pvalue, rtol=1e-9)


def test_an_interval_ends_where_its_p_value_is_one_less_the_level() -> None:
    given = parts()
    table = compare(**given)
    for end in ("low", "high"):
        shifted = given["means"].copy()
        shifted[0] -= table[end]
        np.testing.assert_allclose(compare(**given | {"decoded": shifted, "means": shifted})["p"], 0.05, rtol=1e-6)


def test_q_is_the_p_value_adjusted_after_benjamini_and_hochberg() -> None:
    table = compare(**parts())
    p = np.sort(table["p"])
    for value, q in table[["p", "q"]].to_numpy():
        assert q == pytest.approx(min(1, min(p[k] * P / (k + 1) for k in range(P) if p[k] >= value)))


def test_what_the_decoder_misses_adds_to_the_variance() -> None:
    sure, unsure = (compare(**parts(misfit=misfit)) for misfit in (0.0, 0.5))
    np.testing.assert_allclose(unsure["difference"], sure["difference"], atol=1e-12)
    variances = [(table["difference"] / table["t"]) ** 2 for table in (sure, unsure)]
    np.testing.assert_allclose(variances[1] - variances[0], 2 * 0.5**2, rtol=1e-6)


def test_doubled_weights_double_the_difference_and_leave_t() -> None:
    given = parts()
    once, twice = compare(**given), compare(**given | {"weights": 2 * BETWEEN_FIRST_TWO})
    np.testing.assert_allclose(twice[["difference", "low", "high"]], 2 * once[["difference", "low", "high"]])
    np.testing.assert_allclose(twice[["t", "p", "q"]], once[["t", "p", "q"]])


def test_opposite_weights_mirror_the_contrast() -> None:
    given = parts()
    there, back = compare(**given), compare(**given | {"weights": -BETWEEN_FIRST_TWO})
    np.testing.assert_allclose(back["t"], -there["t"])
    np.testing.assert_allclose(back[["low", "high"]], -there[["high", "low"]])
    np.testing.assert_array_equal(back["p"], there["p"])


def test_agreement_is_the_correlation_with_the_class_means() -> None:
    given = parts()
    given["decoded"] = given["means"] + np.random.default_rng(1).normal(size=(3, P))
    table = compare(**given)
    expected = np.corrcoef(table["difference"], table["class_means_difference"])[0, 1]
    assert table.attrs["agreement"] == pytest.approx(expected)
    assert 0 < expected < 1
    flat = compare(**given | {"decoded": np.ones((3, P))})
    assert np.isnan(flat.attrs["agreement"])


def test_features_that_never_vary_do_not_differ() -> None:
    given = parts()
    given["means"] = given["decoded"] = np.zeros((3, P))
    given["spread"].deviations[:] = 0
    table = compare(**given)
    assert (table["t"] == 0).all()
    assert (table["p"] == 1).all()


def test_without_spread_there_are_differences_alone() -> None:
    table = compare(**parts() | {"spread": None})
    assert table[["low", "high", "t", "p", "q"]].isna().all(axis=None)
    np.testing.assert_array_equal(table["difference"], table["class_means_difference"])
    assert ranking(table) == "difference"
    assert ranking(compare(**parts())) == "t"


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=rf"`level` must lie between 0 and 1; got {level}\. Use 0\.95, say"):
        compare(**parts() | {"level": level})


def table_of(t: Array, q: Array) -> pd.DataFrame:
    """Return a table as `compare` does, with the values that files are made of."""
    return pd.DataFrame({"difference": -t, "t": t, "q": q}, index=[f"g{k}" for k in range(len(t))])


def test_a_ranking_holds_all_features_by_t_the_highest_first() -> None:
    table = table_of(np.array([-1.0, 3.25, 0.5]), np.ones(3))
    assert to_rnk(table) == "g1\t3.25\ng2\t0.5\ng0\t-1\n"
    assert to_rnk(table.assign(t=np.nan)) == "g0\t1\ng2\t-0.5\ng1\t-3.25\n"


def test_gene_sets_hold_the_sure_features_of_each_direction_the_surest_first() -> None:
    table = table_of(np.array([2.0, -4.0, 5.0, 3.0, -9.0]), np.array([0.04, 0.05, 0.01, 0.2, 0.001]))
    up, down = to_gmt(table, "a").splitlines()
    assert up.split("\t") == ["a up", "2 features up at q <= 0.05", "g2", "g0"]
    assert down.split("\t") == ["a down", "2 features down at q <= 0.05", "g4", "g1"]


def test_a_direction_without_sure_features_has_no_set() -> None:
    assert to_gmt(table_of(np.array([2.0, -4.0]), np.array([0.01, 0.5])), "a").count("\n") == 1


def test_gene_sets_are_cut_to_their_largest_size() -> None:
    t = np.arange(1.0, MAX_SET + 51)
    name, _, *features = to_gmt(table_of(t, np.zeros(len(t))), "a").rstrip("\n").split("\t")
    assert name == "a up"
    assert features == [f"g{k}" for k in range(len(t) - 1, 49, -1)]


def test_tabs_and_line_breaks_in_names_do_not_break_the_lines() -> None:
    table = table_of(np.array([2.0]), np.array([0.01])).rename(index={"g0": "two\twords\nhere"})
    assert to_rnk(table) == "two words here\t2\n"
    assert to_gmt(table, "a\tb").split("\t")[0] == "a b up"


def test_gene_sets_without_sure_features_are_refused() -> None:
    table = table_of(np.array([2.0, -4.0]), np.array([0.3, 0.25]))
    with pytest.raises(
        ValueError, match=r"`table` must have a feature with q <= 0.05 .*; got 0.25 as the least q of a"
    ):
        to_gmt(table, "a")
    with pytest.raises(ValueError, match=r"`table` must have q-values .*; got none for a, since the spread"):
        to_gmt(table.assign(t=np.nan, q=np.nan), "a")
