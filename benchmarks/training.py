"""Training: a step beside a bare PyTorch loop of the same net, with gradient norms and without, and the first point.

On one thread, as in the lab, in processor time; the three take turns, a slice of steps each, so that a noisy machine is
noisy for all. The bare loop has its pictures normalised beforehand and takes nothing down but the loss.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import show
from explorer.jobs import JobQueue
from explorer.models.observe import seeded
from explorer.models.resnet import build
from explorer.models.variants import variant
from explorer.training.apart import Trial
from explorer.training.datasets import Dataset, load
from explorer.training.recipe import Recipe
from explorer.training.run import Run, batch_of

SLICE, ROUNDS = 5, 15  # steps in a turn, turns
BARE_AIM, NORMS_AIM = 1.03, 1.05
DIGITS = {"width": 8, "in_channels": 1, "image_size": (8, 8)}
NETS = (
    ("plain-20, digits", variant("plain", 20, **DIGITS), 100),
    ("ResNet-56, digits", variant("a", 56, **DIGITS), 100),
    ("ResNet-20, 32 px", variant("a", 20), 32),
)


def noise(count: int = 512) -> Dataset:
    """Pictures of 32 px with nothing on them; a step takes as long."""
    pictures = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(count) % 10
    return Dataset("noise", "Noise", pictures, labels, pictures[:10], labels[:10], tuple("0123456789"), "")


def bare(recipe: Recipe, data: Dataset) -> Iterator[float]:
    """Steps as a tutorial writes them; gives the loss of each."""
    with seeded(recipe.seed):
        network = build(recipe.spec, "cpu").to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    pixels = data.train.float() / 255
    std, mean = torch.std_mean(pixels, (0, 2, 3), keepdim=True)
    pictures: Tensor = ((pixels - mean) / std.clamp_min(1e-6)).contiguous(memory_format=torch.channels_last)
    network.train()
    for step in range(recipe.steps):
        chosen = batch_of(recipe, step, len(pictures))
        loss = F.cross_entropy(network(pictures[chosen]), data.train_labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()


def turns(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Processor milliseconds of a slice of each, the median over all turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.process_time()
            work()
            times[name].append(1000 * (time.process_time() - started))
    return {name: median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Print milliseconds a step for each net, the ratios beside their aims, and when the lab's first points come."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [("net", "bare, ms", "run, ms", "ratio", "aim", "with norms at each step, ms", "ratio", "aim")]
    for title, spec, batch in NETS:
        data = load("digits") if spec.in_channels == 1 else noise()
        steps = SLICE * ROUNDS
        recipe = Recipe(spec, batch=batch, steps=steps + 1, test_every=SLICE * (steps + 1), record_every=SLICE)
        plain, loop = Run(recipe, data), bare(recipe, data)
        watched = Run(Recipe(spec, batch=batch, steps=steps + 1, test_every=steps + 1, record_every=1), data)
        for own in (plain, watched):
            own.records.append(next(iter(Run(recipe, data))))  # as if step 0 had been measured
        without, each = iter(plain), iter(watched)
        next(without)
        next(each)

        def slice_of(records: Iterator[object], count: int) -> Callable[[], object]:
            return lambda: [next(records) for _ in range(count)]

        times = turns({"bare": slice_of(loop, SLICE), "run": slice_of(without, 1), "norms": slice_of(each, SLICE)})
        ratio, norms = times["run"] / times["bare"], times["norms"] / times["run"]
        rows.append(
            (
                title,
                f"{times['bare'] / SLICE:.1f}",
                f"{times['run'] / SLICE:.1f}",
                f"{ratio:.3f}x",
                f"{BARE_AIM}x: {'met' if ratio < BARE_AIM else 'MISSED'}",
                f"{times['norms'] / SLICE:.1f}",
                f"{norms:.3f}x",
                f"{NORMS_AIM}x: {'met' if norms < NORMS_AIM else 'MISSED'}",
            )
        )
    torch.set_num_threads(threads)
    show(rows)
    print(f"First point of the lab's four nets, behind the button: {', '.join(f'{s:.1f} s' for s in first_points())}")


def first_points() -> list[float]:
    """Seconds from submitting the lab's four default runs, two at a time, to the first record of each."""
    queue = JobQueue(workers=2, per_owner=4)
    trials = [Trial(Recipe(variant(name, depth, **DIGITS))) for name in ("plain", "a") for depth in (20, 56)]
    started = time.perf_counter()
    jobs = [queue.submit("benchmark", trial.work) for trial in trials]
    found: dict[int, float] = {}
    while len(found) < len(trials):
        for number, trial in enumerate(trials):
            if trial.records and number not in found:
                found[number] = time.perf_counter() - started
        time.sleep(0.01)
    for job in jobs:
        job.cancel()
    queue.shutdown()
    return list(found.values())
