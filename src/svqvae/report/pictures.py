"""Small images as data URIs: matrices as shades of one ink, and images of classes and samples."""

import base64
import io
from typing import Any

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from svqvae.evaluation.beside import Sets, evidence_of
from svqvae.fitting.fitted import Fitted

# The accent of the style sheet in both themes; shades are shares of it over whatever background there is.
INK = (0, 114, 178)
N_SHOWN = 5
# Largest side of an image on a card; larger ones are thinned out.
MAX_SIDE = 64


def shades(values: NDArray[np.floating]) -> str:
    """Return a matrix as an image of one pixel a cell: 0 is clear, 1 is all ink, NaN is clear.

    Parameters
    ----------
    values : (n_rows, n_columns), in [0, 1]
    """
    pixels = np.empty((*values.shape, 4), dtype=np.uint8)
    pixels[..., :3] = INK
    pixels[..., 3] = np.round(255 * np.clip(np.nan_to_num(values), 0, 1))
    return _uri(pixels)


def picture(image: NDArray[np.floating], low: float, high: float) -> str:
    """Return an image as black on white, the highest value black, or in colour where it has three channels.

    Parameters
    ----------
    image : (height, width) or (channels, height, width)
    low, high
        The values of white and of black.
    """
    image = image[0] if image.ndim == 3 and image.shape[0] not in (3, 4) else image
    step = max(1, -(-max(image.shape[-2:]) // MAX_SIDE))
    scaled = np.clip((image[..., ::step, ::step] - low) / max(high - low, 1e-12), 0, 1)
    if scaled.ndim == 3:
        return _uri(np.round(255 * np.moveaxis(scaled[:3], 0, -1)).astype(np.uint8))
    grey = np.round(255 * (1 - scaled)).astype(np.uint8)
    return _uri(np.repeat(grey[..., None], 3, axis=2))


def class_pictures(fitted: Fitted, sets: Sets, seed: int) -> list[dict[str, Any]]:
    """Return for each class its decoded code, some real samples and as many simulated ones, where samples are images.

    An empty list where they are not.
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
