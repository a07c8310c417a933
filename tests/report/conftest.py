"""Runs small enough to have their page written in a second or two."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from svqvae import SVQVAE
from svqvae.atlas.health import CodeHealthWarning
from svqvae.data.images import digits
from svqvae.data.samples import Samples
from svqvae.evaluation.beside import TEST, TRAINING
from svqvae.evaluation.quality import quality_of
from svqvae.fitting.fitted import Fitted
from svqvae.jobs.report import report_fitted
from svqvae.report import summary
from svqvae.report.page import Report, write_report
from svqvae.report.relations import summarise_relations

NETWORK: dict[str, Any] = {"hidden": (24,), "latent_dim": 8, "random_state": 0}
# What a page must show as text: markup, quotes, scripts other than Latin, right to left, and no end.
HOSTILE = [
    "<script>document.title='stolen'</script>",
    "\"quoted\" & 'quoted' <b>bold</b>",
    "тест 细胞类型 細胞",
    "خلية عصبية",
    "VERY_LONG_" * 30,
    "{{ 7 * 7 }} </script><img src=x onerror=alert(1)>",
]


@dataclass(frozen=True)
class Case:
    """A fitted model, its samples, and the page of both."""

    model: SVQVAE
    sets: dict[str, Samples]
    report: Report

    @property
    def fitted(self) -> Fitted:
        return self.model.fitted_

    @property
    def summary(self) -> dict[str, Any]:
        return self.report.summary

    @property
    def page(self) -> str:
        return self.report.page.read_text(encoding="utf-8")


@contextmanager
def quickly() -> Iterator[None]:
    """Take few resamples, and do without umap-learn, which takes seconds to load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "umap", None)
        patch.setattr(summary, "summarise_relations", partial(summarise_relations, n_resamples=10))
        yield


@pytest.fixture
def quick() -> Iterator[None]:
    """Write pages quickly."""
    with quickly():
        yield


@pytest.fixture(scope="session")
def make_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    """Return the function that fits a model to the even samples and writes its page with the odd ones as test."""

    def make(X: Any, y: NDArray[np.generic], model: SVQVAE | None = None, title: str = "a title") -> Case:
        is_even = np.arange(len(y)) % 2 == 0
        model = model or SVQVAE(n_epochs=5, **NETWORK)
        with warnings.catch_warnings(), quickly():
            warnings.simplefilter("ignore", CodeHealthWarning)
            fitted = model.fit(X[is_even], y[is_even]).fitted_
            sets = {kind: fitted.labelled(X[own], y[own]) for kind, own in ((TRAINING, is_even), (TEST, ~is_even))}
            figures = {kind: quality_of(fitted, sets[TRAINING], part).to_dict() for kind, part in sets.items()}
            report = report_fitted(fitted, tmp_path_factory.mktemp("case"), figures, sets, title=title)
        return Case(model, sets, report)

    return make


@pytest.fixture(scope="session")
def draw() -> Callable[..., tuple[pd.DataFrame, NDArray[np.str_]]]:
    """Return the function that draws samples of some classes as a table."""

    def draw_table(
        names: list[str], n_each: int = 24, features: list[str] | None = None, n_features: int = 20
    ) -> tuple[pd.DataFrame, NDArray[np.str_]]:
        rng = np.random.default_rng(3)
        columns = features or [f"gene {j}" for j in range(n_features)]
        y = np.repeat(np.array(names), n_each)
        means = 2 * rng.normal(size=(len(names), len(columns)))
        X = np.repeat(means, n_each, axis=0) + rng.normal(size=(len(y), len(columns)))
        order = rng.permutation(len(y))
        return pd.DataFrame(X[order], columns=columns), y[order]

    return draw_table


@pytest.fixture(scope="session")
def table(make_case, draw) -> Case:
    """Return a case of five classes, one of them rare."""
    X, y = draw(["a", "b", "c", "d", "rare"], 40)
    kept = (y != "rare") | (np.cumsum(y == "rare") <= 12)
    return make_case(X[kept].reset_index(drop=True), y[kept], SVQVAE(n_epochs=50, **NETWORK))


@pytest.fixture(scope="session")
def hostile(make_case, draw) -> Case:
    """Return a case whose class and gene names, and whose title, are hostile."""
    X, y = draw(HOSTILE, features=[f"{name} {j}" for j in range(3) for name in HOSTILE])
    return make_case(X, y, title=HOSTILE[0])


@pytest.fixture(scope="session")
def images(make_case) -> Case:
    """Return a case of handwritten digits."""
    X, y = digits()
    model = SVQVAE(architecture="conv", latent_dim=16, n_epochs=6, random_state=0)
    return make_case(X[:700], y[:700], model, "Handwritten digits")


@pytest.fixture(scope="session")
def bare(table: Case, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the page of a run of which there are no samples."""
    with quickly():
        return write_report(table.fitted, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def lincs(real_file, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    """Return the published LINCS model and its page."""
    from svqvae.jobs.import_published import import_run

    saved, out = real_file("lincs/reference_model"), tmp_path_factory.mktemp("lincs")
    genes = real_file("lincs/landmark_genes.tsv")
    fitted, _ = import_run(saved, saved / "pcl_names.csv", genes, out)
    return fitted, write_report(fitted, out).page
