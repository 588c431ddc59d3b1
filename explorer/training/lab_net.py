"""A net that the lab trained, as one that is asked about pictures."""

from pathlib import Path

import torch

from explorer.errors import Refusal
from explorer.models.checkpoints import Trained, empty, fill, shared
from explorer.models.device import best_device
from explorer.models.preprocessing import Preprocessing
from explorer.models.uploaded import checkpoint_of, plain_name
from explorer.training import apart
from explorer.training.apart import Trial
from explorer.training.datasets import Dataset, channel_statistics, load
from explorer.training.recipe import Recipe


def kept(trial: Trial) -> Path | None:
    """The file in which a run's process left its weights, at a pause or at its end; None where there is none."""
    path = trial._folder / apart._CHECKPOINT
    return path if path.is_file() else None


def trained_net(recipe: Recipe, checkpoint: Path, title: str, data: Dataset | None = None) -> Trained:
    """The net of a run with the weights that it has now; its pictures are prepared as the run's were.

    Args:
        checkpoint: a file of `Run.save`. title: on screen.
        data: the recipe's data set, where no name loads it.

    Raises:
        Refusal: the file is gone or damaged, the run diverged, or its pictures cannot be had.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights, step = state["network"], state["progress"]["step"]
    except Exception as error:  # whatever a damaged file makes of the readers
        raise Refusal(f"The weights of {title} are not there any more; train it once more in the lab.") from error
    if not all(value.isfinite().all() for value in weights.values()):
        raise Refusal(f"{title} diverged: its weights are no finite numbers; train it with a lower learning rate.")
    pictures = data or load(recipe.data)
    about = checkpoint_of(
        recipe.spec,
        title,
        tuple(plain_name(name) for name in pictures.classes),
        _as_trained(pictures),
        trained_on=plain_name(pictures.title),
        source=f"Trained in the lab: {step:,} steps of {recipe.batch} pictures, seed {recipe.seed}",
        weights=f"{recipe.key} after {step}",
        megabytes=checkpoint.stat().st_size / (1 << 20),
        seed=recipe.seed,
    )
    model = empty(about)
    fill(model, weights)
    return shared(about, model, best_device())


def _as_trained(data: Dataset) -> Preprocessing:
    mean, std = (tuple(statistic.flatten().tolist()) for statistic in channel_statistics(data.train))
    side = data.size[0]
    return Preprocessing(side, side, "bilinear", mean, std)
