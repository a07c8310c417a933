"""The page that shows a run: one HTML file that opens from disk, and its numbers as JSON.

It is made in three steps, so that numbers are tested as numbers and pages as pages:

1. *Summarise.* `summary.summarise` brings all that the page says into one tree of plain numbers and text: what the run
   itself tells (`relations`, `classes`), what takes samples (`simulation`, `places`, and the comparison with plain
   methods, which comes from `svqvae.evaluation.beside`: nothing is trained here), and what follows from both in words
   (`verdict`). It is written as `report.json`.
2. *Draw.* `figures` and `diagrams` turn those numbers into positions and `pictures` into small images; none of them
   writes markup.
3. *Render.* `page` fills the templates with the numbers of the JSON file, and with nothing else: a number on the page
   names the place in the file that it comes from (``data-path``). jinja2 escapes all text. Colours are variables of the
   style sheet, so that one drawing serves light and dark. The page's script does what only a reader can ask for:
   search, sort, choose a class, compare two; the rest is there without it.

Nothing on the page is fetched from anywhere; its content security policy forbids it.
"""
