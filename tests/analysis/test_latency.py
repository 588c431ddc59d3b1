"""Measured time: the statistics under a clock of ours, the order of passes, what is refused, what is left behind."""

import gc
import itertools
import re
import statistics
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.analysis import latency
from explorer.analysis.latency import (
    Conditions,
    Latency,
    Speeds,
    Unmeasurable,
    devices,
    finding,
    latency_table,
    measure,
)
from explorer.analysis.layers import layer_table, totals
from explorer.analysis.rules import DoesNotFit, Shape
from explorer.errors import Refusal
from explorer.jobs import Cancelled, JobQueue, Progress
from explorer.models import zoo
from explorer.spec import PRESETS, ResNetSpec

TINY = replace(PRESETS["cifar_resnet20"], depths=(1, 1, 1), width=2)
SHAPE = (3, 8, 8)
MACS = 3 * 4 * 8 * 8  # of a Fake, for one image
WEIGHTS = 4 * (3 * 4 + 4)  # bytes
PER_IMAGE = 2 * 4 * (4 + 4) * 8 * 8  # bytes of what its empty layer takes and gives, and as much again
CONDITIONS = Conditions("cpu", "a processor", 1, 2, None, "2.15.0", datetime(2026, 11, 22, tzinfo=UTC))


class Clock:
    """Stands still but for what passes take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pending = 0.0  # what a pretended GPU still has to do

    def __call__(self) -> float:
        return self.now


class Fake(nn.Module):
    """A 1x1 convolution that takes the time that it is told, and an empty layer behind."""

    def __init__(self, name: str, stage: "Stage", seconds: Iterator[float]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, device="meta")
        self.last = nn.Identity()
        self._name, self._stage, self._seconds = name, stage, seconds

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if isinstance(x, Tensor):  # and not while its layers are counted
            self._stage.passed(self, self._name, x)
            if self._stage.asynchronous:
                self._stage.clock.pending += next(self._seconds)
            else:
                self._stage.clock.now += next(self._seconds)
        return self.last(x)


class Stage:
    """Networks in place of the zoo's, and what happened to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.log: list[str] = []
        self.seen: list[dict[str, Any]] = []
        self.born: list[weakref.ref[nn.Module]] = []
        self.asynchronous = False
        self.seconds: dict[str, Iterable[float]] = {}
        self.own_size_only: set[str] = set()
        monkeypatch.setattr(zoo, "network", self.network)

    def network(self, name: str, image_size: tuple[int, int] | None = None) -> tuple[nn.Module, Shape]:
        if image_size is not None and name in self.own_size_only:
            raise DoesNotFit(f"{name} does not fit.")
        if name not in self.seconds:
            raise zoo.UnknownNetwork(name)
        model = Fake(name, self, iter(self.seconds[name]))
        self.born.append(weakref.ref(model))
        return model, (3, *(image_size or SHAPE[1:]))

    def passed(self, model: nn.Module, name: str, output: Tensor) -> None:
        self.log.append(name)
        self.seen.append(
            {
                "training": any(module.training for module in model.modules()),
                "inference": torch.is_inference_mode_enabled() and output.is_inference(),
                "gradients": any(parameter.requires_grad for parameter in model.parameters()),
                "collection": gc.isenabled(),
                "shape": tuple(output.shape),
            }
        )

    def measure(self, *names: str, **more: Any) -> Speeds:
        return measure({name: name for name in names}, clock=self.clock, **more)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def rounds(monkeypatch: pytest.MonkeyPatch, least: int, most: int) -> None:
    monkeypatch.setattr(latency, "ROUNDS", (least, most))


# --- statistics


def test_a_batchs_time_is_divided_by_its_images(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 5, 5)
    timed = [0.02, 0.08, 0.01, 0.04, 0.03]
    warm_up = [9.0, 0.4]
    stage.seconds = {"a": [*warm_up, *itertools.chain.from_iterable((0.3, second) for second in timed)]}
    speeds = stage.measure("a", batch=2)
    (row,) = latency_table(speeds).to_dict("records")
    assert row["median_ms"] == pytest.approx(1000 * 0.03 / 2)
    assert row["quartile1_ms"] == pytest.approx(1000 * 0.02 / 2)
    assert row["quartile3_ms"] == pytest.approx(1000 * 0.04 / 2)
    assert row["least_ms"] == pytest.approx(1000 * 0.01 / 2)
    assert row["images_per_second"] == pytest.approx(2 / 0.03)
    assert row["gmacs_per_second"] == pytest.approx(MACS * 2 / 0.03 / 1e9)
    assert (row["net"], row["macs"], row["params"], row["input_shape"]) == ("a", MACS, 3 * 4 + 4, SHAPE)
    assert row["passes"] == 5
    assert {seen["shape"] for seen in stage.seen} == {(2, 4, 8, 8)}
    (found,) = speeds.latencies
    assert found.seconds == pytest.approx(timed)


@FEW
@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=40), st.integers(1, 64), st.integers(1, 10**12))
def test_the_statistics_are_numpys(seconds: list[float], batch: int, macs: int) -> None:
    found = Latency("net", SHAPE, 1, macs, tuple(seconds))
    (row,) = latency_table(Speeds(batch, (found,), (), CONDITIONS)).to_dict("records")
    first, median, third = np.percentile(seconds, (25, 50, 75))
    assert row["median_ms"] == pytest.approx(median / batch * 1e3)
    assert row["quartile1_ms"] == pytest.approx(first / batch * 1e3)
    assert row["quartile3_ms"] == pytest.approx(third / batch * 1e3)
    assert row["least_ms"] <= row["quartile1_ms"] * (1 + 1e-9)
    assert row["images_per_second"] * row["median_ms"] == pytest.approx(1e3)
    assert row["gmacs_per_second"] * row["median_ms"] == pytest.approx(macs / 1e6)


def test_no_nets_make_an_empty_table() -> None:
    table = latency_table(measure({}))
    assert table.empty
    assert "median_ms" in table
    assert finding(table) is None


# --- the order of passes, and how many


def test_nets_take_turns_and_each_timed_pass_comes_behind_an_untimed_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds(monkeypatch, 3, 3)
    stage.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(0.25), "c": itertools.repeat(0.25)}
    stage.measure("a", "b", "c")
    turn = ["a", "a", "b", "b", "c", "c"]
    assert stage.log == turn + 3 * turn, "two passes each to warm up, then three rounds"


def test_a_slow_net_has_no_untimed_passes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 2, 2)
    stage.seconds = {"slow": itertools.repeat(0.6), "fast": itertools.chain([19.0], itertools.repeat(0.5))}
    found = {one.net: one for one in stage.measure("slow", "fast").latencies}
    assert stage.log == ["slow"] * 2 + ["fast"] * 2 + 2 * ["slow", "fast", "fast"]
    assert found["slow"].seconds == pytest.approx((0.6, 0.6))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (2**-12, 100),  # the most
        (2**-3, 8),  # 2 nets x 2 passes x 1/8 s are half a second a round, and there are 2 x 2 s
        (0.4, 5),  # three rounds would be enough
        (3.0, 5),
    ],
)
def test_rounds_go_on_for_two_seconds_a_net(stage: Stage, second: float, expected: int) -> None:
    stage.seconds = {"a": itertools.repeat(second), "b": itertools.repeat(second)}
    assert [len(one.seconds) for one in stage.measure("a", "b").latencies] == [expected] * 2


def test_each_pass_runs_in_eval_mode_without_gradients_and_without_collection(stage: Stage) -> None:
    assert gc.isenabled()
    stage.seconds = {"a": itertools.repeat(0.25)}
    stage.measure("a")
    expected = {"training": False, "inference": True, "gradients": False, "collection": False, "shape": (1, 4, 8, 8)}
    assert stage.seen == [expected] * (2 + 2 * 5)
    assert gc.isenabled()
    assert not torch.is_inference_mode_enabled()


def test_collection_stays_off_where_it_was_off(stage: Stage) -> None:
    stage.seconds = {"a": itertools.repeat(0.25)}
    gc.disable()
    try:
        stage.measure("a")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_two_measurements_at_once_do_not_meet_in_a_pass(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    count = threading.Lock()
    passed = stage.passed

    def enter(model: nn.Module, name: str, output: Tensor) -> None:
        nonlocal inside, most
        with count:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.002)
        with count:
            inside -= 1
        passed(model, name, output)

    monkeypatch.setattr(stage, "passed", enter)
    stage.seconds = {"a": itertools.repeat(0.25)}
    threads = [threading.Thread(target=stage.measure, args=["a"]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(stage.log) == 3 * (2 + 2 * 5)
    assert gc.isenabled()


# --- progress and cancel


def test_progress_never_moves_back_and_names_what_is_done(stage: Stage) -> None:
    reports: list[tuple[float, str]] = []
    stage.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(1.0)}
    stage.measure("a", "b", report=lambda fraction, text: reports.append((fraction, text)))
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.85 < fractions[-1] <= 1
    texts = list(dict.fromkeys(text for _, text in reports))
    assert texts == [
        *("Counting a", "Counting b", "Building a", "Warming up a", "Building b", "Warming up b"),
        *("Measuring a", "Measuring b"),
    ]


@pytest.mark.parametrize("at", ["Counting b", "Building b", "Warming up a", "Measuring b"])
def test_cancel_stops_at_the_next_report_and_lets_all_go(stage: Stage, at: str) -> None:
    def report(fraction: float, text: str) -> None:
        if text == at:
            raise Cancelled

    stage.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(0.25)}
    with pytest.raises(Cancelled):
        stage.measure("a", "b", report=report)
    assert gc.isenabled()
    gc.collect()
    assert [model() for model in stage.born] == [None] * len(stage.born)
    assert stage.measure("a").latencies, "no lock is held"


def test_a_slow_pass_is_cancelled_between_its_layers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def report(fraction: float, text: str) -> None:
        nonlocal asked
        asked += text == "Measuring slow"
        if asked == 4:  # before the pass, at the whole net, at its convolution, at its last layer
            raise Cancelled

    stage.seconds = {"slow": itertools.repeat(1.0)}
    with pytest.raises(Cancelled):
        stage.measure("slow", report=report)
    assert stage.clock.now == 3.0, "in the midst of the first timed pass"


def test_a_fast_pass_is_not_asked_between_its_layers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 2, 2)
    hooks: list[int] = []
    passed = stage.passed

    def note(model: nn.Module, name: str, output: Tensor) -> None:
        hooks.append(sum(len(module._forward_pre_hooks) for module in model.modules()))
        passed(model, name, output)

    monkeypatch.setattr(stage, "passed", note)
    stage.seconds = {"a": itertools.repeat(0.25)}
    stage.measure("a")
    assert hooks == [3, 3, 0, 0, 0, 0]


def test_in_the_job_queue_it_is_cancelled_by_its_job() -> None:
    queue = JobQueue()
    started = threading.Event()

    def work(progress: Progress) -> Speeds:
        def report(fraction: float, text: str) -> None:
            if text.startswith("Measuring"):
                started.set()
            progress.report(fraction, text)

        return measure({"tiny": TINY}, report=report)

    job = queue.submit("ada", work)
    assert started.wait(60)
    job.cancel()
    assert job.wait(10)
    assert queue.shutdown()
    assert job.state in ("cancelled", "done")


def test_nothing_is_kept(stage: Stage) -> None:
    stage.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(0.25)}
    speeds = stage.measure("a", "b")
    assert len(speeds.latencies) == 2
    gc.collect()
    assert [model() for model in stage.born] == [None, None]


# --- what is refused


def test_a_batch_below_one_is_refused() -> None:
    with pytest.raises(Unmeasurable, match=r"^batch \(=0\) must be 1 or more\.$"):
        measure({"tiny": TINY}, batch=0)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices() == ("cpu",)
    with pytest.raises(Unmeasurable, match=r"^device \(='cuda'\) must be 'cpu' on this machine\.$"):
        measure({"tiny": TINY}, device="cuda")


def test_an_unknown_name_is_said_and_the_others_are_measured(stage: Stage) -> None:
    stage.seconds = {"a": itertools.repeat(0.25)}
    speeds = stage.measure("a", "nonsuch")
    assert [one.net for one in speeds.latencies] == ["a"]
    ((name, sentence),) = speeds.refused
    assert name == "nonsuch"
    assert sentence.startswith("There is no network named 'nonsuch'")


def test_a_net_without_room_is_refused_with_the_largest_batch_that_fits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.seconds = {"a": itertools.repeat(0.25)}
    monkeypatch.setattr(latency, "MAX_BYTES", WEIGHTS + 6 * PER_IMAGE - 1)
    assert not stage.measure("a", batch=5).refused
    ((_, sentence),) = stage.measure("a", batch=6).refused
    assert re.fullmatch(
        r"a with a batch of 6 takes about 0\.0 GB, more than the 0\.0 GB that may be used here; the largest batch that "
        r"fits is 5\.",
        sentence,
    )
    monkeypatch.setattr(latency, "MAX_BYTES", WEIGHTS)
    ((_, sentence),) = stage.measure("a").refused
    assert sentence.endswith("not even one image fits.")


def test_a_pass_of_more_than_thirty_seconds_is_refused_while_it_runs(stage: Stage) -> None:
    stage.seconds = {"a": itertools.repeat(30.5), "b": itertools.repeat(30.0)}
    speeds = stage.measure("a", "b", batch=3)
    assert [one.net for one in speeds.latencies] == ["b"]
    ((name, sentence),) = speeds.refused
    assert name == "a"
    assert sentence == (
        "A pass of a with a batch of 3 takes longer than 30 s here; take a smaller batch or a smaller image."
    )
    assert stage.log.count("a") == 1


def test_a_net_that_cannot_take_the_size_keeps_its_own(stage: Stage) -> None:
    stage.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(0.25)}
    stage.own_size_only = {"b"}
    first, second = stage.measure("a", "b", image_size=(16, 12)).latencies
    assert (first.input_shape, first.macs) == ((3, 16, 12), 3 * 4 * 16 * 12)
    assert (second.input_shape, second.macs) == (SHAPE, MACS)
    assert {seen["shape"] for seen in stage.seen} == {(1, 4, 16, 12), (1, 4, 8, 8)}


def test_alexnet_2012_takes_its_own_size_only() -> None:
    candidate = latency._candidate("alexnet", "alexnet_2012", (224, 224))
    assert candidate.input_shape == (3, 227, 227)
    assert candidate.counts.macs == 724_406_816  # 2012's, with groups of 2: the layer table's own test holds the sum
    assert candidate.weights == 4 * 60_965_224


# --- groups


@FEW
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=12), st.integers(1, 4))
def test_groups_fit_keep_the_order_and_are_as_large_as_they_can_be(sizes: list[tuple[int, int]], batch: int) -> None:
    counts = totals(layer_table(TINY))
    candidates = [
        latency._Candidate(str(number), nn.Identity(), SHAPE, counts, weights, per_image)
        for number, (weights, per_image) in enumerate(sizes)
    ]

    def size(group: list[Any]) -> int:
        return sum(one.weights for one in group) + batch * max(one.per_image for one in group)

    groups = latency._groups(candidates, batch, 100)
    assert list(itertools.chain.from_iterable(groups)) == candidates
    assert all(size(group) <= 100 for group in groups)
    assert all(size([*group, following[0]]) > 100 for group, following in itertools.pairwise(groups))


def test_nets_that_need_too_much_together_take_turns_in_groups(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 2, 2)
    stage.seconds = {name: itertools.repeat(0.25) for name in "abc"}
    monkeypatch.setattr(latency, "MAX_BYTES", 2 * WEIGHTS + PER_IMAGE)
    alive: list[int] = []
    passed = stage.passed

    def note(model: nn.Module, name: str, output: Tensor) -> None:
        alive.append(sum(one() is not None and not one().conv.weight.is_meta for one in stage.born))  # type: ignore[union-attr, operator]
        passed(model, name, output)

    monkeypatch.setattr(stage, "passed", note)
    speeds = stage.measure("a", "b", "c")
    assert [one.net for one in speeds.latencies] == ["a", "b", "c"]
    assert stage.log == ["a", "a", "b", "b"] * 3 + ["c"] * 6
    assert max(alive) == 2
    assert alive[-1] == 1, "the first group is let go before the second is built"


# --- weights


def unusual(model: nn.Module, shape: Shape) -> tuple[float, bool]:
    """The share of denormal numbers among all outputs of layers, and whether all numbers are finite."""
    denormal, numbers, finite = 0, 0, True

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal denormal, numbers, finite
        denormal += int(((output != 0) & (output.abs() < torch.finfo(output.dtype).tiny)).sum())
        numbers += output.numel()
        finite = finite and bool(output.isfinite().all())

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(look)
    with torch.inference_mode():
        model(torch.randn(1, *shape, generator=torch.Generator().manual_seed(1)))
    return denormal / numbers, finite


@pytest.mark.parametrize(
    "net", ["cifar_plain110", "cifar_resnet1202", "mobilenet_v2", "timm/convnext_atto", "timm/efficientnet_b0"]
)
def test_weights_make_no_denormal_numbers(net: str) -> None:
    model, shape = zoo.network(net)
    assert unusual(latency._with_weights(model, "cpu"), shape) == (0.0, True)


def test_pytorchs_own_start_would_make_them() -> None:
    model, shape = zoo.network("cifar_plain110")
    model = model.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for module in model.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    share, _ = unusual(model, shape)
    assert share > 0.03


@FEW
@given(specs())
def test_weights_of_any_spec_make_no_denormal_numbers_and_are_the_same_each_time(spec: ResNetSpec) -> None:
    model = latency._with_weights(zoo.network(spec)[0], "cpu")
    share, finite = unusual(model, (spec.in_channels, *spec.image_size))
    assert share < 0.01, "the tail of an exponential makes a few"
    # Filters of variance 1 whatever their fan-in grow beyond all numbers where no norm comes behind.
    assert finite or (spec.norm == "none" and spec.weight_standardization)
    again = latency._with_weights(zoo.network(spec)[0], "cpu").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_the_fan_in_divides_the_variance() -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"conv": nn.Conv2d(50, 60, 3), "norm": nn.BatchNorm2d(999), "fc": nn.Linear(400, 300)})
    state = latency._with_weights(model, "cpu").state_dict()
    assert float(state["conv.weight"].std()) == pytest.approx((50 * 9) ** -0.5, rel=0.02)
    assert float(state["fc.weight"].std()) == pytest.approx(400**-0.5, rel=0.02)
    for name in ("conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "fc.bias"):
        assert state[name].min() >= 0.5
        assert state[name].max() <= 1
    assert state["norm.num_batches_tracked"] == 0


def test_the_random_numbers_of_others_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    measure({"tiny": TINY})
    assert torch.equal(torch.get_rng_state(), before)


# --- a real run


def test_a_real_run_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 5, 5)
    before = datetime.now(UTC)
    speeds = measure({"tiny": TINY, "half": replace(TINY, width=1)}, batch=2)
    assert [one.net for one in speeds.latencies] == ["tiny", "half"]
    assert not speeds.refused
    for one, spec in zip(speeds.latencies, (TINY, replace(TINY, width=1)), strict=True):
        counts = totals(layer_table(spec))
        assert (one.macs, one.params, one.input_shape) == (counts.macs, counts.params, (3, 32, 32))
        assert len(one.seconds) == 5
        assert all(0 < seconds < 5 for seconds in one.seconds)
    conditions = speeds.conditions
    assert conditions.device == "cpu"
    assert conditions.processor
    assert conditions.threads == torch.get_num_threads()
    assert conditions.torch_version == torch.__version__
    assert before <= conditions.started <= datetime.now(UTC)
    if sys.platform != "win32":
        assert conditions.load is not None
        assert conditions.load >= 0


def test_a_hundred_times_the_work_takes_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 5, 5)
    small, large = measure({"small": TINY, "large": replace(TINY, width=64)}).latencies
    assert large.macs > 100 * small.macs
    assert statistics.median(large.seconds) > statistics.median(small.seconds)


def test_the_processors_name_is_read_where_linux_says_it(tmp_path: Path) -> None:
    said = tmp_path / "cpuinfo"
    said.write_text("processor\t: 0\nmodel\t\t: 167\nmodel name\t: A CPU @ 2.0: GHz\nflags : fpu\n")
    assert latency._processor(said) == "A CPU @ 2.0: GHz"
    said.write_text("processor\t: 0\n")
    assert latency._processor(said) == latency._processor(tmp_path / "none") != ""


def test_a_system_that_does_not_say_its_load_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.getloadavg")
    assert measure({}).conditions.load is None


# --- a GPU, and one that is pretended


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_a_real_run_on_the_gpu() -> None:
    before = torch.cuda.memory_allocated()
    speeds = measure({"resnet18": "resnet18", "tiny": TINY}, device="cuda", batch=4)
    assert not speeds.refused
    assert all(0 < seconds < 5 for one in speeds.latencies for seconds in one.seconds)
    assert speeds.conditions.processor == torch.cuda.get_device_name()
    assert torch.cuda.memory_allocated() == before


class OnTheProcessor(TorchFunctionMode):
    """What is asked of the GPU is done by the processor."""

    def __torch_function__(self, target: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") in ("cuda", torch.device("cuda")):
            kwargs["device"] = "cpu"
        return target(*args, **kwargs)


@pytest.fixture
def gpu(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage.asynchronous = True

    def synchronize() -> None:
        stage.log.append("wait")
        stage.clock.now += stage.clock.pending
        stage.clock.pending = 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**6, 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A pretended GPU")
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: stage.log.append("empty"))
    monkeypatch.setattr(latency, "_generator", lambda device: torch.Generator().manual_seed(0))
    with OnTheProcessor():
        yield stage


def test_on_a_gpu_a_pass_ends_when_the_gpu_has_done_it(gpu: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds(monkeypatch, 5, 5)
    gpu.seconds = {"a": itertools.repeat(0.25)}
    assert devices() == ("cpu", "cuda")
    speeds = gpu.measure("a", device="cuda")
    assert speeds.latencies[0].seconds == (0.25,) * 5
    assert gpu.log == ["wait", "a", "wait"] * (2 + 2 * 5) + ["empty"]
    assert speeds.conditions.processor == "A pretended GPU"


def test_a_gpu_lends_half_of_its_free_memory(gpu: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "MAX_BYTES", 0)
    gpu.seconds = {"a": itertools.repeat(0.25)}
    fits = (10**6 // 2 - WEIGHTS) // PER_IMAGE
    assert gpu.measure("a", device="cuda", batch=fits).latencies
    ((_, sentence),) = gpu.measure("a", device="cuda", batch=fits + 1).refused
    assert sentence.endswith(f"the largest batch that fits is {fits}.")


def test_a_gpu_that_is_full_refuses_one_net_and_measures_the_others(
    gpu: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = gpu.passed

    def fill(model: nn.Module, name: str, output: Tensor) -> None:
        if name == "a":
            raise torch.OutOfMemoryError("CUDA out of memory")
        passed(model, name, output)

    monkeypatch.setattr(gpu, "passed", fill)
    gpu.seconds = {"a": itertools.repeat(0.25), "b": itertools.repeat(0.25)}
    speeds = gpu.measure("a", "b", device="cuda", batch=7)
    assert [one.net for one in speeds.latencies] == ["b"]
    assert speeds.refused == (
        ("a", "a with a batch of 7 does not fit into the GPU's free memory; take a smaller batch."),
    )


# --- the finding


def found(*rows: tuple[str, int, float, float, float]) -> str | None:
    columns = ["net", "macs", "quartile1_ms", "median_ms", "quartile3_ms"]
    table = pd.DataFrame(rows, columns=columns)
    table["gmacs_per_second"] = table["macs"] / table["median_ms"] / 1e6
    return finding(table)


def test_more_macs_in_less_time_are_named() -> None:
    said = found(("y", 1_000_000_000, 99, 100, 101), ("x", 3_100_000_000, 89, 90, 91), ("z", 900_000_000, 99, 100, 101))
    assert said == "MACs alone do not tell the time: x does 3.4 times the MACs of z in 0.9 times the time."


def test_what_the_spread_leaves_in_doubt_is_not_said() -> None:
    said = found(("y", 1_000_000_000, 80, 100, 120), ("x", 3_100_000_000, 70, 90, 110))
    assert said is not None
    assert "less" not in said
    assert (
        said
        == "The time does not grow in proportion to the MACs: x does 3.1 times the MACs of y in 0.9 times the time."
    )


def test_the_same_macs_in_different_times_are_named() -> None:
    said = found(("slow", 10**9, 49, 50, 51), ("fast", 10**9, 9, 10, 11))
    assert said == "MACs alone do not tell the time: fast does 1.0 times the MACs of slow in 0.2 times the time."


def test_time_out_of_proportion_is_named() -> None:
    said = found(("small", 10**9, 10, 10, 10), ("large", 12 * 10**9, 40, 40, 40))
    assert said == (
        "The time does not grow in proportion to the MACs: "
        "large does 12.0 times the MACs of small in 4.0 times the time."
    )
    said = found(("small", 10**9, 10, 10, 10), ("large", 2 * 10**9, 80, 80, 80))
    assert said == (
        "The time does not grow in proportion to the MACs: "
        "large does 2.0 times the MACs of small in 8.0 times the time."
    )


def test_time_in_proportion_is_said_with_the_rates() -> None:
    said = found(("a", 10**9, 9, 10, 11), ("b", 2 * 10**9, 15, 16, 17), ("c", 4 * 10**9, 40, 42, 44))
    assert said == "Here the time follows the MACs: all nets do 95.2 to 125 GMAC/s."


def test_a_wide_spread_says_nothing_of_macs() -> None:
    said = found(("a", 10**9, 5, 10, 30), ("b", 2 * 10**9, 5, 12, 30))
    assert said == (
        "The passes vary too much to tell whether the time follows the MACs; measure again in a quieter moment."
    )


def test_one_net_shows_nothing() -> None:
    assert found(("a", 10**9, 1, 1, 1)) is None


@FEW
@given(
    st.lists(
        st.tuples(st.integers(10**6, 10**11), st.floats(1, 1e3), st.floats(1, 2), st.floats(1, 2)),
        min_size=2,
        max_size=8,
    )
)
def test_what_it_says_of_two_nets_is_true_of_the_table(nets: list[tuple[int, float, float, float]]) -> None:
    rows = [
        (f"n{place}", macs, median / low, median, median * high) for place, (macs, median, low, high) in enumerate(nets)
    ]
    said = found(*rows)
    assert said is not None
    if match := re.search(r"(n\d) does ([\d.,]+) times the MACs of (n\d) in ([\d.,e+-]+) times the time", said):
        one, other = (rows[int(match[place][1:])] for place in (1, 3))
        assert float(match[2].replace(",", "")) == pytest.approx(one[1] / other[1], rel=0.06)
        assert float(match[4].replace(",", "")) == pytest.approx(one[3] / other[3], rel=0.06)
        assert one[1] >= other[1]
        if said.startswith("MACs alone"):
            assert one[4] < other[2]
    else:
        assert any(words in said for words in ("follows the MACs: all nets do", "vary too much"))


def test_a_refusal_is_a_sentence() -> None:
    assert issubclass(Unmeasurable, Refusal)
