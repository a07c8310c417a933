"""Write the report of a run: its numbers, and the page rendered from them."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from svqvae.atlas.atlas import ClassAtlas
from svqvae.evaluation.beside import Sets
from svqvae.files import make_folder, write_whole
from svqvae.fitting.fitted import Fitted
from svqvae.report import diagrams, figures
from svqvae.report.pictures import class_pictures
from svqvae.report.summary import summarise
from svqvae.report.verdict import named

PAGE, NUMBERS = "report.html", "report.json"
# Most cells of the profiles that the page holds to compare two classes, chosen by hand: a guard for the size of the
# page, 11 MB, since a value and its variance are 8 bytes, times 4/3 in base64.
MAX_CELLS = 1_000_000
UNKNOWN = "not known"
# Widest figure that fits beside another, in pixels: (1,088 of the page - a gap of 40) / 2, see style.css.
MAX_BESIDE = 524
SET_NAMES = {
    "test": "test samples",
    "held_out": "held-out samples",
    "samples": "given samples",
    "training": "training samples",
}


@dataclass(frozen=True)
class Report:
    """Files and content of a report.

    Attributes
    ----------
    page
        The HTML file.
    numbers
        The JSON file.
    summary
        Content of the JSON file.
    """

    page: Path
    numbers: Path
    summary: dict[str, Any]

    @property
    def verdict(self) -> tuple[str, str, str]:
        """The verdict in three lines: accuracy, pictures and trust."""
        found = self.summary["verdict"]
        return found["accuracy"], found["pictures"], found["trust"]


def write_report(
    fitted: Fitted,
    folder: Path,
    qualities: Mapping[str, Mapping[str, float]] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    sets: Sets | None = None,
    *,
    title: str | None = None,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda _: None,
) -> Report:
    """Write `report.html`, a self-contained page, and `report.json`, all numbers on it.

    Parameters
    ----------
    fitted
        The fitted model.
    folder
        The folder, which is created if it does not exist.
    qualities
        Figures of `svqvae.evaluation.quality.Quality` by kind of samples, as in `metrics.json`.
    accuracy
        Result of `svqvae.evaluation.beside.compare_beside` on the samples, or None.
    sets
        Samples by the same kinds. Without them there is no map and no comparison of simulated with real samples.
    title
        Title of the page; None takes the name of the folder.
    progress
        Called with the name of each part; returns a function to call after each step with the number of steps that are
        done, and of all, or None.
    """
    folder = Path(folder)
    make_folder(folder, "folder")
    given, title = dict(sets or {}), title or folder.resolve().name
    summary = summarise(fitted, qualities or {}, accuracy, given, title, progress=progress)
    text = json.dumps(summary, ensure_ascii=False, allow_nan=False)
    summary = json.loads(text)
    page = render(summary, fitted.atlas, class_pictures(fitted, given, fitted.seed))
    write_whole(folder / NUMBERS, text.encode())
    write_whole(folder / PAGE, page.encode())
    return Report(folder / PAGE, folder / NUMBERS, summary)


def render(summary: dict[str, Any], atlas: ClassAtlas, pictures: list[dict[str, Any]]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    summary
        As `summarise` returns it, read back from JSON.
    atlas
        Atlas with the profiles that the script of the page compares.
    pictures
        As `class_pictures` returns them.
    """
    script = _source("page.js")
    names = [facts["name"] for facts in summary["classes"]]
    relations, accuracy = summary["relations"], summary["accuracy"]
    distances = np.array(relations["distances"], dtype=np.float64)
    order = relations["order"]
    first = max(range(len(names)), key=lambda k: summary["classes"][k]["count"])
    drawn: dict[str, Any] = {
        "curves": figures.draw_curves(summary["history"]),
        "tree": diagrams.draw_tree(relations, names),
        "network": diagrams.draw_network(relations, summary["classes"]),
        "heat": figures.draw_matrix(figures.shade_distances(distances), names, order),
        **_draw_maps(summary["map"], names),
        "confusion": None,
    }
    if accuracy is not None:
        counts = np.array(accuracy["confusion"], dtype=np.float64)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        drawn["confusion"] = figures.draw_matrix(shares, names, order, counts)
    data = {
        "names": names,
        "relations": {key: relations[key] for key in ("metric", "order", "distances", "nearest")},
        "confusion": None if accuracy is None else accuracy["confusion"],
        "contrast": pack_profiles(atlas),
        "first": first,
    }
    return (
        _environment()
        .get_template("page.html")
        .render(
            s=summary,
            draw=drawn,
            pictures=pictures,
            value=_Values(summary),
            names=names,
            first=first,
            # Only files of this package and escaped JSON; autoescape takes care of all text from outside.
            style=Markup(_source("style.css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            data=Markup(escape_json(data)),  # noqa: S704
        )
    )


def _draw_maps(places: dict[str, Any] | None, names: list[str]) -> dict[str, Any]:
    """Return the map of principal components and that of UMAP; None for those that are not known."""
    if places is None or places["umap"] is None:
        return {"map": None if places is None else figures.draw_map(places, names, is_wide=True), "umap": None}
    return {
        "map": figures.draw_map(places, names, is_wide=False),
        "umap": figures.draw_map(places | places["umap"], names, is_wide=False),
    }


def escape_json(data: Any) -> str:
    r"""Return JSON that is safe within a script element, whatever text it contains.

    Examples
    --------
    >>> escape_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def pack_profiles(atlas: ClassAtlas) -> dict[str, Any]:
    """Return the data for comparing two classes as in `ClassAtlas.contrast`, with arrays as base64 of float32.

    If classes × features exceed a million, only the features that vary most between classes are included.
    """
    n_classes, n_features = atlas.decoded.shape
    chosen = np.arange(n_features)
    if n_classes * n_features > MAX_CELLS:
        by_spread = np.argsort(-atlas.decoded.var(0), kind="stable")
        chosen = np.sort(by_spread[: MAX_CELLS // n_classes])
    spread, variances, degrees = atlas.profile_spread, None, None
    if spread is not None:
        misfit = ((atlas.decoded - atlas.means) ** 2).mean(1, dtype=np.float64)
        variances = _pack(spread.mean_variances(atlas.counts)[:, chosen] + misfit[:, None])
        degrees = spread.degrees.tolist()
    return {
        "features": [atlas.feature_names[j] for j in chosen],
        "n_features": n_features,
        "decoded": _pack(atlas.decoded[:, chosen]),
        "scale": _pack(np.broadcast_to(atlas.scale, n_features)[chosen]),
        "variances": variances,
        "degrees": degrees,
        "most": int(atlas.counts.sum()) - n_classes,
        "shape": list(atlas.sample_shape) if len(atlas.sample_shape) > 1 and len(chosen) == n_features else None,
    }


def _pack(values: NDArray[np.floating]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


class _Values:
    """Numbers of the summary as markup that names their place in it."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary

    def __call__(self, path: str, style: str = "number") -> Markup:
        found: Any = self.summary
        for step in path.split("/"):
            found = found[int(step)] if isinstance(found, list) else found[step]
        if found is None:
            return Markup('<span class="unknown">{}</span>').format(UNKNOWN)
        return Markup('<data value="{}" data-path="{}">{}</data>').format(found, path, say_number(found, style))


def say_number(value: float, style: str) -> str:
    r"""Return a number as it is shown on the page.

    Parameters
    ----------
    value
        The number.
    style
        "percent"; "count"; "points", percentage points; "share"; "q"; any other is 3 significant digits.

    Examples
    --------
    >>> [say_number(x, style) for x, style in ((0.98765, "percent"), (12345, "count"), (0.98765, "share"), (1e-9, "q"))]
    ['98.8\xa0%', '12,345', '0.99', '<0.001']
    """
    if style == "percent":
        return f"{100 * value:.1f}\u00a0%"
    if style == "count":
        return f"{value:,.0f}"
    if style == "points":
        return f"{100 * value:.1f}"
    if style == "share":
        return f"{value:.2f}"
    if style == "q":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 or not value else f"{value:.2g}"


def breakable(name: str) -> Markup:
    """Return a name in which lines may break after an underscore, a slash or a hyphen.

    Examples
    --------
    >>> breakable("a_b<c>")
    Markup('a_<wbr>b&lt;c&gt;')
    """
    return Markup("<wbr>").join(re.findall(r"[^_/-]*[_/-]?", name)[:-1])


def coded(sentence: str) -> Markup:
    """Return a sentence as markup, with text in backticks as code.

    Examples
    --------
    >>> coded("`a` < b")
    Markup('<code>a</code> &lt; b')
    """
    parts = sentence.split("`")
    marked = [Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)]
    return Markup("").join(marked)


def _source(name: str) -> str:
    return resources.files("svqvae.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("svqvae.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["say"] = say_number
    environment.filters["breakable"] = breakable
    environment.filters["named"] = named
    environment.filters["coded"] = coded
    environment.globals["beside"] = MAX_BESIDE
    environment.globals["set_names"] = SET_NAMES
    return environment
