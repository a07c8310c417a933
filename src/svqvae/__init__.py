"""Supervised vector-quantized variational autoencoder: one code per class, one latent vector per sample.

The public names are loaded when they are first used, so that ``import svqvae`` costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svqvae.atlas.atlas import ClassAtlas
    from svqvae.estimator import SVQVAE

__version__ = "0.1.0"
__all__ = ["SVQVAE", "ClassAtlas", "__version__"]

_HOMES = {"ClassAtlas": "svqvae.atlas.atlas", "SVQVAE": "svqvae.estimator"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"`svqvae` has no attribute `{name}`; it has {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
