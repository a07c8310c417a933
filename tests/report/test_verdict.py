"""Sentences, from numbers made for them."""

import copy

import pytest

from svqvae.report.verdict import judge


@pytest.fixture
def summary(table):
    """Return numbers in which nothing is wrong."""
    found = copy.deepcopy(table.summary)
    for facts in found["classes"]:
        facts |= {"count": 100, "flags": []}
    for row in found["relations"]["nearest"]:
        row[0]["support"] = 1.0
    for row in found["relations"]["agreement"]:
        row["same_nearest"] = 1.0
    found["relations"]["is_corrected"] = True
    found["accuracy"]["n_near_duplicates"] = 0
    found["accuracy"]["right"] = [1.0] * 5
    best = found["accuracy"]["methods"][1]
    best |= {"accuracy": 0.8, "gap": 0.1, "gap_low": 0.05, "gap_high": 0.15}
    return found


def doubts(summary) -> str:
    return " ".join(f"{doubt['what']}: {doubt['why']}" for doubt in judge(summary)["distrust"])


@pytest.mark.parametrize(
    "low, high, headline",
    [
        (0.01, 0.1, "Better than the plain methods"),
        (-0.05, 0.05, "Not told apart from the best plain method"),
        (-0.1, -0.01, "A plain method does better"),
    ],
)
def test_better_is_only_what_chance_does_not_explain(summary, low: float, high: float, headline: str) -> None:
    summary["accuracy"]["methods"][1] |= {"gap": (low + high) / 2, "gap_low": low, "gap_high": high}
    assert judge(summary)["headline"] == headline
    assert ("is right more often" in doubts(summary)) is (high < 0)


def test_with_nothing_wrong_only_calibration_is_doubted(summary) -> None:
    (doubt,) = judge(summary)["distrust"]
    assert doubt["what"] == "Probabilities of classes"


def test_training_samples_are_no_evidence(summary) -> None:
    summary["accuracy"]["set"] = "training"
    summary["quality"] = {"training": summary["quality"]["test"]}
    verdict = judge(summary)
    assert "not known" in verdict["headline"]
    assert "no evidence" in verdict["accuracy"]
    assert "Cross-validate" in doubts(summary)


def test_leakage_silent_codes_rare_classes_and_interruptions_are_told(summary) -> None:
    summary["accuracy"]["n_near_duplicates"] = 17
    summary["classes"][0]["flags"] = ["code nearest to no sample"]
    summary["classes"][1]["count"] = 3
    summary["accuracy"]["right"][2] = 0.2
    summary["run"]["is_interrupted"] = True
    told = doubts(summary)
    assert "17 of" in told
    assert "a (code nearest to no sample)" in told
    assert "A rare class: Fewer than 10 training samples: b (3)" in told
    assert "c (20" in told
    assert "interrupted" in told


def test_disagreement_of_metrics_and_low_supports_are_told(summary) -> None:
    summary["relations"]["agreement"][-1]["same_nearest"] = 0.25
    summary["relations"]["nearest"][0][0]["support"] = 0.4
    summary["relations"]["is_corrected"] = False
    told = doubts(summary)
    assert "25\u00a0% to 100\u00a0%" in told
    assert "1 of 5 would return" in told
    assert "not corrected" in told


def test_codes_worse_than_class_means_are_called_worse(summary) -> None:
    quality = summary["quality"]["test"]
    quality |= {"class_reconstruction": 2.0, "class_reconstruction_means": 1.0, "sample_reconstruction": 0.5}
    assert "worse pictures" in judge(summary)["pictures"]
    assert "leaves 50\u00a0%" in judge(summary)["pictures"]


def test_without_samples_the_verdict_says_so(bare) -> None:
    accuracy, pictures, trust = bare.verdict
    assert "nothing is known of how well" in accuracy
    assert "takes samples to know" in pictures
    assert "everything that takes samples" in trust


def test_of_many_rare_classes_five_are_told_and_the_rest_counted(summary) -> None:
    rare = {"name": "rare", "count": 3, "flags": []}
    summary["classes"] = summary["classes"] + [rare] * 7
    summary["accuracy"] = None
    told = doubts(summary)
    assert (
        "7 rare classes: Fewer than 10 training samples: rare (3), rare (3), rare (3), rare (3), rare (3) (+2" in told
    )
