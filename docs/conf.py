"""How the documents are built: offline, with warnings as errors (`make docs`)."""

import os
from pathlib import Path

from sphinx.application import Sphinx

project = "svqvae"
author = "The svqvae developers"
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "svqvae"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "header_links_before_dropdown": 7}
html_sidebars = {"index": [], "start": [], "changelog": []}
html_show_sourcelink = False
numpydoc_show_class_members = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"
exclude_patterns = ["_build", "gallery/*.ipynb"]

# Scripts that read real data run only where SVQVAE_TEST_DATA names a folder that has them; without it, their pages show
# text and code, and say so.
needed = {"a375_classes": "lincs/a375", "published_lincs": "lincs/reference_model"}
data = os.environ.get("SVQVAE_TEST_DATA")
if data:
    # Scripts run in their own folder, where a relative path would lead elsewhere.
    os.environ["SVQVAE_TEST_DATA"] = str(Path(data).resolve())
skipped = [name for name, folder in needed.items() if not data or not (Path(data) / folder).is_dir()]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_" + (f"(?!{'|'.join(skipped)})" if skipped else ""),
    "within_subsection_order": "FileNameSortKey",
    "min_reported_time": 1e6,
    "write_computation_times": False,
    "show_signature": False,
    # Scripts print what is worth reading; the last object drawn is not.
    "capture_repr": (),
    "download_all_examples": False,
}


def tell_what_was_not_run(app: Sphinx, docname: str, source: list[str]) -> None:
    """Say on the page of a script that was not run why its output is missing."""
    name = docname.removeprefix("gallery/plot_")
    if docname.startswith("gallery/") and name in skipped:
        note = (
            "\n.. admonition:: Not run in this build\n   :class: warning\n\n"
            f"   This script reads ``{needed[name]}`` of the folder that ``SVQVAE_TEST_DATA`` names, which was not "
            "there. Its text and code are shown without output.\n\n"
        )
        source[0] = source[0].replace(
            "\n.. GENERATED FROM PYTHON SOURCE", note + "\n.. GENERATED FROM PYTHON SOURCE", 1
        )


def setup(app: Sphinx) -> None:
    """Register what Sphinx calls."""
    app.connect("source-read", tell_what_was_not_run)
