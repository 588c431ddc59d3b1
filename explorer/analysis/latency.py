"""How long networks take for an image on this machine, measured: real forward passes beside their MACs."""

import gc
import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from explorer.analysis.graph import Operator, trace
from explorer.analysis.layers import BYTES, Totals, operator_table, totals
from explorer.analysis.rules import Shape
from explorer.errors import Refusal
from explorer.models import zoo
from explorer.spec import ResNetSpec

Device = Literal["cpu", "cuda"]
Report = Callable[[float, str], None]  # fraction done, what is being done; may raise to stop

SECONDS = 2.0  # of rounds for each net
ROUNDS = (5, 100)  # at least, whatever they take, and at most
MAX_BYTES = 4 * 10**9  # that the nets on the processor may take together

_SLOW = 0.5  # seconds a pass, from which on it asks between its layers whether to stop
_LONGEST = 30.0  # seconds a pass, beyond which a net is refused
_COUNTING = 0.1  # of the whole, as progress
_ALIKE = 1.5  # nets that differ by less in MACs a second do not differ worth a sentence
_TIMED = threading.Lock()  # one timed pass in this process at a time, and its garbage collection off


class Unmeasurable(Refusal):
    """A measurement that cannot be made here; the message names the value and what would be right."""


@dataclass(frozen=True)
class Conditions:
    """What the measurement ran on, and when.

    processor: the name of the CPU or GPU. threads: of PyTorch on the CPU, of `cores` that the machine has. load: how
    many processes ran or waited on average in the minute before, on the whole machine; None where the system does not
    say. started: in UTC.
    """

    device: Device
    processor: str
    threads: int
    cores: int
    load: float | None
    torch_version: str
    started: datetime


@dataclass(frozen=True)
class Latency:
    """The timed passes of one network.

    input_shape: (channels, height, width) of an image. seconds: of each pass over a whole batch, in order.
    """

    net: str
    input_shape: Shape
    params: int
    macs: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Speeds:
    """What `measure` found: a latency a network, in order, and why the others have none."""

    batch: int
    latencies: tuple[Latency, ...]
    refused: tuple[tuple[str, str], ...]
    conditions: Conditions


def devices() -> tuple[Device, ...]:
    """Where networks can be measured here; the processor, and the GPU where PyTorch can use one.

    >>> devices()[0]
    'cpu'
    """
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def measure(
    nets: Mapping[str, ResNetSpec | str],
    device: Device = "cpu",
    batch: int = 1,
    image_size: tuple[int, int] | None = None,
    report: Report = lambda fraction, text: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speeds:
    """Time the forward pass of each network, in eval mode, without gradients, at float32, with random weights.

    Weights: every matrix and filter is normal with variance 1 / fan-in, every vector (biases, norms and their running
    statistics) uniform in 0.5 to 1. Values do not change the time, not even infinite ones, but for denormal numbers:
    full of them, ResNet-18 took six times as long on a Xeon. With PyTorch's own start a plain net of 110 layers ends in
    them, as in eval mode batch norm does not rescale; vectors away from zero keep every layer away from it.

    Order: each net is warmed up by two passes. Then all take turns, one pass each a round, so that a slow moment of the
    machine meets all. Before each timed pass the same net runs once untimed, as the net before it has pushed its
    weights out of the caches (not where a pass takes longer than half a second). There are 5 to 100 rounds, as many as
    begin within 2 s for each net. Nets that together need more than 4 GB of memory (half of the GPU's free memory) take
    turns in groups that need less.

    Args:
        nets: specs or names of the zoo, by the name that each shall have.
        device: "cuda" waits for the GPU before and after each pass, so its time includes starting the kernels.
        batch: images in a pass.
        image_size: (height, width) for all nets; one that cannot take it keeps its own. None for each net's own.
        report: called between passes, and between layers of slow passes; it may raise, to stop.
        clock: seconds, from any start.

    Raises:
        Unmeasurable: a batch below 1, or a device that is not there. A net that has no name in the zoo, no rule for its
        operators, no room, or needs more than 30 s for a pass is in `Speeds.refused` instead, with its sentence.
    """
    if batch < 1:
        raise Unmeasurable(f"batch (={batch}) must be 1 or more.")
    if device not in devices():
        raise Unmeasurable(f"device (={device!r}) must be {' or '.join(map(repr, devices()))} on this machine.")
    conditions = _conditions(device)
    refused: dict[str, str] = {}
    candidates: list[_Candidate] = []
    room = MAX_BYTES if device == "cpu" else torch.cuda.mem_get_info()[0] // 2
    for place, (name, net) in enumerate(nets.items()):
        report(_COUNTING * place / len(nets), f"Counting {name}")
        try:
            candidate = _candidate(name, net, image_size)
            candidate.check_room(batch, room)
        except Refusal as refusal:
            refused[name] = str(refusal)
        else:
            candidates.append(candidate)
    groups = _groups(candidates, batch, room)
    found: list[Latency] = []
    for number, group in enumerate(groups):

        def part(fraction: float, text: str, number: int = number) -> None:
            report(_COUNTING + (1 - _COUNTING) * (number + fraction) / len(groups), text)

        found += _take_turns(group, device, batch, part, clock, refused)
    return Speeds(batch, tuple(found), tuple((name, refused[name]) for name in nets if name in refused), conditions)


def latency_table(speeds: Speeds) -> pd.DataFrame:
    """A row a network.

    Returns:
        net.
        median_ms, quartile1_ms, quartile3_ms, least_ms: milliseconds for one image, a batch's divided by its images.
        images_per_second, gmacs_per_second: at the median; 10^9 multiply-accumulates.
        macs, params, input_shape: for one image, (channels, height, width).
        passes: how many were timed.
    """
    rows = []
    for latency in speeds.latencies:
        first, median, third = statistics.quantiles(latency.seconds, n=4, method="inclusive")
        rows.append(
            {
                "net": latency.net,
                "median_ms": 1e3 * median / speeds.batch,
                "quartile1_ms": 1e3 * first / speeds.batch,
                "quartile3_ms": 1e3 * third / speeds.batch,
                "least_ms": 1e3 * min(latency.seconds) / speeds.batch,
                "images_per_second": speeds.batch / median,
                "gmacs_per_second": latency.macs * speeds.batch / median / 1e9,
                "macs": latency.macs,
                "params": latency.params,
                "input_shape": latency.input_shape,
                "passes": len(latency.seconds),
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("net", "median_ms", "quartile1_ms", "quartile3_ms", "least_ms", "images_per_second", "gmacs_per_second"),
    *("macs", "params", "input_shape", "passes"),
]


def finding(table: pd.DataFrame) -> str | None:
    """What a latency table says of MACs as a measure of time, by its plainest pair of nets; None for fewer than two.

    Only what the spread leaves no doubt of: a net is faster than another where its third quartile is below the other's
    first, and so for MACs a second.
    """
    rows = table.to_dict("records")
    if len(rows) < 2:
        return None
    pairs = [(one, other) for one in rows for other in rows if one is not other and one["macs"] >= other["macs"]]
    if inverted := [pair for pair in pairs if pair[0]["quartile3_ms"] < pair[1]["quartile1_ms"]]:
        return f"MACs alone do not tell the time: {_said(*max(inverted, key=_surely_apart))}."
    rates = [row["gmacs_per_second"] for row in rows]
    if max(rates) < _ALIKE * min(rates):
        return f"Here the time follows the MACs: all nets do {min(rates):.3g} to {max(rates):.3g} GMAC/s."
    one, other = max(pairs, key=_surely_apart)
    if _surely_apart((one, other)) < _ALIKE:
        return "The passes vary too much to tell whether the time follows the MACs; measure again in a quieter moment."
    return f"The time does not grow in proportion to the MACs: {_said(one, other)}."


_Row = Mapping[Any, Any]


def _surely_apart(pair: tuple[_Row, _Row]) -> float:
    """How many times as many MACs a second one of the two does at the least, the slow passes of one against the fast
    passes of the other; below 1 where that is not sure.
    """
    one, other = pair
    macs = one["macs"] / other["macs"]
    return float(
        max(macs * other["quartile1_ms"] / one["quartile3_ms"], one["quartile1_ms"] / other["quartile3_ms"] / macs)
    )


def _said(one: _Row, other: _Row) -> str:
    return (
        f"{one['net']} does {_factor(one['macs'] / other['macs'])} the MACs of {other['net']} in "
        f"{_factor(one['median_ms'] / other['median_ms'])} the time"
    )


def _factor(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 1 else f"{ratio:,.1f} times"


# --- what is measured


@dataclass(frozen=True)
class _Candidate:
    """A network on the meta device, and the bytes that it will take.

    weights: of parameters and buffers. per_image: of activations, at the busiest layer.
    """

    name: str
    model: nn.Module
    input_shape: Shape
    counts: Totals
    weights: int
    per_image: int

    def check_room(self, batch: int, room: int) -> None:
        """Raise Unmeasurable where it does not fit, all alone."""
        if self.weights + batch * self.per_image <= room:
            return
        fits = (room - self.weights) // self.per_image
        hint = f"the largest batch that fits is {fits}" if fits > 0 else "not even one image fits"
        raise Unmeasurable(
            f"{self.name} with a batch of {batch} takes about {(self.weights + batch * self.per_image) / 1e9:.1f} GB, "
            f"more than the {room / 1e9:.1f} GB that may be used here; {hint}."
        )


def _candidate(name: str, net: ResNetSpec | str, image_size: tuple[int, int] | None) -> _Candidate:
    """The network at this image size, else at its own."""
    try:
        model, input_shape = zoo.network(net, image_size)
        graph = trace(model, input_shape)
    except Refusal:
        if image_size is None:
            raise
        return _candidate(name, net, None)
    tensors = (*model.parameters(), *model.buffers())
    return _Candidate(
        name,
        model,
        input_shape,
        totals(operator_table(graph)),
        sum(tensor.nbytes for tensor in tensors),
        # What comes in and goes out, and as much again: for what later layers wait for, and for the kernel's copies.
        2 * BYTES * max(map(_elements, graph)),
    )


def _elements(operator: Operator) -> int:
    return sum(activation.elements for activation in (*operator.takes, *operator.gives))


def _groups(candidates: Sequence[_Candidate], batch: int, room: int) -> list[list[_Candidate]]:
    """The candidates in their order, in as few groups as fit; one runs at a time, so activations do not add up."""
    groups: list[list[_Candidate]] = []
    for candidate in candidates:
        group = [*groups[-1], candidate] if groups else [candidate]
        if sum(one.weights for one in group) + batch * max(one.per_image for one in group) <= room and groups:
            groups[-1] = group
        else:
            groups.append([candidate])
    return groups


def _take_turns(
    group: Sequence[_Candidate],
    device: Device,
    batch: int,
    report: Report,
    clock: Callable[[], float],
    refused: dict[str, str],
) -> list[Latency]:
    """Build the nets of a group, time them in rounds and let go of their weights; those refused get their sentence."""
    try:
        running: list[_Running] = []
        for place, candidate in enumerate(group):
            fraction = place / len(group) / 2
            try:
                running.append(_Running(candidate, device, batch, clock, report, fraction))
            except Refusal as refusal:
                refused[candidate.name] = str(refusal)
        least, most = ROUNDS
        budget, begin = SECONDS * len(running), clock()
        for number in range(most if running else 0):
            spent = (clock() - begin) / budget
            if number >= least and spent >= 1:
                break
            done = min(max(number / most, min(spent, number / least)), 1)
            for one in running:
                one.turn(0.5 + done / 2)
        return [one.latency() for one in running]
    finally:
        for candidate in group:
            candidate.model.to("meta")
        if device == "cuda":
            torch.cuda.empty_cache()


class _Running:
    """A network with weights on its device, warmed up, and the images of its passes."""

    def __init__(
        self,
        candidate: _Candidate,
        device: Device,
        batch: int,
        clock: Callable[[], float],
        report: Report,
        fraction: float,
    ) -> None:
        self.name = candidate.name
        self._candidate, self._seconds = candidate, list[float]()
        self._clock, self._report, self._cuda = clock, report, device == "cuda"
        report(fraction, f"Building {self.name}")
        try:
            self._model = _with_weights(candidate.model, device)
            self._images = torch.randn(batch, *candidate.input_shape, generator=_generator(device), device=device)
            self._warm_up(fraction, batch)
        except torch.OutOfMemoryError:
            raise Unmeasurable(
                f"{self.name} with a batch of {batch} does not fit into the GPU's free memory; take a smaller batch."
            ) from None

    def _warm_up(self, fraction: float, batch: int) -> None:
        text, begin = f"Warming up {self.name}", self._clock()

        def ask() -> None:
            self._report(fraction, text)
            if self._clock() - begin > _LONGEST:
                raise Unmeasurable(
                    f"A pass of {self.name} with a batch of {batch} takes longer than {_LONGEST:.0f} s here; take a "
                    f"smaller batch or a smaller image."
                )

        with _asking(self._model, ask):
            self._pass()
        with _asking(self._model, lambda: self._report(fraction, text)):  # the first has made what is made but once
            self._slow = self._pass() > _SLOW

    def turn(self, fraction: float) -> None:
        """Time one pass, on caches as this net itself left them."""
        text = f"Measuring {self.name}"
        self._report(fraction, text)
        if self._slow:
            with _asking(self._model, lambda: self._report(fraction, text)):
                self._seconds.append(self._pass())
        else:
            self._pass()
            self._seconds.append(self._pass())

    def latency(self) -> Latency:
        """What the turns so far have found."""
        one = self._candidate
        return Latency(one.name, one.input_shape, one.counts.params, one.counts.macs, tuple(self._seconds))

    def _pass(self) -> float:
        with _TIMED, _no_collection(), torch.inference_mode():
            self._wait()
            begin = self._clock()
            self._model(self._images)
            self._wait()
            return self._clock() - begin

    def _wait(self) -> None:
        """Until the GPU has done all that it was given."""
        if self._cuda:
            torch.cuda.synchronize()


def _with_weights(model: nn.Module, device: Device) -> nn.Module:
    """A network of the meta device on a real one, in eval mode, with the weights that `measure` describes."""
    model = model.to_empty(device=device).eval().requires_grad_(False)
    generator = _generator(device)
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.is_floating_point():
            tensor.zero_()  # counters, and places to look things up at, where nought is always one
        elif tensor.dim() < 2:
            tensor.uniform_(0.5, 1, generator=generator)
        else:
            tensor.normal_(0, max(1, math.prod(tensor.shape[1:])) ** -0.5, generator=generator)
    return model


def _generator(device: Device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


@contextmanager
def _asking(model: nn.Module, ask: Callable[[], None]) -> Iterator[None]:
    """Call it before each module of the network runs; it takes a microsecond or two."""
    hooks = [module.register_forward_pre_hook(lambda *_: ask()) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage collection off, where it was on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# --- the machine


def _conditions(device: Device) -> Conditions:
    return Conditions(
        device,
        torch.cuda.get_device_name() if device == "cuda" else _processor(),
        torch.get_num_threads(),
        os.cpu_count() or 1,
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        torch.__version__,
        datetime.now(UTC),
    )


def _processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the processor; only Linux has this file, and not for every kind."""
    if file.exists():
        for line in file.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
