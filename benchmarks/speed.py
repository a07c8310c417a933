"""How fast does svqvae train and predict, beside what a user would pick instead and what the machine can do?

Methods take turns, one epoch each, in processes of their own; rates are medians over the rounds, and ratios are taken
within a round, given as median, least and greatest. Parts:

mnist, lincs  samples a second of a training epoch, peak resident memory, share of the best matrix product rate: the
              notebooks' loop (speed_methods.Reference), pythae and scvi-tools where they are installed, svqvae
classes       cost of a step at 75, 2,000 and 10,000 classes, 978 genes, batches of 256
predict       rows a second of `predict` against the rate of the encoder's matrix products: those of the encoder as it
              trains (of_matrix), and those left once its whitening is folded into the first layer (of_matrix_left)
quality       seconds of a whole `fit` of the default model to the reference's final quality, on MNIST and at LINCS
              shape, against the reference's epochs (25 and 900) times its seconds an epoch in this run
reference     the reference's 900 epochs at LINCS shape, once: writes results/speed_reference.csv for `quality`

All processes keep freed memory, as the command svqvae does (svqvae.cli.memory). Writes a CSV after each part; rows of
other parts are kept.
"""

import argparse
import functools
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import speed_data
import speed_methods as methods
import speed_rivals as rivals
import torch
from mnist_data import load_mnist
from speed_counts import Product, matrix_rates, present_classes, products, step_flop
from speed_process import Lap, Runner, take_turns
from speed_quality import quality, reference_run

from svqvae import SVQVAE
from svqvae.cli.memory import keep_freed_memory
from svqvae.parameters import check

RESULTS = Path(__file__).parent / "results" / "speed.csv"
BATCH, DEFAULT_LATENT_DIM = 256, 256


@dataclass(frozen=True)
class Plan:
    """What is run: how often, how much of the data, where data are kept, and whether others are raced."""

    n_rounds: int
    is_quick: bool
    folder: Path
    has_rivals: bool


@dataclass(frozen=True)
class Entry:
    """A method in the race: its name, batch, precision, the objective whose arithmetic it needs, and how it is run.

    Its networks are the published ones or the default ones.
    """

    method: str
    batch: int
    precision: str
    objective: str | None
    runner: Callable[[], Runner]
    has_default_networks: bool = False


def accepts(precision: str) -> bool:
    """Return whether this version knows the precision."""
    try:
        check(SVQVAE(precision=precision).get_params(deep=False))
    except ValueError:
        return False
    return True


def race_data(data: str, plan: Plan) -> Path:
    """Return where the training data of a race are kept."""
    if data == "lincs":
        X, y = speed_data.lincs_shaped()
    elif plan.is_quick:
        rng = np.random.default_rng(0)
        X, y = rng.integers(256, size=(256, 28, 28), dtype=np.uint8), np.arange(256) % 10
    else:
        X, y = load_mnist()[:2]
    step = 20 if plan.is_quick and data == "lincs" else 1
    return speed_data.write(plan.folder, data, X[::step], np.unique(y[::step], return_inverse=True)[1])


def entries(data: str, path: Path, plan: Plan) -> list[Entry]:
    """Return the methods to race, the reference first."""

    def ours(name: str, objective: str | None, settings: dict[str, Any], batch: int, precision: str) -> Entry:
        settings = settings | {"batch_size": batch, "precision": precision}
        start = functools.partial(Runner, methods.ours, settings, path)
        return Entry(name, batch, precision, objective, start, has_default_networks=name == "svqvae default")

    racing = [
        Entry(
            "reference", BATCH, "32-true", "published", functools.partial(Runner, methods.reference, data, path, BATCH)
        ),
    ]
    if plan.has_rivals and rivals.has("pythae"):
        racing.append(
            Entry(
                "pythae VQVAE",
                BATCH,
                "32-true",
                "published",
                functools.partial(Runner, rivals.pythae_vqvae, data, path, BATCH),
            )
        )
    if plan.has_rivals and data == "lincs" and rivals.has("scvi"):
        for name, width in (("scvi SCANVI", 128), ("scvi SCANVI, 1000 wide", 1000)):
            start = functools.partial(Runner, rivals.scanvi, path, BATCH, width)
            racing.append(Entry(name, BATCH, "32-true", None, start))
    larger = [] if plan.is_quick else [512, 1024, 2048] + ([4096, 8192] if data == "lincs" else [])
    fewer = (BATCH, *(batch for batch in larger if batch in (1024, 4096, 8192)))
    for precision in ["32-true", *(["auto"] if accepts("auto") and not plan.is_quick else [])]:
        published, prototype = methods.published_settings(data), methods.prototype_settings(data)
        racing += [ours("svqvae published", "published", published, batch, precision) for batch in (BATCH, *larger)]
        racing += [ours("svqvae prototype", "prototype", prototype, batch, precision) for batch in fewer]
        default = methods.default_settings(data)
        racing += [ours("svqvae default", "prototype", default, batch, precision) for batch in fewer]
    return racing


def race(data: str, plan: Plan) -> pd.DataFrame:
    """Race training epochs, and return a row for each method."""
    path = race_data(data, plan)
    racing = entries(data, path, plan)
    _, y = speed_data.read(path)
    encoder, decoder = layers(data)
    default = default_layers(data)
    batches = sorted({entry.batch for entry in racing})
    runners = [warm(f"{entry.method}, batch {entry.batch}, {entry.precision}", entry.runner) for entry in racing]
    precisions = ["32-true"] if plan.is_quick else ["32-true", "bf16-mixed"]
    matrix = Runner(matrix_rates, [*encoder, *decoder], batches, precisions)
    laps = take_turns([matrix, *runners], plan.n_rounds)
    for runner in (matrix, *runners):
        runner.stop()
    rates = [lap.notes["rates"] for lap in laps[0]]
    if not plan.is_quick:
        tell_bf16(rates)
    counts = np.bincount(y).tolist()
    rows = []
    for entry, own in zip(racing, laps[1:], strict=True):
        seen = [lap.n_samples / lap.seconds for lap in own]
        row = {"part": data, "method": entry.method, "batch": entry.batch, "precision": entry.precision}
        row |= {"samples_per_second": np.median(seen), "peak_mib": own[-1].peak_mib}
        row |= ratios(seen, [lap.n_samples / lap.seconds for lap in laps[1]])
        if entry.objective is not None:
            pair = default if entry.has_default_networks else (encoder, decoder)
            latent_dim = DEFAULT_LATENT_DIM if entry.has_default_networks else methods.LATENT_DIM[data]
            shape = (entry.batch, len(counts), present_classes(counts, entry.batch), latent_dim)
            row |= arithmetic(seen, step_flop(pair[0], pair[1], entry.objective, *shape), own, entry, rates)
        rows.append(row)
    return pd.DataFrame(rows)


def layers(data: str) -> tuple[list[Product], list[Product]]:
    """Return the matrix products of the published encoder and decoder."""
    encoder, decoder = methods.published_networks(data)
    sample = torch.zeros(1, 1, 28, 28) if data == "mnist" else torch.zeros(1, speed_data.N_GENES)
    return products(encoder, sample), products(decoder, torch.zeros(1, methods.LATENT_DIM[data]))


def default_layers(data: str) -> tuple[list[Product], list[Product]]:
    """Return the matrix products of a training step's default encoder, which reads whitened samples, and decoder."""
    from svqvae.model.networks import convolutional, dense

    if data == "mnist":
        pair, sample = convolutional((1, 28, 28), DEFAULT_LATENT_DIM), torch.zeros(1, 1, 28, 28)
    else:
        genes = speed_data.N_GENES
        pair, sample = dense(genes, DEFAULT_LATENT_DIM, (512,), genes), torch.zeros(1, genes)
    return products(pair[0], sample), products(pair[1], torch.zeros(1, DEFAULT_LATENT_DIM))


def warm(name: str, start: Callable[[], Runner]) -> Runner:
    """Start a method, let it do its first lap, and say so."""
    runner = start()
    print(f"  warm: {name}, {runner.warm_up.seconds:.2f} s", flush=True)
    return runner


def ratios(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Return median, least and greatest of the ratios within a round."""
    found = np.asarray(values) / np.asarray(others)
    return {"ratio": float(np.median(found)), "ratio_min": float(found.min()), "ratio_max": float(found.max())}


def arithmetic(
    seen: Sequence[float], flop: float, laps: Sequence[Lap], entry: Entry, rates: Sequence[dict[tuple[str, int], float]]
) -> dict[str, Any]:
    """Return the achieved GFLOP/s, the best of matrix products in the precision used, and the share."""
    used = laps[-1].notes.get("precision", entry.precision)
    key = (used, entry.batch) if (used, entry.batch) in rates[0] else ("32-true", entry.batch)
    achieved, best = np.asarray(seen) * flop / 1e9, np.array([rate[key] for rate in rates])
    return {
        "used": used,
        "gflops": float(np.median(achieved)),
        "matrix_gflops": float(np.median(best)),
        "of_matrix": float(np.median(achieved / best)),
    }


def tell_bf16(rates: Sequence[dict[tuple[str, int], float]]) -> None:
    """Say how bfloat16 products compare with those of single precision on this machine."""
    first = min(batch for _, batch in rates[0])
    found = float(np.median([rate["bf16-mixed", first] / rate["32-true", first] for rate in rates]))
    verdict = "slower: bf16-mixed cannot pay here" if found < 1 else "faster"
    print(f"bfloat16 products run at {found:.2f} times the rate of float32 at batch {first}: {verdict}")


def classes(plan: Plan) -> pd.DataFrame:
    """Measure a step at several numbers of classes."""
    numbers = (75, 300) if plan.is_quick else (75, 2000, 10_000)
    n_samples = 600 if plan.is_quick else 20_480
    rows = []
    kinds = {"svqvae prototype": methods.prototype_settings("lincs")}
    if not plan.is_quick:
        kinds |= {"svqvae published": methods.published_settings("lincs")}
        kinds |= {"svqvae default": methods.default_settings("lincs")}
    for name, settings in kinds.items():
        runners = []
        for n_classes in numbers:
            path = speed_data.write(
                plan.folder, f"classes{n_classes}", *speed_data.spread_classes(n_classes, n_samples)
            )
            with_batch = settings | {"batch_size": BATCH, "precision": "32-true"}
            start = functools.partial(Runner, methods.ours, with_batch, path)
            runners.append(warm(f"{name}, {n_classes} classes", start))
        laps = take_turns(runners, plan.n_rounds)
        n_steps = -(-n_samples // BATCH)
        for n_classes, runner, own in zip(numbers, runners, laps, strict=True):
            runner.stop()
            row = {"part": "classes", "method": name, "batch": BATCH, "precision": "32-true", "n_classes": n_classes}
            row["milliseconds_a_step"] = 1000 * np.median([lap.seconds for lap in own]) / n_steps
            row |= {"samples_per_second": np.median([lap.n_samples / lap.seconds for lap in own])}
            row["peak_mib"] = own[-1].peak_mib
            rows.append(row | ratios([lap.seconds for lap in own], [lap.seconds for lap in laps[0]]))
    return pd.DataFrame(rows)


def predict(plan: Plan) -> pd.DataFrame:
    """Measure `predict` against the rate of matrix products of the encoder, with its whitening and as it predicts."""
    path = race_data("lincs", plan)
    rows = []
    kinds = {
        "svqvae published": methods.published_settings("lincs"),
        "svqvae default": methods.default_settings("lincs"),
    }
    for name, settings in list(kinds.items())[: 1 if plan.is_quick else 2]:
        encoder = encoder_products(settings)
        whole = whitening_products(settings) + encoder
        shapes = [encoder] if whole == encoder else [whole, encoder]
        # The chunks of svqvae.model.inference.
        matrices = [Runner(matrix_rates, products, [1024], ["32-true"]) for products in shapes]
        runner = warm(f"{name}, predict", functools.partial(Runner, methods.predicting, settings, path))
        laps = take_turns([*matrices, runner], plan.n_rounds)
        for one in (*matrices, runner):
            one.stop()
        seen = np.array([lap.n_samples / lap.seconds for lap in laps[-1]])
        best, best_left = ([lap.notes["rates"]["32-true", 1024] for lap in own] for own in (laps[0], laps[-2]))
        achieved, left = (seen * sum(layer.flop for layer in products) / 1e9 for products in (whole, encoder))
        row = {"part": "predict", "method": name, "precision": "32-true", "samples_per_second": np.median(seen)}
        row |= {"peak_mib": laps[-1][-1].peak_mib, "gflops": np.median(achieved), "matrix_gflops": np.median(best)}
        row |= {"of_matrix": np.median(achieved / best), "of_matrix_left": np.median(left / best_left)}
        rows.append(row | ratios(achieved.tolist(), best))
    return pd.DataFrame(rows)


def encoder_products(settings: dict[str, Any]) -> list[Product]:
    """Return the matrix products of an encoder of tables with 978 features, once its whitening is folded."""
    return (default_layers if settings["architecture"] == "dense" else layers)("lincs")[0]


def whitening_products(settings: dict[str, Any]) -> list[Product]:
    """Return the matrix products of its whitening, which a trained model has folded into the first layer."""
    if settings["architecture"] != "dense":
        return []
    from svqvae.model.whitening import MAX_RANK

    return [Product(1, speed_data.N_GENES, MAX_RANK), Product(1, MAX_RANK, speed_data.N_GENES)]


PARTS: dict[str, Callable[[Plan], pd.DataFrame]] = {
    "mnist": lambda plan: race("mnist", plan),
    "lincs": lambda plan: race("lincs", plan),
    "classes": classes,
    "predict": predict,
    "quality": lambda plan: quality(plan.folder, plan.n_rounds, plan.is_quick),
}


def keep(table: pd.DataFrame, part: str, path: Path) -> None:
    """Put the rows of a part in the place of those that the CSV has of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        known = pd.read_csv(path)
        table = pd.concat([known[known["part"] != part], table], ignore_index=True)
    table.round(4).to_csv(path, index=False)


def main() -> None:
    """Run the parts, print their tables, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*PARTS, "reference"], help="parts to run; all but reference")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--without-rivals", action="store_true", help="leave pythae and scvi-tools out")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="CSV", help="where rows go; results/speed.csv")
    parser.add_argument("--quick", action="store_true", help="small shapes, one round; writes nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        Runner.start_method = "forkserver"
        multiprocessing.set_forkserver_preload(["speed_methods", "speed_quality", "svqvae.estimator", "__main__"])
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        n_rounds = 1 if arguments.quick else arguments.repeats
        plan = Plan(n_rounds, arguments.quick, Path(folder), not arguments.without_rivals)
        for part in arguments.only or PARTS:
            print(f"{part}: load {os.getloadavg()[0]:.1f} at the start", flush=True)
            if part == "reference":
                reference_run(plan.is_quick)
                continue
            table = PARTS[part](plan)
            print(table.drop(columns="part").round(3).to_string(index=False, na_rep=""), flush=True)
            if not arguments.quick:
                keep(table, part, arguments.results)


if __name__ == "__main__":
    main()
