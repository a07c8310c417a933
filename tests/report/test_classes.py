"""Facts of each class, against the atlas that they come from."""

import pandas as pd
import pytest

from svqvae.report.classes import N_FEATURES, summarise_classes


def test_features_of_a_card_are_the_first_of_the_profile(table) -> None:
    atlas = table.model.to_atlas()
    for facts in table.summary["classes"]:
        profile = atlas.profile(facts["name"])
        for side, own in (("up", profile[profile["t"] > 0]), ("down", profile[profile["t"] < 0])):
            assert [row["feature"] for row in facts[side]] == own.index[:N_FEATURES].tolist()
            for row in facts[side]:
                assert (row["difference"], row["low"], row["high"], row["q"]) == pytest.approx(
                    own.loc[row["feature"], ["difference", "low", "high", "q"]].tolist()
                )
        sure = profile[profile["q"] <= 0.05]
        assert (facts["n_up"], facts["n_down"]) == ((sure["t"] > 0).sum(), (sure["t"] < 0).sum())


def test_counts_are_those_of_the_training_samples(table) -> None:
    y = pd.Series(table.sets["training"].labels).value_counts()
    assert {facts["name"]: facts["count"] for facts in table.summary["classes"]} == y.to_dict()


def test_images_have_no_table_of_features(images) -> None:
    assert all(facts["up"] == facts["down"] == [] for facts in images.summary["classes"])


def test_codes_in_bad_health_are_flagged_in_words(table) -> None:
    health = table.model.health_.copy()
    health["is_silent"] = [True, False, False, False, False]
    health["merged_with"] = [None, "c", None, None, None]
    flags = [facts["flags"] for facts in summarise_classes(table.model.to_atlas(), health)]
    assert flags[0] == ["code nearest to no sample"]
    assert flags[1] == ["code almost the same as that of c"]


def test_without_samples_there_are_differences_but_no_intervals(lincs) -> None:
    fitted, _ = lincs
    facts = summarise_classes(fitted.atlas, fitted.health)[0]
    assert facts["n_up"] is None
    assert [row["difference"] for row in facts["up"]] == sorted(
        (row["difference"] for row in facts["up"]), reverse=True
    )
    assert all(pd.isna(row["low"]) and pd.isna(row["q"]) for row in facts["up"] + facts["down"])
