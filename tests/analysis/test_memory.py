"""The memory of a training step against PyTorch's own hooks, its profiler, its optimisers and hand arithmetic."""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEW, specs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from explorer.analysis.layers import layer_table, totals
from explorer.analysis.memory import (
    CARDS,
    GB,
    Gradients,
    ImpossibleStep,
    Optimiser,
    TrainingMemory,
    largest_batches,
    refuses_one_image,
    training_memory,
)
from explorer.analysis.rules import DoesNotFit
from explorer.models import zoo
from explorer.models.resnet import build
from explorer.models.zoo import UnknownNetwork
from explorer.spec import PRESETS, ResNetSpec

FLOAT = 4  # bytes
LOSS = FLOAT  # the loss is in use when the forward pass ends, and is not saved by autograd
OPTIMISERS: tuple[Optimiser, ...] = get_args(Optimiser)

SMALL = {
    name: replace(PRESETS[name], image_size=(64, 64))
    for name in ("resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "resnet50d", "seresnet50", "plain34")
} | {
    "preact_resnet50": replace(PRESETS["resnet50"], activation_order="preact", image_size=(64, 64)),
    "cifar_resnet20": PRESETS["cifar_resnet20"],
    "cifar_resnet110": PRESETS["cifar_resnet110"],
}


@pytest.fixture(scope="module")
def resnet50() -> TrainingMemory:
    return training_memory("resnet50")


def saved_by_autograd(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Bytes of the distinct storages that the graph keeps, weights and statistics left out."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    alive: list[Tensor] = []
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            alive.append(tensor)  # or its address might be another's next
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = F.cross_entropy(model(images), labels)
    assert loss.requires_grad
    return sum(sizes.values())


def saved_on_meta(network: ResNetSpec | str, batch: int) -> int:
    model, shape = zoo.network(network)
    images = torch.empty(batch, *shape, device="meta")
    return saved_by_autograd(model, images, torch.empty(batch, dtype=torch.long, device="meta"))


# What is kept for the backward pass


def test_resnet18_keeps_what_a_pencil_finds() -> None:
    """Per map: each convolution's output, for its norm, and each ReLU's, for itself and for the next convolution."""
    stem = 2 * 64 * 112**2 + 64 * 56**2  # convolution, ReLU, max pool
    indices = 8 * 64 * 56**2  # bytes: the max pool keeps 64-bit places
    first, later = 8 * 64 * 56**2, 9 * (128 * 28**2 + 256 * 14**2 + 512 * 7**2)  # 2 blocks x 4, and one projection
    head = 512 + 1000  # pooled features, and the logarithms of the softmax
    label = 8
    image = 3 * 224**2
    channels = 64 + 4 * 64 + 5 * (128 + 256 + 512)  # of all batch norms
    memory = training_memory("resnet18")
    assert memory.saved.per_image == FLOAT * (image + stem + first + later + head) + indices + label
    assert (
        memory.saved.fixed == FLOAT * 2 * channels + FLOAT + LOSS
    )  # means, deviations, and the sum of the labels' weights
    assert dict(memory.stages) == {
        "image": FLOAT * image + label,
        "stem": FLOAT * stem + indices,
        "1": FLOAT * first,
        "2": FLOAT * 9 * 128 * 28**2,
        "3": FLOAT * 9 * 256 * 14**2,
        "4": FLOAT * 9 * 512 * 7**2,
        "head": FLOAT * head,
    }


@pytest.mark.parametrize("name", [*SMALL, "vgg16", "googlenet", "mobilenetv1_100"])
def test_it_is_what_the_hooks_of_autograd_are_shown_at_any_batch(name: str) -> None:
    network = SMALL.get(name, name)
    memory = training_memory(network)
    for batch in (2, 3, 7):
        assert memory.saved.at(batch) == saved_on_meta(network, batch) + LOSS


@FEW
@given(specs())
def test_it_is_so_for_every_net_that_can_be_built(spec: ResNetSpec) -> None:
    memory = training_memory(spec)
    assert memory.saved.at(2) == saved_on_meta(spec, 2) + LOSS
    assert memory.saved.at(5) == saved_on_meta(spec, 5) + LOSS
    assert sum(size for _, size in memory.stages) == memory.saved.per_image
    assert memory.gradients == memory.weights == FLOAT * totals(layer_table(spec)).params


@pytest.mark.parametrize("name", SMALL)
def test_real_tensors_on_a_processor_take_the_same(name: str) -> None:
    spec, batch = SMALL[name], 4
    model = build(spec, "cpu")
    images = torch.randn(batch, 3, *spec.image_size)
    saved = saved_by_autograd(model, images, torch.zeros(batch, dtype=torch.long))
    assert training_memory(spec).saved.at(batch) == saved + LOSS


def test_standardised_weights_are_kept_whatever_the_batch() -> None:
    """Two tensors of each weight's size, before and after the division, and a deviation for each output channel."""
    plain = replace(SMALL["resnet50"], norm="group")
    convolutions = layer_table(plain).query("kind == 'conv'")
    channels = sum(shape[0] for shape in convolutions.output_shape)
    before, after = training_memory(plain), training_memory(replace(plain, weight_standardization=True))
    assert after.saved.fixed - before.saved.fixed == FLOAT * (2 * int(convolutions.params.sum()) + channels)
    assert after.saved.per_image == before.saved.per_image


def test_a_dropout_mask_is_kept() -> None:
    spec = SMALL["resnet18"]
    dropped = training_memory(replace(spec, head_dropout=0.5))
    # The mask of 512 features is one tensor more, and so are the features that the linear layer takes.
    assert dropped.saved.per_image - training_memory(spec).saved.per_image == FLOAT * 512


# The whole step


def optimiser_for(kind: Optimiser, model: nn.Module) -> torch.optim.Optimizer:
    """With the loops over all parameters at once that PyTorch takes by default on a GPU."""
    if kind == "Adam":
        return torch.optim.Adam(model.parameters(), foreach=True)
    momentum = 0.9 if kind == "SGD with momentum" else 0.0
    return torch.optim.SGD(model.parameters(), 0.01, momentum, foreach=True)


def measured(spec: ResNetSpec, batch: int, kind: Optimiser, gradients: Gradients) -> tuple[int, int]:
    """Bytes in use at the busiest time of a real second step: between the kernels, and with what they take inside.

    By the events of PyTorch's processor allocator: their running sum at the end of each outermost operator, and at all.
    """
    model = build(spec, "cpu")
    optimiser = optimiser_for(kind, model)
    images = torch.randn(batch, spec.in_channels, *spec.image_size)
    labels = torch.zeros(batch, dtype=torch.long)

    def step() -> None:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=gradients == "freed")

    step()
    gc.collect()
    state = [tensor for held in optimiser.state.values() for tensor in held.values() if isinstance(tensor, Tensor)]
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    before = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers(), *state, *grads, images, labels))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    in_use = between = inside = before
    end = 0  # of the outermost operator that runs
    for event in events:
        if event.name() == "[memory]":
            if event.start_ns() > end:
                between = max(between, in_use)
            in_use += event.nbytes()
            inside = max(inside, in_use)
        elif event.name().startswith("aten::") and event.start_ns() >= end:
            between = max(between, in_use)
            end = event.end_ns()
    assert in_use == before, "a step gives back what it takes"
    return between, inside


STEPS: dict[str, tuple[int, Optimiser]] = dict(
    zip(SMALL, [(4, "SGD with momentum"), (16, "Adam"), (4, "SGD"), (4, "Adam"), (16, "SGD")] * 2, strict=True)
)


@pytest.mark.parametrize("name", SMALL)
def test_with_gradients_kept_a_real_step_is_met_to_the_byte_between_kernels(name: str) -> None:
    batch, optimiser = STEPS[name]
    between, _ = measured(SMALL[name], batch, optimiser, "kept")
    assert training_memory(SMALL[name]).total(batch, optimiser) == between


@pytest.mark.parametrize("name", SMALL)
def test_with_gradients_freed_it_is_met_within_a_feature_map_and_with_all_kernels_within_5_percent(name: str) -> None:
    """Under the ledger PyTorch adds gradients of two branches into a third tensor, else into the first."""
    spec, (batch, optimiser) = SMALL[name], STEPS[name]
    between, inside = measured(spec, batch, optimiser, "freed")
    total = training_memory(spec).total(batch, optimiser, "freed")
    largest_map = batch * FLOAT * max(math.prod(shape) for shape in layer_table(spec).output_shape)
    assert between <= total <= between + largest_map
    assert total == pytest.approx(inside, rel=0.05)


@pytest.mark.parametrize("gradients", get_args(Gradients))
@pytest.mark.parametrize(
    "spec",
    [
        replace(PRESETS["resnet50"], depths=(1,), image_size=(64, 64)),
        replace(PRESETS["cifar_resnet20"], depths=(1,)),
        replace(SMALL["resnet18"], norm="group", activation="gelu", weight_standardization=True),
        replace(SMALL["resnet18"], shortcut="gated", attention="cbam", activation_order="preact"),
        replace(SMALL["resnet50"], depths=(1, 1, 1, 1), output_stride=8, antialias="blur", stem="deep"),
    ],
    ids=["one block", "one CIFAR block", "group", "gated", "dilated"],
)
def test_nets_whose_backward_pass_is_the_busiest_are_met_too(spec: ResNetSpec, gradients: Gradients) -> None:
    memory = training_memory(spec)
    between, _ = measured(spec, 8, "SGD", gradients)
    assert memory.total(8, "SGD", gradients) == pytest.approx(between, rel=0.01)
    assert memory.parts(8, "SGD")["working space"] > 0.01 * between


@FEW
@given(specs(), st.integers(1, 300), st.sampled_from(OPTIMISERS))
def test_the_total_is_the_sum_of_its_parts_and_freed_gradients_never_cost(
    spec: ResNetSpec, batch: int, optimiser: Optimiser
) -> None:
    memory = training_memory(spec)
    parts = memory.parts(batch, optimiser)
    total = memory.total(batch, optimiser)
    assert sum(parts.values()) == total
    assert min(parts.values()) >= 0
    assert parts["gradients"] == parts["weights"]
    assert total - memory.gradients <= memory.total(batch, optimiser, "freed") <= total


# Optimisers


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_optimisers_state_is_what_pytorchs_own_holds_after_a_step(optimiser: Optimiser) -> None:
    spec = SMALL["resnet18"]
    model = build(spec, "cpu")
    own = optimiser_for(optimiser, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    own.step()
    held = [value for state in own.state.values() for value in state.values() if isinstance(value, Tensor)]
    assert training_memory(spec).optimiser_state(optimiser) == sum(tensor.nbytes for tensor in held)


def test_resnet50s_optimisers_by_hand(resnet50: TrainingMemory) -> None:
    params, tensors = 25_557_032, 53 + 2 * 53 + 2  # convolutions, weight and bias of their norms, linear layer
    assert resnet50.weights == FLOAT * params
    assert resnet50.optimiser_state("SGD") == 0
    assert resnet50.optimiser_state("SGD with momentum") == FLOAT * params
    assert resnet50.optimiser_state("Adam") == 2 * FLOAT * params + FLOAT * tensors
    channels = 64 + 3 * (64 + 64 + 256) + 4 * (128 + 128 + 512) + 6 * (256 + 256 + 1024) + 3 * (512 + 512 + 2048)
    channels += 256 + 512 + 1024 + 2048  # projections
    assert (
        resnet50.buffers == 2 * FLOAT * channels + 8 * 53
    )  # mean and variance, and how many batches as a 64-bit number


# The largest batch


@pytest.mark.parametrize("gradients", get_args(Gradients))
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("network", ["resnet50", "cifar_resnet20", "vgg16"])
def test_the_largest_batch_fits_and_one_more_does_not(network: str, optimiser: Optimiser, gradients: Gradients) -> None:
    memory = training_memory(network)
    for limit in (10**8, 3 * 10**8, 5 * 10**8, 2 * GB, *(size * GB for size in CARDS)):
        most = memory.largest_batch(limit, optimiser, gradients)
        assert most == 0 or memory.total(most, optimiser, gradients) <= limit
        assert memory.total(most + 1, optimiser, gradients) > limit


def test_none_fits_where_the_weights_alone_do_not() -> None:
    vgg = training_memory("vgg16")
    assert vgg.largest_batch(vgg.weights, "SGD") == 0
    assert vgg.largest_batch(0, "SGD") == 0


def test_the_table_of_largest_batches_is_in_billions_of_bytes(resnet50: TrainingMemory) -> None:
    table = largest_batches(resnet50)
    assert table.memory_gb.tolist() == [8, 16, 24, 40, 80]
    assert table.columns.tolist() == ["memory_gb", *OPTIMISERS]
    # 8 GB hold 2 copies of 102,228,128 bytes of weights, little else that is constant, and 86 MB an image.
    assert table["SGD"][0] == (8_000_000_000 - 2 * 102_228_128 - 2 * 212_000) // 86_704_136 == 89
    for optimiser in OPTIMISERS:
        assert table[optimiser].tolist() == [resnet50.largest_batch(size * GB, optimiser) for size in CARDS]


# Manners


def test_it_neither_draws_random_numbers_nor_depends_on_the_callers_modes() -> None:
    spec = replace(SMALL["resnet18"], head_dropout=0.5, block_dropout=0.5, stochastic_depth=0.5)
    before = torch.get_rng_state()
    memory = training_memory(spec)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert training_memory(spec) == memory
        assert not torch.is_grad_enabled()


def test_it_says_how_far_it_is_and_stops_when_told_to() -> None:
    heard: list[tuple[float, str]] = []
    training_memory("resnet18", report=lambda fraction, text: heard.append((fraction, text)))
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert {text for _, text in heard} == {"Forward pass", "Backward pass"}

    class Stopped(Exception):  # noqa: N818
        pass

    def stop_after(count: int) -> Callable[[float, str], None]:
        calls: Iterator[int] = iter(range(count))

        def report(fraction: float, text: str) -> None:
            if next(calls, None) is None:
                raise Stopped

        return report

    for count in (0, 3, 30):
        with pytest.raises(Stopped):
            training_memory("resnet18", report=stop_after(count))
    assert training_memory("resnet18") == training_memory(PRESETS["resnet18"])


def test_what_cannot_be_is_refused_with_a_sentence(resnet50: TrainingMemory) -> None:
    with pytest.raises(ImpossibleStep, match=r"batch \(=0\) must be 1 or more"):
        resnet50.total(0, "SGD")
    with pytest.raises(ImpossibleStep, match=r"batch \(=-3\)"):
        resnet50.parts(-3, "SGD")
    with pytest.raises(
        ImpossibleStep, match=r"optimiser \(='Lion'\) must be one of 'SGD', 'SGD with momentum', 'Adam'"
    ):
        resnet50.largest_batch(GB, "Lion")  # type: ignore[arg-type]
    with pytest.raises(UnknownNetwork):
        training_memory("resnet51")
    with pytest.raises(DoesNotFit, match="32x32 with 3 channels"):
        training_memory("alexnet", (32, 32))


def test_another_image_size_keeps_the_weights_and_changes_the_images(resnet50: TrainingMemory) -> None:
    half = training_memory("resnet50", (112, 112))
    assert half.weights == resnet50.weights
    maps = resnet50.saved.per_image - half.saved.per_image
    rest = FLOAT * (2048 + 1000) + 8  # pooled features, softmax and label are the same
    assert maps == pytest.approx(0.75 * (resnet50.saved.per_image - rest), rel=0.01)  # 7x7 maps become 4x4
    assert half == training_memory(replace(PRESETS["resnet50"], image_size=(112, 112)))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, False),
        ({"image_size": (17, 17)}, True),
        ({"image_size": (17, 17), "norm": "group"}, False),
        (
            {"image_size": (17, 17), "norm": "group", "attention": "cbam"},
            True,
        ),  # its spatial attention has a batch norm
        ({"image_size": (17, 17), "norm": "none"}, False),
    ],
)
def test_a_batch_of_one_is_refused_where_pytorch_refuses_it(change: dict[str, Any], refused: bool) -> None:
    spec = replace(PRESETS["resnet18"], depths=(1, 1, 1, 1), width=8, image_size=(64, 64))
    spec = replace(spec, **change)
    with pytest.raises(ValueError, match="more than 1 value") if refused else nullcontext():
        build(spec, "cpu").train()(torch.zeros(1, 3, *spec.image_size))
    assert refuses_one_image(spec) is refused
