"""Random networks for property tests; random weights, images and hooks for all tests of networks."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from explorer.spec import ResNetSpec, SpecError, knob

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_SMALL_WIDTHS = st.sampled_from((1, 2, 3, 5, 8, 12, 16))
_SIDES = st.integers(17, 70) | st.integers(1, 70)
_RATES = st.sampled_from((0.0, 0.0, 0.1, 0.5))


def _choices(field: str) -> st.SearchStrategy[object]:
    return st.sampled_from(knob(field).choices)


@st.composite
def specs(draw: st.DrawFn, **fixed: object) -> ResNetSpec:
    """A valid spec, every field drawn, small enough for a forward pass on a CPU; `fixed` are values or strategies."""
    values = {
        "block": draw(st.sampled_from(("basic", "bottleneck"))),
        "depths": draw(st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple)),
        "width": draw(_SMALL_WIDTHS),
        "stride_on": draw(st.sampled_from(("1x1", "3x3"))),
        "residual": draw(st.sampled_from((True, True, False))),
        "shortcut": draw(_choices("shortcut")),
        "gate_bias": draw(st.integers(-10, 0)),
        "downsample": draw(st.sampled_from(("conv", "avg"))),
        "activation_order": draw(_choices("activation_order")),
        "residual_scale": draw(_choices("residual_scale")),
        "scale_start": draw(st.sampled_from((1e-6, 0.1, 0.5, 1.0))),
        "init": draw(_choices("init")),
        "zero_init_residual": draw(st.booleans()),
        "stochastic_depth": draw(_RATES),
        "block_dropout": draw(_RATES),
        "head_dropout": draw(_RATES),
        "kernel_size": draw(st.sampled_from((3, 3, 5, 7))),
        "stem_width": draw(st.none() | _SMALL_WIDTHS),
        "output_stride": draw(_choices("output_stride")),
        "attention": draw(_choices("attention")),
        "antialias": draw(_choices("antialias")),
        "norm": draw(_choices("norm")),
        "norm_groups": draw(_choices("norm_groups")),
        "weight_standardization": draw(st.booleans()),
        "activation": draw(_choices("activation")),
        "in_channels": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 12)),
        "image_size": draw(st.tuples(_SIDES, _SIDES)),
    }
    for name, value in fixed.items():
        values[name] = draw(value) if isinstance(value, st.SearchStrategy) else value
    stages = len(values["depths"])
    stem_width = values["width"] if values["stem_width"] is None else values["stem_width"]
    values = {
        "stem": draw(_choices("stem").filter(lambda stem: stem_width >= {"deep": 2, "tiered": 8}.get(stem, 1))),
        "stage_widths": draw(st.just(()) | st.tuples(*[_SMALL_WIDTHS] * stages)),
        "strides": draw(st.just(()) | st.tuples(*[st.integers(1, 2)] * stages)),
    } | values
    if values["block"] == "bottleneck":
        least = min((values["width"], *values["stage_widths"]))
        values = {
            "cardinality": draw(st.sampled_from((1, 1, 2, 3, 8))),
            "width_per_group": draw(st.sampled_from([width for width in (4, 16, 64, 96) if width * least >= 64])),
        } | values
    try:
        spec = ResNetSpec(**values)
    except SpecError:
        assume(False)
        raise
    assume(spec.inner_width(len(spec.depths)) <= 512)
    return spec


def random_state(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A value for each name, as after a training: no norm is the identity, no bias is zero."""
    torch.manual_seed(0)
    return {name: _random_value(name, like, dtype) for name, like in model.state_dict().items()}


def _random_value(name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if like.dim() > 1:
        return torch.randn(like.shape, dtype=dtype) / math.sqrt(like[0].numel())
    if name.endswith((".bias", "running_mean")):
        return torch.randn(like.shape, dtype=dtype) / 10
    return torch.rand(like.shape, dtype=dtype) + 0.5


def with_state(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The model in eval mode with these tensors, strictly, without a copy."""
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def image(*sides: int, channels: int = 3, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """White noise, the same each time."""
    torch.manual_seed(1)
    return torch.randn(batch, channels, *sides, dtype=dtype)


@contextmanager
def calls(model: nn.Module, *kinds: type[nn.Module]) -> Iterator[list[tuple[nn.Module, tuple[Any, ...], Any]]]:
    """Every call of a module of these kinds: the module, its inputs, its output."""
    seen: list[tuple[nn.Module, tuple[Any, ...], Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs, output)))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    yield seen
    for hook in hooks:
        hook.remove()
