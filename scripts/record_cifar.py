"""Record the CIFAR-10 runs that ship with the app: `python scripts/record_cifar.py DATA CHECKPOINTS`.

DATA holds cifar10-train.parquet and cifar10-test.parquet, CHECKPOINTS keeps what is unfinished. The runs go to
assets/runs, the weights of some to assets/weights. Runs that are there already are not run again, and processes that
are started beside each other share the work: two with one thread each are faster than one with two.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file

from explorer.models.variants import variant
from explorer.training import recorded
from explorer.training.datasets import Dataset, load
from explorer.training.recipe import Recipe
from explorer.training.run import Run

ASSETS = Path(__file__).parents[1] / "assets"
# He et al. 2015, section 4.2, its 64,000 steps cut to what two cores afford, the steps of the learning rate likewise.
# All nets warm up, the paper's shallow ones do not: at 0.1 from the start ResNet-56 is thrown off, and was still wrong
# on 57% of the test pictures when a run of 1,600 steps ended.
SHORT = Recipe(
    variant("a", 20),
    data="cifar10_jpeg",
    steps=2400,
    warmup_steps=200,
    batch=128,
    schedule="steps",
    augmentation="crop_flip",
    precision="bfloat16",
    record_every=20,
    test_every=160,
    probe=1000,
    tested=2000,
)
# As many steps as He et al. waited. Their rule, 0.01 until the error is below 80%, ended after 60 steps here, and 0.1
# then threw ResNet-110 back to guessing, where it still was at step 320.
LONG_WARM_UP = {"warmup_steps": 400}
RUNS = [  # the first matter most
    ("a", 20, 0, {}),
    ("plain", 20, 0, {}),
    ("a", 56, 0, {}),
    ("plain", 56, 0, {}),
    ("b", 20, 0, {}),
    ("c", 20, 0, {}),
    ("a", 110, 0, LONG_WARM_UP),
    ("a", 32, 0, {}),
    ("plain", 32, 0, {}),
    ("b", 56, 0, {}),
    ("c", 56, 0, {}),
    ("a", 44, 0, {}),
    ("plain", 44, 0, {}),
    *((name, 20, seed, {}) for seed in (1, 2) for name in ("a", "plain", "b", "c")),
    *((name, 32, seed, {}) for seed in (1, 2) for name in ("a", "plain")),
    *((name, 56, seed, {}) for seed in (1, 2) for name in ("a", "plain")),
]
SHIPPED = [("a", 20, 0), ("plain", 20, 0), ("a", 56, 0), ("plain", 56, 0)]  # whose weights ship too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoints", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    os.environ["EXPLORER_CIFAR10_JPEG"] = str(arguments.data)
    data = load("cifar10_jpeg")
    for folder in (ASSETS / "runs", ASSETS / "weights", arguments.checkpoints):
        folder.mkdir(parents=True, exist_ok=True)
    for name, depth, seed, changes in RUNS:
        recipe = replace(SHORT, spec=variant(name, depth), seed=seed, **changes)
        checkpoint = arguments.checkpoints / f"{recipe.key}.pt"
        file = ASSETS / "runs" / f"{name}{depth}-seed{seed}.parquet"
        try:
            with FileLock(checkpoint.with_suffix(".lock"), timeout=0):
                if not file.exists():
                    record(recipe, data, checkpoint, file, (name, depth, seed) in SHIPPED)
        except Timeout:  # another process is at it
            continue


def record(recipe: Recipe, data: Dataset, checkpoint: Path, file: Path, ships: bool) -> None:
    """Train one net, going on from its checkpoint where there is one, and write its run and, if they ship, weights."""
    run = Run(recipe, data, checkpoint)
    for each in run:
        if each.test_error is not None and each is run.records[-1]:  # not one from before
            run.save(checkpoint)
            print(file.stem, each.step, each.batch_error, each.test_error, each.seconds, flush=True)
    _, error = run.measure(data.test, data.test_labels)
    recorded.write(file, recipe, run.records, {"test error on all test pictures, percent": f"{error:.2f}"})
    if ships:
        weights = {key: value.contiguous().cpu() for key, value in run.network.state_dict().items()}
        about = {"recipe": recipe.to_json(), "test_error": f"{error:.2f}"}
        save_file(weights, ASSETS / "weights" / f"cifar_{file.stem.split('-')[0]}.safetensors", about)


if __name__ == "__main__":
    main()
