"""The page in Chromium: what a reader sees and does."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# Parts that reach beyond the window although nothing scrolls them into view.
BEYOND = """
const isScrolled = (e) => e.closest(".scroll, nav ul, .skip, #tip");
return Array.from(document.body.querySelectorAll("*")).filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !isScrolled(e);
}).map((e) => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 60));
"""
# Pairs of visible names in a drawing that overlap by more than a pixel each way.
OVERLAPS = """
const boxes = Array.from(document.querySelectorAll(arguments[0] + " text")).map((e) => [e, e.getBoundingClientRect()])
  .filter(([e, box]) => box.width && getComputedStyle(e).display !== "none");
const found = [];
boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
  if (p.left + 1 < q.right - 1 && q.left + 1 < p.right - 1 && p.top + 4 < q.bottom - 4 && q.top + 4 < p.bottom - 4)
    found.push(a.textContent + " | " + b.textContent);
}));
return found;
"""


class Browser:
    """A page in Chromium."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1400, theme: str = "light") -> None:
        """Open a page from disk in a window of some width, for a reader who prefers light or dark."""
        media = [{"name": "prefers-color-scheme", "value": theme}]
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.complaints()
        self.requests()
        self.driver.get(page.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click an element where a reader would: in the middle of the window."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        webdriver.ActionChains(self.driver, duration=0).move_to_element(element).click().perform()

    def texts(self, selector: str) -> list[str]:
        """Return the text of each visible element of a selector."""
        shown = "[...document.querySelectorAll(arguments[0])].filter((e) => e.offsetParent)"
        found: list[str] = self.run(f"return {shown}.map((e) => e.textContent)", selector)
        return found

    def values(self, selector: str) -> list[float]:
        """Return the number of each data element of a selector."""
        found = self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.value)", selector)
        return [float(value) for value in found]

    def choose(self, selector: str, k: int) -> None:
        """Choose an option of a list as a reader does."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
        self.run(script, self.find(selector), str(k))

    def complaints(self) -> list[str]:
        """Return what the console has said since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses asked for since this was last asked."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def is_demanded() -> bool:
    """Tell whether tests without a browser are failures."""
    return os.environ.get("SVQVAE_BROWSER", "") not in ("", "0")


def miss(reason: str) -> None:
    """Skip, or fail where a browser is demanded."""
    if is_demanded():
        pytest.fail(f"{reason}, and SVQVAE_BROWSER demands it")
    pytest.skip(reason)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a new profile."""
    binary, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver_path is None:
        miss("chromium and chromedriver are not both installed")
    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(driver_path)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def axe_source() -> str:
    """Return axe-core, which the variable SVQVAE_AXE names."""
    named = os.environ.get("SVQVAE_AXE")
    if not named:
        miss("SVQVAE_AXE is unset: it names axe-core's axe.min.js")
    path = Path(str(named))
    if not path.is_file():
        pytest.fail(f"SVQVAE_AXE must name axe-core's axe.min.js; got {named}.")
    return path.read_text(encoding="utf-8")


PAGES = ("images", "table", "hostile", "lincs")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page_of(request) -> Callable[[str], Path]:
    """Return the function that returns the page of a case."""

    def find(name: str) -> Path:
        case = request.getfixturevalue(name)
        return case[1] if name == "lincs" else case.report.page

    return find


@pytest.mark.parametrize("name", PAGES)
def test_pages_ask_for_nothing_and_the_console_stays_silent(name: str, browser: Browser, page_of) -> None:
    browser.open(page_of(name))
    for click in ("#class-table [data-choose]", "#network g[data-class]", "#theme", "#swap", "#unchoose"):
        browser.click(click)
    browser.find("#search").send_keys("a\n")
    took = browser.run("const t = performance.timing; return t.loadEventEnd - t.navigationStart")
    print(f"{name}: opened in {took} ms, {page_of(name).stat().st_size / 1e6:.2f} MB")  # noqa: T201
    asked = browser.requests()
    assert asked
    assert all(address.startswith(("file:", "data:")) for address in asked)
    assert browser.complaints() == []


@pytest.mark.parametrize("wanted", ["kinase", "CP_MEK", "no such class", ""])
def test_search_shows_the_classes_whose_name_holds_the_text(wanted: str, browser: Browser, lincs) -> None:
    fitted, page = lincs
    browser.open(page)
    browser.find("#search").send_keys(wanted)
    own = [name for name in fitted.classes if wanted.lower() in name.lower()]
    assert browser.texts("#class-table tbody th button") == own
    assert browser.find("#found").text == (f"{len(own)} of 75 classes" if wanted else "")


def test_enter_in_the_search_chooses_the_first_class_found(browser: Browser, lincs) -> None:
    browser.open(lincs[1])
    browser.find("#search").send_keys("mtor\n")
    assert browser.texts("article.card h3") == ["CP_MTOR_INHIBITOR"]


def test_a_press_on_a_row_shows_the_card_of_its_class(browser: Browser, images) -> None:
    browser.open(images.report.page)
    for k in (7, 2):
        browser.click(f"#class-table [data-choose='{k}']")
        assert browser.texts("article.card h3") == [str(k)]
        assert browser.find("#chosen b").text == str(k)
    browser.click("#unchoose")
    assert not browser.find("#chosen").is_displayed()


def test_a_press_on_the_network_shows_neighbours_and_profile(browser: Browser, lincs) -> None:
    fitted, page = lincs
    browser.open(page)
    edge = browser.run("const e = document.querySelector('#network line').dataset; return [e.a, e.b].map(Number)")
    browser.click(f"#network g[data-class='{edge[0]}'] circle")
    name, other = (fitted.classes[k] for k in edge)
    assert browser.texts("article.card h3") == [name]
    joined = browser.run("return [...document.querySelectorAll('#network g.is-near')].map((e) => e.dataset.tip)")
    assert other in joined
    assert all(neighbour in browser.find("#chosen .near").text for neighbour in joined)
    top = fitted.atlas.profile(name)["difference"].iloc[0]
    assert any(value == pytest.approx(top) for value in browser.values("article.card:not([hidden]) td.n data"))


def test_a_press_on_the_heat_map_chooses_the_class_of_the_row(browser: Browser, table) -> None:
    for width in (1400, 400):
        browser.open(table.report.page, width)
        browser.click("#heat")
        middle = table.summary["relations"]["order"][2]
        assert browser.texts("article.card h3") == [table.model.classes_[middle]]


@pytest.mark.parametrize("column, is_number", [(1, False), (2, True), (3, True), (4, False), (5, True)])
def test_a_press_on_a_heading_sorts_and_a_second_one_turns(
    column: int, is_number: bool, browser: Browser, images
) -> None:
    browser.open(images.report.page)
    keys = []
    for way in ("ascending", "descending"):
        browser.click(f"#class-table th:nth-child({column}) button")
        assert browser.find(f"#class-table th:nth-child({column})").get_attribute("aria-sort") == way
        texts = browser.texts(f"#class-table tbody tr > :nth-child({column})")
        keys.append([float(text.split()[0].replace(",", "")) if is_number else text for text in texts])
    assert keys[0] == sorted(keys[0])
    assert keys[1] == sorted(keys[1], reverse=True)


def lines_of(browser: Browser) -> list[list[float | str | None]]:
    """Return feature, difference, interval and q of each line of the comparison."""
    found: list[list[float | str | None]] = browser.run("""
    return [...document.querySelectorAll("#contrast-table tbody tr")].map((row) => {
      const [difference, q] = row.querySelectorAll("data"), interval = row.cells[3].dataset;
      return [row.cells[0].title, difference.value, interval.low, interval.high, q.value];
    });""")
    return found


@pytest.mark.parametrize("a, b", [(0, 4), (3, 1)])
def test_the_comparison_of_two_classes_is_that_of_the_atlas(a: int, b: int, browser: Browser, table) -> None:
    browser.open(table.report.page)
    browser.choose("#class-a", a)
    browser.choose("#class-b", b)
    atlas = table.model.to_atlas()
    theirs = atlas.contrast(atlas.names[a], atlas.names[b])
    up, down = (theirs[sign * theirs["difference"] > 0].head(10) for sign in (1, -1))
    lines = lines_of(browser)
    assert [line[0] for line in lines] == [*up.index, *down.index]
    ours = np.array([line[1:] for line in lines], dtype=float)
    own = theirs.loc[[line[0] for line in lines], ["difference", "low", "high", "q"]]
    np.testing.assert_allclose(ours, own, rtol=1e-3, atol=1e-5)
    n_sure = int((theirs["q"] <= 0.05).sum())
    assert browser.find("#contrast-said").text.startswith(f"{n_sure} of 20 features differ")
    assert browser.find("#name-a").text == atlas.names[a]


def test_the_comparison_without_samples_has_the_largest_differences(browser: Browser, lincs) -> None:
    fitted, page = lincs
    browser.open(page)
    browser.choose("#class-a", 40)
    browser.choose("#class-b", 7)
    theirs = fitted.atlas.contrast(fitted.classes[40], fitted.classes[7])["difference"]
    up = theirs[theirs > 0].sort_values(ascending=False).head(10)
    lines = lines_of(browser)[:10]
    assert [line[0] for line in lines] == up.index.tolist()
    np.testing.assert_allclose([float(str(line[1])) for line in lines], up, rtol=1e-4)
    browser.click("#swap")
    assert browser.find("#name-a").text == fitted.classes[7]


def test_the_comparison_of_images_is_an_image(browser: Browser, images) -> None:
    browser.open(images.report.page)
    browser.choose("#class-a", 3)
    browser.choose("#class-b", 8)
    strongest = images.model.to_atlas().contrast("3", "8")["difference"].abs().max()
    label = browser.find("#contrast-picture canvas").get_attribute("aria-label")
    assert float(label.split("at most ")[1].rstrip(".")) == pytest.approx(strongest, rel=5e-3)
    ink = browser.run("""const c = document.querySelector("#contrast-picture canvas");
    return Array.from(c.getContext("2d").getImageData(0, 0, 8, 8).data).filter((_, i) => i % 4 === 3)""")
    assert max(ink) == 255


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_reaches_beyond_the_window(name: str, width: int, browser: Browser, page_of) -> None:
    browser.open(page_of(name), width)
    browser.click("#class-table [data-choose]")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(BEYOND) == []


@pytest.mark.parametrize("name", PAGES)
def test_names_in_drawings_do_not_overlap(name: str, browser: Browser, page_of) -> None:
    browser.open(page_of(name))
    for figure in ("#network", ".tree", "#heat", "#confusion", ".map"):
        assert browser.run(OVERLAPS, figure) == [], figure


def test_hostile_names_are_shown_as_they_are(browser: Browser, hostile) -> None:
    browser.open(hostile.report.page)
    assert browser.driver.title == hostile.summary["title"] + ": svqvae report"
    for k, name in enumerate(hostile.model.classes_):
        browser.click(f"#class-table [data-choose='{k}']")
        assert browser.texts("article.card h3") == [name]
        assert browser.texts("#chosen b") == [name]
        assert browser.texts("#name-a") == [name]
        features = {line[0] for line in lines_of(browser)}
        assert features <= set(hostile.model.feature_names_in_)
    assert browser.run("return document.scripts.length") == 2
    assert browser.run("return document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_that_of_the_reader_and_can_be_switched(theme: str, browser: Browser, images) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    browser.open(images.report.page, theme=theme)
    browser.run("localStorage.clear()")
    browser.open(images.report.page, theme=theme)
    before = browser.run(ground)
    browser.click("#theme")
    after = browser.run(ground)
    browser.run("localStorage.clear()")
    assert (before == "rgb(20, 23, 26)", after == "rgb(20, 23, 26)") == (theme == "dark", theme == "light")


@pytest.mark.parametrize(
    "name, width, theme",
    [
        ("images", 1400, "light"),
        ("images", 1400, "dark"),
        ("images", 400, "light"),
        ("images", 400, "dark"),
        ("lincs", 1400, "light"),
        ("lincs", 400, "dark"),
        ("hostile", 400, "light"),
        ("table", 1400, "dark"),
    ],
)
def test_axe_finds_no_serious_problem(name: str, width: int, theme: str, browser: Browser, page_of) -> None:
    source = axe_source()
    browser.open(page_of(name), width, theme)
    browser.click("#class-table [data-choose]")
    browser.run(source)
    found = browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations), (e) => done(String(e)))"
    )
    told = [
        (rule["id"], [node["html"][:150] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert told == []
