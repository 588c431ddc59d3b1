"""Random networks for property tests."""

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from explorer.spec import ResNetSpec, SpecError

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_SMALL_WIDTHS = st.sampled_from((1, 2, 3, 5, 8, 12, 16))


@st.composite
def specs(draw: st.DrawFn, **fixed: object) -> ResNetSpec:
    """A valid spec, every field drawn, small enough for a forward pass on a CPU; `fixed` are values or strategies."""
    values = {
        "block": draw(st.sampled_from(("basic", "bottleneck"))),
        "depths": draw(st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple)),
        "width": draw(_SMALL_WIDTHS),
        "stride_on": draw(st.sampled_from(("1x1", "3x3"))),
        "residual": draw(st.sampled_from((True, True, False))),
        "shortcut": draw(st.sampled_from("ABC")),
        "downsample": draw(st.sampled_from(("conv", "avg"))),
        "preactivation": draw(st.booleans()),
        "zero_init_residual": draw(st.booleans()),
        "stem": draw(st.sampled_from(("imagenet", "cifar", "deep"))),
        "output_stride": draw(st.sampled_from((8, 16, 32))),
        "attention": draw(st.sampled_from(("none", "se"))),
        "norm": draw(st.sampled_from(("batch", "group", "none"))),
        "activation": draw(st.sampled_from(("relu", "leaky_relu", "gelu", "silu"))),
        "in_channels": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 12)),
        "image_size": draw(st.tuples(st.integers(1, 70), st.integers(1, 70))),
    }
    for name, value in fixed.items():
        values[name] = draw(value) if isinstance(value, st.SearchStrategy) else value
    if values["block"] == "bottleneck":
        values = {
            "cardinality": draw(st.sampled_from((1, 1, 2, 3, 8))),
            "width_per_group": draw(st.sampled_from((4, 16, 64, 96))),
        } | values
    try:
        spec = ResNetSpec(**values)
    except SpecError:
        assume(False)
        raise
    assume(spec.inner_width(len(spec.depths)) <= 512)
    return spec
