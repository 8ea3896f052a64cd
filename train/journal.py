"""What a run leaves to look at: metrics.jsonl, TensorBoard's files, pictures of samples."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from hw_configs.files import replacing


class Journal:
    """Of one run, written after each epoch.

    Args:
        run_dir: the run folder.
        epochs: how many are done; what TensorBoard has of later ones is taken back.
    """

    def __init__(self, run_dir: Path, epochs: int) -> None:
        self.run_dir = run_dir
        self._board = SummaryWriter(str(run_dir / "tb"), purge_step=epochs)

    def close(self) -> None:
        """Write what is still buffered."""
        self._board.close()

    def metrics(self, rows: list[dict]) -> None:
        """The numbers of all epochs, by name; the last row is new, each has its "epoch"."""
        for name, value in rows[-1].items():
            if name != "epoch":
                self._board.add_scalar(name, value, rows[-1]["epoch"])
        with replacing(self.run_dir / "metrics.jsonl") as file:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def grid(self, name: str, images: Tensor, epoch: int) -> None:
        """Images (N, C, H, W) in [-1, 1], eight to a row."""
        grid = make_grid(images.cpu(), nrow=8, padding=1, normalize=True, value_range=(-1, 1))
        self._board.add_image(name, grid, epoch)
        self.picture(name, to_pil_image(grid).resize((grid.shape[2] * 2, grid.shape[1] * 2), 0),
                     epoch)

    def picture(self, name: str, picture: Image.Image, epoch: int) -> None:
        """One picture as it is."""
        with replacing(self.run_dir / "samples" / f"{name}-{epoch:04d}.png") as file:
            picture.save(file, format="PNG")
