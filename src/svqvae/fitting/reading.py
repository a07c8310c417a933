"""From rows in the units of the data to what the network reads, wherever the rows stand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from svqvae.data.inputs import AnyRows, Rows
from svqvae.data.scaling import Scaling

# Rows that are scaled at a time.
CHUNK = 1024


@dataclass(frozen=True)
class Reader:
    """Reads rows by their positions; sent to another process, it opens the file there.

    Attributes
    ----------
    rows
        (n, n_features).
    scaling
        How the network sees the data.
    image_shape
        Shape of one image, or None.
    """

    rows: AnyRows
    scaling: Scaling
    image_shape: tuple[int, ...] | None

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the encoder reads of some rows and what the decoder regenerates, the same tensor but for counts.

        Positions of rows on disk must not fall.
        """
        n, n_features = len(positions), self.rows.shape[1]
        seen = torch.empty(n, *(self.image_shape or (n_features,)))
        target = torch.empty(n, n_features) if self.scaling.kind == "counts" else seen
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            block = self.rows[positions[part].numpy()]
            # By numpy, so that this may run beside training: see `DiskBatches._load`.
            seen.numpy()[part] = scaled(block, self.scaling, self.image_shape).numpy()
            if target is not seen:
                target.numpy()[part] = block
        return seen, target


def scaled(block: Rows, scaling: Scaling, image_shape: tuple[int, ...] | None) -> Tensor:
    """Scale rows, (n, n_features), and give them the shape that the encoder reads."""
    found = torch.as_tensor(scaling.apply(block))
    return found.reshape(-1, *image_shape) if image_shape else found
