"""Record the CIFAR-10 runs that ship with the app: `python scripts/record_cifar.py DATA CHECKPOINTS [PART/OF]`.

DATA holds cifar10-train.parquet and cifar10-test.parquet, CHECKPOINTS keeps what is unfinished. The runs go to
assets/runs, the weights of some to assets/weights. Runs that are there already are not run again. With 1/2 and 2/2 two
processes share the work, each with one thread: that is faster than one with two.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from explorer.models.variants import variant
from explorer.training import recorded
from explorer.training.datasets import load
from explorer.training.recipe import Recipe
from explorer.training.run import Run

ASSETS = Path(__file__).parents[1] / "assets"
# He et al. 2015, section 4.2, its 64,000 steps cut to what two cores afford, the steps of the learning rate likewise
SHORT = Recipe(
    variant("a", 20),
    data="cifar10_jpeg",
    steps=1600,
    batch=128,
    schedule="steps",
    augmentation="crop_flip",
    precision="bfloat16",
    record_every=20,
    test_every=160,
    probe=1000,
    tested=2000,
)
WARM = {"warmup_error": 80.0}
RUNS = [  # the first matter most
    ("a", 20, 0, {}),
    ("plain", 20, 0, {}),
    ("a", 56, 0, {}),
    ("plain", 56, 0, {}),
    ("b", 20, 0, {}),
    ("c", 20, 0, {}),
    ("a", 110, 0, WARM),
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
    parser.add_argument("part", nargs="?", default="1/1")
    arguments = parser.parse_args()
    part, of = map(int, arguments.part.split("/"))
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    os.environ["EXPLORER_CIFAR10_JPEG"] = str(arguments.data)
    data = load("cifar10_jpeg")
    for folder in (ASSETS / "runs", ASSETS / "weights", arguments.checkpoints):
        folder.mkdir(parents=True, exist_ok=True)
    for name, depth, seed, changes in RUNS[part - 1 :: of]:
        file = ASSETS / "runs" / f"{name}{depth}-seed{seed}.parquet"
        if file.exists():
            continue
        recipe = replace(SHORT, spec=variant(name, depth), seed=seed, **changes)
        own = Run(recipe, data, arguments.checkpoints / f"{recipe.key}.pt")
        for record in own:
            if record.test_error is not None and record is own.records[-1]:
                own.save(arguments.checkpoints / f"{recipe.key}.pt")
                print(name, depth, seed, record.step, record.batch_error, record.test_error, record.seconds, flush=True)
        _, error = own.measure(data.test, data.test_labels)
        recorded.write(file, recipe, own.records, {"test error on all test pictures, percent": f"{error:.2f}"})
        if (name, depth, seed) in SHIPPED:
            weights = {key: value.contiguous().cpu() for key, value in own.network.state_dict().items()}
            about = {"recipe": recipe.to_json(), "test_error": f"{error:.2f}"}
            save_file(weights, ASSETS / "weights" / f"cifar_{name}{depth}.safetensors", about)


if __name__ == "__main__":
    main()
