"""Small images as data URIs: matrices in shades of one colour, and pictures of classes and samples."""

import base64
import io
from typing import Any

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from svqvae.evaluation.beside import Sets, evidence_of
from svqvae.fitting.fitted import Fitted

# The colour of the scale in the style sheet, #0072b2; shades are its opacity over the background of either theme.
INK = (0, 114, 178)
# Real, and simulated, samples of a class that are shown; chosen by hand.
N_SHOWN = 5
# Largest side of a picture in pixels, chosen by hand; of larger ones, only every other, third ... pixel is shown.
MAX_SIDE = 64


def shades(values: NDArray[np.floating]) -> str:
    """Return a matrix as a PNG data URI with one pixel per cell: 0 and NaN are transparent, 1 is opaque.

    Parameters
    ----------
    values : opacities in [0, 1], (n_rows, n_columns)
    """
    pixels = np.empty((*values.shape, 4), dtype=np.uint8)
    pixels[..., :3] = INK
    pixels[..., 3] = np.round(255 * np.clip(np.nan_to_num(values), 0, 1))
    return _uri(pixels)


def picture(image: NDArray[np.floating], low: float, high: float) -> str:
    """Return an image as a PNG data URI: in colour if it has 3 or 4 channels, of which 3 are used, otherwise in grey.

    Parameters
    ----------
    image : (height, width) or (channels, height, width)
    low, high
        Values of white and of black in grey images, of no and of full intensity in colour.
    """
    image = image[0] if image.ndim == 3 and image.shape[0] not in (3, 4) else image
    step = max(1, -(-max(image.shape[-2:]) // MAX_SIDE))
    scaled = np.clip((image[..., ::step, ::step] - low) / max(high - low, 1e-12), 0, 1)
    if scaled.ndim == 3:
        return _uri(np.round(255 * np.moveaxis(scaled[:3], 0, -1)).astype(np.uint8))
    grey = np.round(255 * (1 - scaled)).astype(np.uint8)
    return _uri(np.repeat(grey[..., None], 3, axis=2))


def class_pictures(fitted: Fitted, sets: Sets, seed: int) -> list[dict[str, Any]]:
    """Return pictures of each class, if samples are images: its decoded code, and some real and simulated samples.

    Parameters
    ----------
    fitted
        The fitted model.
    sets
        Samples by kind.
    seed
        Seed of the simulated samples.

    Returns
    -------
    list of dict
        For each class ``code``, a data URI, and ``real`` and ``simulated``, lists of these; empty for tables.
    """
    shape = fitted.recipe.design.image_shape
    if not shape:
        return []
    profiles = fitted.class_profiles().reshape(-1, *shape)
    kind = evidence_of(sets)
    everything = profiles if kind is None else sets[kind].rows[:]
    low, high = (float(np.quantile(everything, end)) for end in (0.001, 0.999))
    found = []
    for k, name in enumerate(fitted.classes):
        real, drawn = [], []
        if kind is not None:
            real = list(sets[kind].rows[np.flatnonzero(sets[kind].y == k)[:N_SHOWN]].reshape(-1, *shape))
        if fitted.atlas.density is not None:
            drawn = list(fitted.sample(name, N_SHOWN, np.random.default_rng(seed + k)).reshape(-1, *shape))
        found.append(
            {
                "code": picture(profiles[k], low, high),
                "real": [picture(image, low, high) for image in real],
                "simulated": [picture(image, low, high) for image in drawn],
            }
        )
    return found


def _uri(pixels: NDArray[np.uint8]) -> str:
    content = io.BytesIO()
    matplotlib.image.imsave(content, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
