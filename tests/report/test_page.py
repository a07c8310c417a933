"""The page as text: its numbers, its escaping, its sizes."""

import base64
import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

from svqvae import SVQVAE
from svqvae.atlas.health import CodeHealthWarning
from svqvae.evaluation.beside import TRAINING
from svqvae.evaluation.quality import quality_of
from svqvae.jobs.report import report_fitted, report_run
from svqvae.report import page
from svqvae.report.page import escape_json, pack_profiles, say_number

STYLES = ("number", "percent", "points", "count", "share", "q")


class Reader(HTMLParser):
    """Collects the numbers of a page, its elements, and what text it shows outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.open = tag
        self.tags.append((tag, found))
        if tag == "data":
            self.numbers.append((found["data-path"], found["value"], ""))

    def handle_endtag(self, tag):
        self.open = "" if tag == self.open else self.open

    def handle_data(self, data):
        if self.open == "data":
            path, value, text = self.numbers[-1]
            self.numbers[-1] = (path, value, text + data)
        if self.open not in ("script", "style"):
            self.shown += data


def at(tree, path: str):
    for step in path.split("/"):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree


@pytest.mark.parametrize("name", ["table", "images", "hostile"])
def test_every_number_on_the_page_is_that_of_its_place_in_the_json(name: str, request) -> None:
    case = request.getfixturevalue(name)
    saved = json.loads(case.report.numbers.read_text(encoding="utf-8"))
    numbers = Reader(case.page).numbers
    assert len(numbers) > 100
    for path, value, text in numbers:
        assert float(value) == at(saved, path), path
        assert text in [say_number(at(saved, path), style) for style in STYLES], path


def test_figures_on_the_page_of_a_fit_are_those_of_metrics_json(tmp_path, draw, quick) -> None:
    from svqvae import cli

    X, y = draw(["a", "b", "c"], 60)
    X.assign(kind=y).to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        cli.main(["fit", str(tmp_path / "t.csv"), "--label", "kind", "--epochs", "5", "--out", str(run), "--quiet"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["quality"] == metrics
    shown = [(path.split("/")[1:], float(value)) for path, value, _ in Reader(read(run)).numbers if "quality" in path]
    assert len(shown) > 4
    assert all(value == metrics[kind][figure] for (kind, figure), value in shown)
    assert "svqvae fit" in read(run)


def read(run) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_names_are_text_and_never_markup(hostile) -> None:
    reader = Reader(hostile.page)
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("script") == 2
    assert not [found for _, found in reader.tags if any(name.startswith("on") for name in found)]
    assert all(found["src"].startswith("data:") for tag, found in reader.tags if tag == "img")
    for name in hostile.model.classes_:
        assert name in reader.shown
    assert "49" not in re.findall(r"class=\"[^\"]*\">(\d+)<", hostile.page)


def test_text_in_the_script_cannot_end_it() -> None:
    hostile = {"a": "</script><!--<b>&", "b": "тест"}
    text = escape_json(hostile)
    assert not set("<>&") & set(text)
    assert json.loads(text) == hostile


def test_the_page_names_nothing_outside_itself(images, table) -> None:
    for case in (images, table):
        for _, found in Reader(case.page).tags:
            for link in (found.get("src"), found.get("href")):
                assert link is None or link.startswith(("data:", "#")), link
        assert "default-src 'none'" in case.page
        assert not re.search(r"@import|url\((?!data:)", page._source("style.css"))


def test_figures_have_alternative_text_with_numbers(images, table) -> None:
    for case in (images, table):
        tags = Reader(case.page).tags
        labels = [found.get("aria-label") for tag, found in tags if tag == "svg"]
        assert len(labels) >= 8
        assert all(label and re.search(r"\d", label) for label in labels)
        assert all(found["alt"] for tag, found in tags if tag == "img")


def test_a_run_without_samples_has_a_page_that_says_so(bare) -> None:
    shown = Reader(bare.page.read_text(encoding="utf-8")).shown
    for missing in ("Nothing is known of how well classes are recognised", "No samples are at hand", "is not known"):
        assert missing in shown
    assert "nan" not in shown.lower().split()


def test_what_is_missing_among_the_figures_is_measured(draw, tmp_path, quick) -> None:
    X, y = draw(["a", "b", "c"])
    X.assign(kind=y).to_csv(tmp_path / "t.csv", index=False)
    model = SVQVAE(n_epochs=20, hidden=(24,), latent_dim=8, random_state=0).fit(X, y)
    model.save(tmp_path / "run")
    found = report_run(tmp_path / "run", tmp_path / "t.csv", "kind").summary["quality"]
    assert list(found) == [TRAINING]
    assert (found[TRAINING]["accuracy"], found[TRAINING]["n_samples"]) == (model.score(X, y), len(y))


def test_packed_profiles_are_those_of_the_atlas(table) -> None:
    atlas = table.model.to_atlas()
    packed = pack_profiles(atlas)
    decoded = np.frombuffer(base64.b64decode(packed["decoded"]), "<f4").reshape(atlas.decoded.shape)
    np.testing.assert_array_equal(decoded, atlas.decoded)
    assert packed["features"] == list(atlas.feature_names)


def test_of_too_many_features_those_that_differ_most_are_packed(table, monkeypatch) -> None:
    atlas = table.model.to_atlas()
    monkeypatch.setattr(page, "MAX_CELLS", 5 * len(atlas.classes))
    packed = pack_profiles(atlas)
    most = np.argsort(-atlas.decoded.var(0))[:5]
    assert packed["features"] == [atlas.feature_names[j] for j in sorted(most)]
    assert packed["n_features"] == 20


@pytest.mark.parametrize("n_classes, n_features", [(75, 978), (300, 30)])
def test_many_classes_and_genes_stay_small(n_classes: int, n_features: int, tmp_path, draw, quick) -> None:
    names = [f"CP_SOME_RECEPTOR_ANTAGONIST_{k}" for k in range(n_classes)]
    X, y = draw(names, 4, n_features=n_features)
    model = SVQVAE(n_epochs=1, hidden=(16,), latent_dim=8, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CodeHealthWarning)
        model.fit(X, y)
    samples = model.fitted_.labelled(X, y)
    figures = {TRAINING: quality_of(model.fitted_, samples, samples).to_dict()}
    report = report_fitted(model.fitted_, tmp_path, figures, {TRAINING: samples})
    assert report.page.stat().st_size < 15e6
    text = report.page.read_text(encoding="utf-8")
    assert text.count("data-card=") == n_classes
    assert len(report.summary["classes"]) == n_classes


@pytest.mark.parametrize(
    "value, style, text",
    [
        (0, "number", "0"),
        (-0.0004, "number", "-0.0004"),
        (123456, "number", "1.2e+05"),
        (0.5, "percent", "50.0\u00a0%"),
        (0.0132, "points", "1.3"),
        (0.0004, "q", "<0.001"),
    ],
)
def test_numbers_are_said_shortly(value: float, style: str, text: str) -> None:
    assert say_number(value, style) == text
