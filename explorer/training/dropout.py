"""Dropout: what its passes give on average, and what it does to a net that could learn its examples by heart.

Hinton et al. 2012 (arXiv 1207.0580); Krizhevsky, Sutskever & Hinton 2012, section 4.2; Srivastava et al. 2014, Journal
of Machine Learning Research 15, 1929-1958. All randomness comes from generators of its own, as threads share PyTorch's
global one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor, nn

from explorer.errors import Refusal

MAX_RATE = 0.95
MAX_PASSES = 1024

Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop


class DropoutError(Refusal):
    """A rate or a share that cannot be; the message names it and what would be right."""


def dropout(values: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Each value set to 0 with probability `rate`, the others multiplied by 1 / (1 - rate), as `nn.Dropout` does.

    The paper scales at the other end: in training it leaves what is kept as it is, and at test time it multiplies all
    by 1 - rate.

    >>> dropout(torch.ones(8), 0.75, torch.Generator().manual_seed(0)).unique()
    tensor([0., 4.])
    """
    kept = torch.empty_like(values).bernoulli_(1 - rate, generator=generator)
    return values * kept / (1 - rate)


# --- many passes


@dataclass(frozen=True)
class Passes:
    """What passes with dropout give, beside the one without.

    table: a row for each number of passes, 1, 2, 4 ...: passes; linear and behind_relu, the distance of the mean of so
        many to the pass without dropout (Euclidean norm of the difference over the norm of that pass); expected, what
        `linear` is in expectation (root of the mean square): it falls with the root of the number.
    zeros: the share of values that were dropped, of all masks.
    scale: what the kept ones are multiplied by.
    """

    table: pd.DataFrame
    zeros: float
    scale: float


FEATURES, CLASSES = 256, 10  # AlexNet has 4096 and 1000


def passes(rate: float, seed: int = 0) -> Passes:
    """Dropout, linear, ReLU, dropout, linear: AlexNet's fc7 and fc8 with 256 in place of 4096 features, untrained.

    Behind the first linear layer the mean of many passes goes to the pass without dropout, exactly. Behind the ReLU it
    does not: the mean of ReLUs is no ReLU of the mean.

    Args:
        rate: the probability that a value is dropped, 0 to 0.95. seed: of features, weights and masks.

    Raises:
        DropoutError: the rate is out of range.

    >>> half = passes(0.5)
    >>> half.scale, bool(half.table.linear.iloc[-1] < 0.05 < 0.2 < half.table.behind_relu.iloc[-1])
    (2.0, True)
    """
    _check_rate(rate)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(FEATURES, generator=generator, dtype=torch.float64).relu()
    fc7, fc8 = (_linear(FEATURES, outputs, generator).double() for outputs in (FEATURES, CLASSES))
    seen = dropout(features.expand(MAX_PASSES, -1), rate, generator)
    hidden = fc7(seen)
    logits = fc8(dropout(hidden.relu(), rate, generator))
    middle = fc7(features)
    end = fc8(middle.relu())
    variance = rate / (1 - rate) * (fc7.weight**2 @ features**2)  # of one pass, as the masks are independent
    steps = [2**power for power in range(MAX_PASSES.bit_length())]
    table = pd.DataFrame(
        {
            "passes": steps,
            "linear": [_distance(hidden[:step].mean(0), middle) for step in steps],
            "behind_relu": [_distance(logits[:step].mean(0), end) for step in steps],
            "expected": [float((variance.sum() / step).sqrt() / middle.norm()) for step in steps],
        }
    )
    dropped = (seen == 0) & (features > 0)
    return Passes(table, float(dropped.sum() / (MAX_PASSES * (features > 0).sum())), 1 / (1 - rate))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer as PyTorch starts it, from this generator and without gradients."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu").requires_grad_(False)
    bound = 1 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def _distance(mean: Tensor, whole: Tensor) -> float:
    return float((mean - whole).norm() / whole.norm())


# --- learning by heart

EXAMPLES, TESTS = 400, 2000
STEPS, EVERY, BATCH = 400, 20, 50
WIDTH = 256  # of both hidden layers
NOISE = 0.5  # standard deviation; a digit's pixels are 0 or 1
SEEDS = range(3)

_DIGITS = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00010 00100 01000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)  # rows of 5 pixels, as dot-matrix displays show them


def digits(count: int, wrong: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy digits of 7x5 pixels, ten classes in equal shares: (count, 35) and the labels (count,).

    Args:
        count: how many. wrong: the share of labels that are replaced by another class.
    """
    patterns = torch.tensor([[float(pixel) for pixel in digit.replace(" ", "")] for digit in _DIGITS])
    labels = torch.arange(count) % len(patterns)
    pictures = patterns[labels] + NOISE * torch.randn(count, patterns.shape[1], generator=generator)
    replaced = torch.randperm(count, generator=generator)[: round(wrong * count)]
    labels[replaced] += torch.randint(1, len(patterns), (len(replaced),), generator=generator)
    return pictures, labels % len(patterns)


def learning(
    rate: float, wrong: float = 0.3, report: Report = lambda fraction, text: None, seeds: range = SEEDS
) -> pd.DataFrame:
    """The same net trained with and without dropout behind its two hidden layers, on a few digits, some labelled wrong.

    400 digits; two hidden layers of 256 with ReLU; Adam, learning rate 0.001, 400 steps of 50; both start from the same
    weights and see the same batches. Test digits are 2,000 others, labelled right.

    Args:
        rate: of the net with dropout, 0 to 0.95. wrong: the share of the training labels that are wrong, 0 to 0.5.
        report: called at each step; an exception that it raises stops the work. seeds: of digits, weights and masks.

    Returns:
        rate, seed, step, and train_error and test_error in percent, without dropout in the measuring pass. The training
        error counts the wrong labels as right ones.

    Raises:
        DropoutError: a number out of range.
    """
    _check_rate(rate)
    if not 0 <= wrong <= 0.5:
        raise DropoutError(f"wrong (={wrong}) must be a share from 0 to 0.5.")
    runs = [(seed, own) for seed in seeds for own in dict.fromkeys((0.0, rate))]
    rows = []
    for number, (seed, own) in enumerate(runs):

        def tell(fraction: float, number: int = number, seed: int = seed, own: float = own) -> None:
            report((number + fraction) / len(runs), f"Training with rate {own:g}, seed {seed}")

        rows += [(own, seed, *row) for row in _train(own, wrong, seed, tell)]
    return pd.DataFrame(rows, columns=["rate", "seed", "step", "train_error", "test_error"])


def learning_summary(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `learning` over their seeds, at the last step: rate, and mean, lowest and highest of both errors."""
    last = runs[runs.step == runs.step.max()].groupby("rate")
    return pd.DataFrame(
        {
            f"{error}_{name}": last[error].agg(how)
            for error in ("train_error", "test_error")
            for name, how in (("mean", "mean"), ("lowest", "min"), ("highest", "max"))
        }
    ).reset_index()


def _train(rate: float, wrong: float, seed: int, tell: Callable[[float], None]) -> list[tuple[int, float, float]]:
    """One run: step, training error, test error."""
    generator = torch.Generator().manual_seed(seed)
    pictures, labels = digits(EXAMPLES, wrong, generator)
    others, truth = digits(TESTS, 0.0, generator)
    sides = (pictures.shape[1], WIDTH, WIDTH, len(_DIGITS))
    layers = [_linear(*pair, generator).requires_grad_() for pair in pairwise(sides)]
    optimiser = torch.optim.Adam([parameter for layer in layers for parameter in layer.parameters()], lr=1e-3)
    masks = torch.Generator().manual_seed(seed + 1_000_000)  # apart, so that all rates see the same batches

    def logits(x: Tensor, own_rate: float) -> Tensor:
        for layer in layers[:-1]:
            x = dropout(layer(x).relu(), own_rate, masks)
        result: Tensor = layers[-1](x)
        return result

    def error(x: Tensor, y: Tensor) -> float:
        with torch.no_grad():
            return 100 * float((logits(x, 0.0).argmax(1) != y).double().mean())

    rows = []
    for step in range(STEPS + 1):
        tell(step / STEPS)
        if step % EVERY == 0:
            rows.append((step, error(pictures, labels), error(others, truth)))
        batch = torch.randint(EXAMPLES, (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(logits(pictures[batch], rate), labels[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return rows


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= MAX_RATE:
        raise DropoutError(f"rate (={rate}) must be from 0 to {MAX_RATE}: the share of values that is dropped.")
