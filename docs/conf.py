"""How the documents are built."""

project = "svqvae"
author = "The svqvae developers"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery"]
html_theme = "pydata_sphinx_theme"
html_title = "svqvae"
html_theme_options = {"show_toc_level": 2}
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath"]
autodoc_typehints = "description"
exclude_patterns = ["_build"]
sphinx_gallery_conf = {"examples_dirs": "../examples", "gallery_dirs": "gallery", "min_reported_time": 1e6}
