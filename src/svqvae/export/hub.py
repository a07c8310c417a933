"""A run folder as Hugging Face's hub shows it: the files that `SVQVAE.load` reads, and a model card."""

import json
from pathlib import Path

from svqvae.atlas.atlas import ClassAtlas
from svqvae.export.card import write_card
from svqvae.files import current, make_folder, write_whole
from svqvae.fitting.run_folder import METRICS, read_fitted, read_run, run_files
from svqvae.model.recipe import OWN_NETWORKS

CARD = "README.md"


def export_hub(folder: Path | str, out: Path | str, license_name: str = "other") -> list[Path]:
    """Write a run as a folder that can be uploaded to a model hub, and return the files written.

    Parameters
    ----------
    folder
        A run folder; it is loaded first, so that a damaged one is not passed on.
    out
        Folder to write, made where it does not exist. A README.md in it is never overwritten.
    license_name
        Identifier of the licence under which the model is given, such as "mit".

    Raises
    ------
    FileExistsError
        Where there is a README.md already.
    ValueError, FileNotFoundError
        Where the run is damaged or no run.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from svqvae import SVQVAE
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     SVQVAE(random_state=0, n_epochs=5).fit(X, y).save(Path(folder) / "run")
    ...     files = export_hub(Path(folder) / "run", Path(folder) / "iris", "mit")
    >>> [file.name for file in files]
    ['model.safetensors', 'atlas.safetensors', 'run.json', 'history.csv', 'README.md']
    """
    folder, out = Path(folder), Path(out)
    run = read_run(folder)
    if run["recipe"]["design"]["architecture"] != OWN_NETWORKS:
        read_fitted(folder)
    atlas = ClassAtlas.load(folder)
    if (out / CARD).exists():
        raise FileExistsError(
            f"`out` must have no {CARD} yet, since it might be yours; {out} has one. Move it away, or give another "
            "folder."
        )
    path = current(folder, METRICS)
    try:
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; it is damaged: {error}. Remove it, or fit the model anew.") from None
    card = write_card(out.resolve().name, run, metrics, atlas.counts.tolist(), license_name)
    make_folder(out)
    names = [file.name for file in run_files(folder, METRICS) if current(folder, file.name).is_file()]
    if out.resolve() != folder.resolve():
        for name in names:
            write_whole(out / name, current(folder, name).read_bytes())
    write_whole(out / CARD, card.encode())
    return [out / name for name in [*names, CARD]]
