"""A model card as Hugging Face reads it: YAML front matter, then Markdown, told from a run folder and nothing else."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from svqvae.model.recipe import OWN_NETWORKS

N_CLASSES, N_FEATURES = 200, 10
MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]<>|~#&!$])")

CITATION = """```bibtex
@misc{xue2019supervised,
  title = {Supervised Vector Quantized Variational AutoEncoder for Learning Interpretable Global Representations},
  author = {Xue, Yifan and Ding, Michael and Lu, Xinghua},
  year = {2019},
  eprint = {1909.11124},
  archivePrefix = {arXiv},
}
```"""


def write_card(
    name: str, run: Mapping[str, Any], metrics: Mapping[str, Any], counts: Sequence[int], license_name: str
) -> str:
    """Return the text of a model card.

    Parameters
    ----------
    name
        What the model is called.
    run
        The content of its `run.json`.
    metrics
        The content of its `metrics.json`; empty where there is none.
    counts
        Training samples of each class, (n_classes,); all 0 where no samples are known.
    license_name
        An identifier such as "mit", or "other".

    Examples
    --------
    >>> design = {"latent_dim": 8, "architecture": "dense", "n_features": 5, "image_shape": []}
    >>> run = {"classes": {"values": ["B", "T"]}, "feature_names": None, "sample_shape": [5], "n_iter": 3,
    ...        "recipe": {"design": design, "schedule": {"seed": 0}}, "versions": {"svqvae": "0.1.0"},
    ...        "data": {"n_samples": 40, "n_trained": 40, "sha256": "0f"}}
    >>> card = write_card("cells", run, {}, [20, 20], "mit")
    >>> card.splitlines()[:3]
    ['---', 'license: "mit"', 'library_name: svqvae']
    >>> "No samples were held out" in card
    True
    """
    parts = [
        _front_matter(name, run, metrics.get("held_out"), license_name),
        f"# {markdown_text(name)}",
        _introduction(run),
        "## Classes\n\n" + _classes(run, counts),
        "## Intended use and limits\n\n" + _limits(run, metrics),
        "## Training data\n\n" + _data(run),
        "## How to load\n\n" + _loading(run),
        "## How it was made\n\n" + _making(run),
        "## Citation\n\n" + CITATION,
    ]
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    r"""Return text that Markdown shows as it stands, on one line, in a table too.

    >>> print(markdown_text("a|b *c*"))
    a\|b \*c\*
    """
    visible = "".join(sign for sign in " ".join(text.split()) if unicodedata.category(sign) != "Cc")
    return MARKDOWN_SIGNS.sub(r"\\\1", visible)


def yaml_text(text: str) -> str:
    r"""Return text as a quoted YAML scalar on one line; what cannot be seen is escaped.

    >>> print(yaml_text('say "no": #1'))
    "say \"no\": #1"
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(
        f"\\U{ord(sign):08x}" if unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp") else sign
        for sign in quoted
    )


def _front_matter(name: str, run: Mapping[str, Any], held_out: Mapping[str, Any] | None, license_name: str) -> str:
    task = "tabular-classification" if not run["recipe"]["design"]["image_shape"] else "image-classification"
    lines = [
        "---",
        f"license: {yaml_text(license_name)}",
        "library_name: svqvae",
        f"pipeline_tag: {task}",
        "tags:",
        *(f"- {tag}" for tag in ("svqvae", "vq-vae", "prototypes", "generative-model")),
    ]
    if held_out is not None:
        lines += [
            "metrics:",
            "- accuracy",
            "model-index:",
            f"- name: {yaml_text(name)}",
            "  results:",
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            "      type: private",
            f"      name: {yaml_text('share of the data held out to watch training, ' + _fingerprint(run))}",
            "    metrics:",
            "    - type: accuracy",
            f"      name: {yaml_text('accuracy of the nearest code')}",
            f"      value: {json.dumps(held_out['accuracy'])}",
        ]
    return "\n".join([*lines, "---"])


def _introduction(run: Mapping[str, Any]) -> str:
    n, design = len(run["classes"]["values"]), run["recipe"]["design"]
    code = f"one code of {design['latent_dim']} dimensions"
    shape = "×".join(map(str, run["sample_shape"]))
    what = f"{design['n_features']} features" if len(run["sample_shape"]) == 1 else f"shape {shape}"
    return (
        f"A supervised vector-quantized variational autoencoder: {code} for each of {n} classes, for samples of "
        f"{what}. "
        "A new sample belongs to the class of the nearest code; a decoded code shows "
        "what is typical of its class; distances between codes show which classes are alike."
    )


def _classes(run: Mapping[str, Any], counts: Sequence[int]) -> str:
    names = [markdown_text(str(value)) for value in run["classes"]["values"]]
    is_known = any(counts)
    lines = [f"| class | {'samples' if run['data'].get('imported') else 'training samples'} |", "|---|---:|"]
    lines += [f"| {name} | {count if is_known else 'unknown'} |" for name, count in zip(names, counts, strict=True)][
        :N_CLASSES
    ]
    if len(names) > N_CLASSES:
        lines += ["", f"{len(names) - N_CLASSES} more stand in `run.json`."]
    return "\n".join(lines)


def _limits(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    held_out = metrics.get("held_out")
    if held_out is None:
        measured = "No samples were held out: how good the model is on samples it has not seen was not measured."
    else:
        measured = (
            f"On {held_out['n_samples']} samples held out to watch training, {held_out['accuracy']:.3f} were given "
            f"their class (by the nearest class mean: {held_out['accuracy_class_means']:.3f}). These samples decided "
            "when training stopped, so figures on others may be lower."
        )
    lines = [
        "To name the class of samples like those it was trained on, to compare classes, and to simulate samples.",
        measured,
        "Class probabilities are not calibrated: where training samples are few, they are too sure.",
        "Each sample gets one of the classes above, also a sample that belongs to none of them.",
        "Samples must have the same features, in the same units and prepared in the same way, as the training data.",
        "The files hold class means and spreads; the mean of a class of a single training sample is that sample.",
    ]
    if not run["data"].get("n_samples"):
        lines.append("No samples are known to it, so that nothing can be simulated and relations have no support.")
    return "\n".join(f"- {line}" for line in lines)


def _data(run: Mapping[str, Any]) -> str:
    data, names = run["data"], run.get("feature_names")
    n, imported = data.get("n_samples"), data.get("imported")
    lines = []
    if imported:
        lines += [f"- Unknown: the weights were imported from {', '.join(map(markdown_text, imported))}"]
        lines += [f"- Counts and spreads were measured on {n} samples"] if n else []
    else:
        lines += [f"- {n} samples, of which {data['n_trained']} trained the model"]
    if names is not None:
        rest = f" and {len(names) - N_FEATURES} more" if len(names) > N_FEATURES else ""
        shown = ", ".join(markdown_text(name) for name in names[:N_FEATURES])
        lines += [f"- Features: {shown}{rest}; all, in their order, stand in `run.json`"]
    lines += [f"- Fingerprint of values and labels: {_fingerprint(run)}"]
    return "\n".join(lines) + "\n\nWhat the data are, where they come from and whom they leave out: please tell here."


def _fingerprint(run: Mapping[str, Any]) -> str:
    digest = run["data"].get("sha256")
    return f"SHA-256 {digest}" if digest else "none"


def _loading(run: Mapping[str, Any]) -> str:
    own = run["recipe"]["design"]["architecture"] == OWN_NETWORKS
    networks = ", architecture=(encoder, decoder)" if own else ""
    note = "`encoder` and `decoder` are the networks that it was fitted with, which are not stored.\n\n" if own else ""
    return (
        f"{note}```python\n"
        "from svqvae import SVQVAE\n\n"
        'folder = "."  # this folder; or huggingface_hub.snapshot_download("OWNER/NAME")\n'
        f"model = SVQVAE.load(folder{networks})\n"
        "profiles = model.class_profiles()  # what is typical of each class, in the units of the data\n"
        "```\n\n"
        "Then `model.predict(X)` names classes and `model.transform(X)` gives latents. Nothing is unpickled."
    )


def _making(run: Mapping[str, Any]) -> str:
    design, schedule = run["recipe"]["design"], run["recipe"]["schedule"]
    versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
    how = f"Trained for {run['n_iter']} epochs with seed {schedule['seed']}"
    how = "Imported" if run["data"].get("imported") else how
    text = json.dumps(design | schedule, indent=2, ensure_ascii=False)
    return f"{how} by {versions}. All settings, defaults among them:\n\n```json\n{text}\n```"
