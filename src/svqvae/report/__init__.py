"""The report of a run: one self-contained HTML page, and its numbers as JSON.

It is made in three steps, so that numbers and pages can be tested separately:

1. *Summarise.* `summary.summarise` collects all content of the page in one tree of plain numbers and text, which is
   written as `report.json`: what the run itself contains (`relations`, `classes`), what requires samples (`simulation`,
   `places`, and the comparison with plain classifiers from `svqvae.evaluation.beside`), and a verdict in words
   (`verdict`). Nothing is trained here.
2. *Draw.* `figures` and `diagrams` turn these numbers into positions, and `pictures` makes small images; none of them
   writes markup.
3. *Render.* `page` fills the templates with numbers of the JSON file only, and each number on the page names its place
   in that file (``data-path``). jinja2 escapes all text. Colours are variables of the style sheet, so that one drawing
   serves light and dark themes. The script of the page is for interaction only: search, sort, choose a class, compare
   two classes.

The page loads nothing from elsewhere; its content security policy forbids it.
"""
