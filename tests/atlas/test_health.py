"""Codes with planted troubles, and whether they are named."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from svqvae.atlas.health import code_health, describe_health, unknown_health

K, D, N_OWN = 5, 3, 20
CLASSES = np.array(["ant", "bee", "cat", "dog", "elk"])


def problem() -> dict[str, Any]:
    """Return five classes that lie apart, each with its mean as code."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(K), N_OWN)
    latents = (10 * rng.normal(size=(K, D))[y] + rng.normal(size=(len(y), D))).astype(np.float32)
    codes = np.stack([latents[y == k].mean(0) for k in range(K)])
    return {"latents": latents, "y": y, "codes": codes, "classes": CLASSES}


def measure(**parts: Any) -> pd.DataFrame:
    given = problem() | parts
    nearest = cdist(given["latents"], given["codes"]).argmin(1)
    return code_health(**({"nearest": nearest} | given))


def test_sound_codes_have_nothing_to_be_told() -> None:
    health = measure()
    assert describe_health(health) == ""
    assert list(health.index) == list(CLASSES)
    assert health.index.name == "class"
    assert (health["n_own"] == N_OWN).all()
    assert (health["displacement"] < 1e-5).all()
    assert not health[["is_silent", "is_displaced", "is_outnumbered"]].any(axis=None)
    assert health["merged_with"].isna().all()


def test_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    y, nearest = rng.integers(K, size=90), rng.integers(K, size=90)
    latents = rng.normal(size=(90, D)).astype(np.float32)
    health = measure(latents=latents, y=y, nearest=nearest)
    for k in range(K):
        assert health["n_own"].iloc[k] == sum(y == k)
        assert health["n_foreign"].iloc[k] == sum((nearest == k) & (y != k))
        own = latents[y == k]
        radius = np.sqrt(((own - own.mean(0)) ** 2).sum(1).mean())
        distance = np.linalg.norm(problem()["codes"][k] - own.mean(0))
        assert health["displacement"].iloc[k] == pytest.approx(distance / radius, rel=1e-4)


def test_a_code_that_is_nearest_to_nothing_is_silent() -> None:
    codes = problem()["codes"]
    codes[1] = 1000
    health = measure(codes=codes)
    assert list(health.index[health["is_silent"]]) == ["bee"]
    assert "never the nearest code: 'bee'" in describe_health(health)


def test_two_codes_in_one_place_are_merged() -> None:
    codes = problem()["codes"]
    codes[3] = codes[0] + 0.01
    health = measure(codes=codes)
    assert health["merged_with"].dropna().to_dict() == {"ant": "dog", "dog": "ant"}
    assert "almost the same code as another class: 'ant', 'dog'" in describe_health(health)


@pytest.mark.parametrize("classes", [np.arange(10, 15), np.array([True, False, 2, "x", 3.5], dtype=object)])
def test_merged_classes_are_named_by_their_own_labels(classes: np.ndarray) -> None:
    codes = problem()["codes"]
    codes[3] = codes[0]
    merged = measure(codes=codes, classes=classes)["merged_with"].tolist()
    assert [merged[0], merged[3]] == [classes[3], classes[0]]
    assert not isinstance(merged[0], float)
    assert [merged[1], merged[2], merged[4]] == [None] * 3


@pytest.mark.parametrize(("shift", "is_displaced"), [(0.9, False), (1.1, True)])
def test_a_code_off_its_class_by_more_than_its_radius_is_displaced(shift: float, is_displaced: bool) -> None:
    parts = problem()
    own = parts["latents"][parts["y"] == 2].astype(np.float64)
    radius = np.sqrt(((own - own.mean(0)) ** 2).sum(1).mean())
    parts["codes"][2] += np.array([shift * radius, 0, 0], dtype=np.float32)
    health = measure(**parts)
    assert health.loc["cat", "displacement"] == pytest.approx(shift, rel=1e-4)
    assert health.loc["cat", "is_displaced"] == is_displaced
    assert ("code far from the class mean: 'cat'" in describe_health(health)) == is_displaced


@pytest.mark.parametrize(("offset", "is_displaced"), [(0.0, False), (0.5, True)])
def test_a_class_of_one_sample_is_displaced_only_off_that_sample(offset: float, is_displaced: bool) -> None:
    parts = problem()
    keep = np.flatnonzero((parts["y"] != 4) | (np.arange(len(parts["y"])) == 4 * N_OWN))
    parts |= {"latents": parts["latents"][keep], "y": parts["y"][keep]}
    parts["codes"][4] = parts["latents"][-1] + np.float32(offset)
    assert measure(**parts).loc["elk", "is_displaced"] == is_displaced


@pytest.mark.parametrize(("n_foreign", "is_outnumbered"), [(N_OWN - 1, False), (N_OWN, True)])
def test_a_code_with_as_many_foreign_samples_is_outnumbered(n_foreign: int, is_outnumbered: bool) -> None:
    nearest = np.repeat(np.arange(K), N_OWN)
    nearest[:n_foreign] = 4
    health = measure(nearest=nearest)
    assert health.loc["elk", "n_foreign"] == n_foreign
    assert health.loc["elk", "is_outnumbered"] == is_outnumbered
    assert ("at least as many foreign as own samples: 'elk'" in describe_health(health)) == is_outnumbered


def test_the_description_names_five_classes_and_counts_the_rest() -> None:
    classes = np.array([f"c{k}" for k in range(9)])
    zeros = np.zeros(9, dtype=np.int64)
    codes = np.diag(np.arange(10, 19)).astype(np.float32)
    health = code_health(np.zeros((9, 9), np.float32), np.arange(9), codes, zeros, classes)
    assert "never the nearest code: 'c1', 'c2', 'c3', 'c4', 'c5' (+3 more)" in describe_health(health)
    assert describe_health(health).startswith("Some codes do not stand for their class (")


def test_permuting_the_classes_permutes_the_rows() -> None:
    parts = problem()
    parts["codes"][3] = parts["codes"][0]
    plain = measure(**parts)
    order = np.array([3, 0, 4, 1, 2])
    place = order.argsort()
    nearest = cdist(parts["latents"], parts["codes"]).argmin(1)
    permuted = code_health(parts["latents"], order[parts["y"]], parts["codes"][place], order[nearest], CLASSES[place])
    pd.testing.assert_frame_equal(permuted.loc[plain.index], plain)


def test_health_without_samples_claims_nothing() -> None:
    health = unknown_health(CLASSES)
    assert list(health.columns) == list(measure(**problem()).columns)
    assert (health[["n_own", "n_foreign"]] == 0).all(axis=None)
    assert health.drop(columns=["n_own", "n_foreign"]).isna().all(axis=None)
    assert describe_health(health) == ""
