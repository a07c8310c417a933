"""The verdict on a run in words: whether it beats plain classifiers, how sure that is, and what to distrust."""

from typing import Any

from svqvae.wording import list_some

SETS = {
    "test": "samples kept for this test",
    "held_out": "samples held out to watch training",
    "samples": "samples given",
    "training": "training samples",
}
# All thresholds are chosen by hand. A class with fewer training samples than `RARE` is rare; with a lower accuracy than
# `POOR` it is hard to recognise.
RARE, POOR = 10, 0.5
# Agreement of metrics, and support of a nearest class, below which these are reported as doubtful.
AGREED, SUPPORTED = 0.8, 0.9
# Share of held-out samples with a near-duplicate among the training samples above which leakage is reported.
MAX_NEAR = 0.01


def percent(share: float, n: int | None = None) -> str:
    r"""Return a share as a percentage, with a decimal only if it is of at least 200 samples.

    Examples
    --------
    >>> percent(0.98765, 500), percent(1.0)
    ('98.8\xa0%', '100\xa0%')
    """
    digits = 1 if (n or 0) >= 200 and share not in (0, 1) else 0
    return f"{100 * share:.{digits}f}\u00a0%"


def spoken(method: str) -> str:
    """Return the name of a method for use in a sentence.

    Examples
    --------
    >>> spoken("logistic regression, principal components")
    'logistic regression on principal components'
    """
    return method.replace(", ", " on ")


def named(name: str) -> str:
    """Return the name of a class for use in a sentence; short names could be mistaken for numbers or words.

    Examples
    --------
    >>> named("4"), named("B cell")
    ('class 4', 'B cell')
    """
    return f"class {name}" if len(name) < 4 else name


def judge(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a run from its numbers.

    Parameters
    ----------
    summary
        As `svqvae.report.summary.summarise` returns it, without the verdict.

    Returns
    -------
    dict
        ``accuracy``, ``pictures`` and ``trust``: a sentence or two each, the three lines in the terminal; ``headline``:
        the first in a few words; ``distrust``: a list of ``what`` and ``why``.
    """
    found = distrusted(summary)
    doubts = "; ".join(item["what"][0].lower() + item["what"][1:] for item in found)
    trust = f"To distrust: {doubts}." if found else "Nothing was found to distrust."
    headline, accuracy = judge_accuracy(summary)
    return {
        "headline": headline,
        "accuracy": accuracy,
        "pictures": judge_pictures(summary),
        "trust": trust,
        "distrust": found,
    }


def judge_accuracy(summary: dict[str, Any]) -> tuple[str, str]:
    """Return a headline and a sentence on whether classes are recognised better than by plain classifiers."""
    quality, accuracy = summary["quality"], summary["accuracy"]
    kind = accuracy["set"] if accuracy else next((kind for kind in SETS if kind in quality), None)
    if kind is None:
        return (
            "Nothing is known of accuracy",
            "No samples were given: nothing is known of how well classes are recognised.",
        )
    n, share = quality[kind]["n_samples"], quality[kind]["accuracy"]
    if kind == "training":
        return "How well new samples are recognised is not known", (
            f"No samples were held out: that {percent(share, n)} of the training samples get their own class is no "
            "evidence for new ones. `svqvae evaluate` holds samples out in turn, beside plain methods."
        )
    told = f"{percent(share, n)} of {n:,} {SETS[kind]} get their own class"
    if accuracy:
        told += f" (95 % interval {percent(accuracy['methods'][0]['low'], n)} to "
        told += f"{percent(accuracy['methods'][0]['high'], n)})"
    headline, beside = compare(summary, kind)
    if kind == "samples":
        beside += " Whether the model was trained on these samples is not known."
    if kind == "held_out":
        beside += " These samples also had a say in when training stopped."
    return headline, f"{told}; {beside}"


def compare(summary: dict[str, Any], kind: str) -> tuple[str, str]:
    """Return a headline and a sentence that compare the model with the best plain classifier."""
    accuracy, quality = summary["accuracy"], summary["quality"][kind]
    rivals = accuracy["methods"][1:] if accuracy else []
    if not rivals:
        plain = quality["accuracy_class_means"]
        if plain is None:
            return "Accuracy stands alone", "plain methods could not be compared."
        return (
            "Beside the nearest class mean",
            f"the nearest class mean is right for {percent(plain, quality['n_samples'])}.",
        )
    best = rivals[0]
    gap, low, high = (100 * best[end] for end in ("gap", "gap_low", "gap_high"))
    told = f"the best plain method measured on the same samples, {spoken(best['name'])}, is right for "
    told += f"{percent(best['accuracy'], quality['n_samples'])}. "
    interval = f"{abs(gap):.1f} points (95 % interval of the difference {low:.1f} to {high:.1f})"
    if low > 0:
        return "Better than the plain methods", f"{told}svqvae is better by {interval}."
    if high < 0:
        return "A plain method does better", f"{told}svqvae is worse by {interval}."
    return "Not told apart from the best plain method", f"{told}A difference of {interval} may be chance."


def judge_pictures(summary: dict[str, Any]) -> str:
    """Return a sentence or two on how well decoded codes and latents reconstruct samples."""
    quality = summary["quality"]
    kind = next((kind for kind in SETS if kind in quality), None)
    if kind is None:
        names = [facts["name"] for facts in summary["classes"]]
        a, b = (named(names[summary["relations"]["closest"][end]]) for end in "ab")
        return f"By their decoded codes the closest classes are {a} and {b}; how sure that is takes samples to know."
    found = quality[kind]
    ours, own, plain = (
        found[key] for key in ("class_reconstruction", "sample_reconstruction", "class_reconstruction_means")
    )
    if plain is None:
        return f"Decoded codes leave a squared error of {ours:.3g}, each sample's own reconstruction {own:.3g}."
    ratio = ours / plain if plain else 1.0
    where = "On the training samples, decoded" if kind == "training" else "Decoded"
    as_good = "as good pictures" if ratio < 1.02 else "worse pictures" if ratio > 1.1 else "nearly as good pictures"
    sense = f"{where} codes are {as_good} of their classes as class means ({ratio:.3f} times their squared error)"
    if own < 0.99 * plain:
        return f"{sense}; each sample's own reconstruction leaves {percent(own / plain)} of that error."
    return f"{sense}; each sample's own reconstruction is no better than that."


def distrusted(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Return what should be distrusted, and why, the most important first."""
    found = [*_evidence_doubts(summary), *_class_doubts(summary), *_relation_doubts(summary)]
    if summary["quality"]:
        why = "Not calibrated: they rank samples, but of those with 0.8 more or fewer than 80 % may be right."
        found.append(("Probabilities of classes", why))
    return [{"what": what, "why": why} for what, why in found]


def _evidence_doubts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    found, accuracy, quality = [], summary["accuracy"], summary["quality"]
    if not quality:
        found.append(
            ("Everything that takes samples", "No samples were given: no counts, supports, intervals or simulation.")
        )
    elif set(quality) == {"training"}:
        why = "Figures of training samples are too good. Cross-validate: `svqvae evaluate DATA --label COLUMN`."
        found.append(("Accuracy", f"No samples were held out. {why}"))
    elif "samples" in quality and not {"test", "held_out"} & set(quality):
        found.append(("Accuracy", "The samples given may be among those that the model was trained on."))
    if accuracy:
        rivals = [method for method in accuracy["methods"][1:] if method["gap_high"] < 0]
        if rivals and accuracy["set"] != "training":
            name = spoken(rivals[0]["name"])
            found.append(("Predictions of classes", f"{name[0].upper()}{name[1:]} is right more often."))
        n_near, n = accuracy["n_near_duplicates"], accuracy["n_samples"]
        if n_near is not None and n_near > MAX_NEAR * n:
            why = f"{n_near:,} of {n:,} held-out samples have a near-duplicate among the training samples."
            found.append(("Accuracy, for leakage", f"{why} Name what belongs together as groups."))
    if summary["run"]["is_interrupted"]:
        found.append(("The whole fit", "Training was interrupted before its end."))
    return found


def _class_doubts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    found, classes = [], summary["classes"]
    flagged = [f"{facts['name']} ({'; '.join(facts['flags'])})" for facts in classes if facts["flags"]]
    if flagged:
        found.append(
            (
                f"{len(flagged)} of {len(classes)} codes",
                f"They do not stand for their class: {list_some(flagged, write=str)}.",
            )
        )
    rare = [f"{facts['name']} ({facts['count']})" for facts in classes if 0 < facts["count"] < RARE]
    if rare:
        why = f"Fewer than {RARE} training samples: {list_some(rare, write=str)}. "
        why += "Their profiles are drawn toward all others."
        found.append((f"{len(rare)} rare classes" if len(rare) > 1 else "A rare class", why))
    accuracy = summary["accuracy"]
    if accuracy and accuracy["set"] != "training":
        rights = zip(classes, accuracy["right"], accuracy["n_tested"], strict=True)
        poor = [f"{facts['name']} ({percent(right)} of {n})" for facts, right, n in rights if n and right < POOR]
        if poor:
            what = (
                f"{len(poor)} classes that are hard to recognise"
                if len(poor) > 1
                else "A class that is hard to recognise"
            )
            found.append((what, f"Less than half of their samples get their own class: {list_some(poor, write=str)}."))
    return found


def _relation_doubts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    found, relations = [], summary["relations"]
    others = [
        row["same_nearest"]
        for row in relations["agreement"]
        if (row["metric"], row["space"]) != (relations["metric"], "profile")
    ]
    if others and min(others) < AGREED:
        why = f"Other metrics and spaces name the same nearest class for {percent(min(others))} to "
        found.append(("Nearest classes, where metrics disagree", f"{why}{percent(max(others))} of the classes."))
    supports = [partners[0]["support"] for partners in relations["nearest"]]
    weak = [support for support in supports if support is not None and support < SUPPORTED]
    if weak:
        why = f"{len(weak)} of {len(supports)} would return in less than {percent(SUPPORTED)} of second studies."
        found.append(("Nearest classes of low support", why))
    if summary["run"]["has_spread"] and not relations["is_corrected"]:
        why = "Decoded codes miss the means of their classes by more than chance, so that distances are not corrected."
        found.append(("Distances of rare classes", why))
    return found
