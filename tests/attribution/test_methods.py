"""The methods' own loops and shortcuts against Captum called plainly, and maps that do not depend on the batch."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    GuidedBackprop,
    InputXGradient,
    KernelShap,
    LayerGradCam,
    Lime,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from PIL import Image
from torch import Tensor, nn

from explorer.attribution import subject as subjects
from explorer.attribution.methods import METHODS, hiding
from explorer.attribution.parameters import checked
from explorer.attribution.subject import BASELINES, Map, Subject
from explorer.errors import Refusal
from explorer.models import zoo
from explorer.models.checkpoints import Checkpoint
from explorer.models.preprocessing import Preprocessing
from explorer.models.ready import ready
from explorer.models.resnet import build
from explorer.spec import ResNetSpec

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")

SIDE, TARGET = 16, 3
GRID = {"parts": "grid", "count": 16}  # 16 squares of 4 x 4
FEW: dict[str, dict[str, Any]] = {  # settings that make it quick
    "integrated_gradients": {"steps": 7},
    "gradient_shap": {"samples": 7},
    "smooth_grad": {"samples": 7},
    "occlusion": {"window": 5, "stride": 3},
    "feature_ablation": GRID,
    "shapley": {**GRID, "samples": 2},
    "kernel_shap": {**GRID, "samples": 60},
    "lime": {**GRID, "samples": 60},
}
TINY = Checkpoint(
    name="tiny",
    title="Tiny",
    network="tiny",
    trained_on="nothing",
    classes=tuple(map(str, range(10))),
    preprocessing=Preprocessing(SIDE, SIDE, "bilinear", (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)),
    published=None,
    source="this test",
    licence="none",
    last_features="layer2",
)


@pytest.fixture(autouse=True, scope="module")
def one_cpu_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Random, smooth where it can be: at a ReLU's corner a gradient would show how sums were rounded."""
    torch.manual_seed(0)
    spec = ResNetSpec(block="basic", depths=(1, 1), width=8, stem="cifar", num_classes=10, activation="silu")
    return build(spec, "cpu").eval().requires_grad_(False)


@pytest.fixture
def subject(network: nn.Module) -> Subject:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    return Subject(TINY, network, picture, TINY.preprocessing.tensor(picture), TARGET)


def settings(method: str, **given: Any) -> dict[str, Any]:
    parameters = tuple(each for each in METHODS[method].parameters if each.name != "layer")
    layer = {"layer": "layer2"} if len(parameters) < len(METHODS[method].parameters) else {}
    return layer | checked(parameters, FEW.get(method, {}) | given, method)


def explained(subject: Subject, method: str, **given: Any) -> Map:
    return METHODS[method].explain(subject, settings(method, **given))


def close(found: Map, expected: Tensor, rounding: float = 1e-5) -> None:
    """The same up to so much of the largest number."""
    expected = expected.detach().double()
    largest = float(expected.abs().max())
    assert largest > 0
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=rounding * largest)


def black(subject: Subject) -> Tensor:
    return subject.baseline("black")


def squares(subject: Subject) -> Tensor:
    rows = torch.arange(SIDE) // 4
    return (4 * rows[:, None] + rows)[None, None].expand_as(subject.x).contiguous()


# As Captum


@pytest.mark.parametrize("taken", ["smoothgrad", "smoothgrad_sq", "vargrad"])
@pytest.mark.parametrize("of", ["saliency", "input_x_gradient"])
def test_maps_of_noisy_pictures_are_captums_at_the_same_seed(subject: Subject, taken: str, of: str) -> None:
    found = explained(subject, "smooth_grad", taken=taken, of=of, seed=5, noise=0.2)
    method, more = {"saliency": (Saliency, {"abs": False}), "input_x_gradient": (InputXGradient, {})}[of]
    torch.manual_seed(5)
    plain = NoiseTunnel(method(subject.network)).attribute(
        subject.x,
        nt_type=taken,
        nt_samples=7,
        stdevs=0.2 * float(subject.x.max() - subject.x.min()),
        target=TARGET,
        **more,
    )
    close(found, plain[0], 1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_gradient_shap_is_captums_at_the_same_seed(subject: Subject, noise: float) -> None:
    found = explained(subject, "gradient_shap", noise=noise, seed=5)
    torch.manual_seed(5)
    np.random.seed(5)
    spread = noise * float(subject.x.max() - subject.x.min())
    plain = GradientShap(subject.network).attribute(
        subject.x, black(subject), n_samples=7, stdevs=spread, target=TARGET
    )
    close(found, plain[0])
    assert (found.expected_sum is None) == (noise > 0), "the sum of noisy ones goes to another score"


@pytest.mark.parametrize("method", ["feature_ablation", "shapley", "kernel_shap", "lime"])
def test_a_picture_in_one_part_is_a_sentence(subject: Subject, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As SLIC gives it for the cat at 224 px and four parts
    monkeypatch.setattr(hiding, "segments", lambda picture, kind, count: torch.zeros(SIDE, SIDE, dtype=torch.long))
    with pytest.raises(Refusal, match=r"count \(=4\) must be larger"):
        explained(subject, method, count=4)


@pytest.mark.parametrize(("window", "stride"), [(5, 3), (4, 4), (1, 1), (16, 16), (15, 7)])
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_occlusion_is_captums(subject: Subject, window: int, stride: int, baseline: Any) -> None:
    found = explained(subject, "occlusion", window=window, stride=stride, baseline=baseline)
    plain = Occlusion(subject.network).attribute(
        subject.x,
        (3, window, window),
        strides=(3, stride, stride),
        baselines=subject.baseline(baseline),
        target=TARGET,
    )
    close(found, plain[0, :1])


PARTS: dict[str, tuple[Callable[..., Any], dict[str, int]]] = {
    "feature_ablation": (FeatureAblation, {}),
    "shapley": (ShapleyValueSampling, {"n_samples": 2}),
    "kernel_shap": (KernelShap, {"n_samples": 60}),
    "lime": (Lime, {"n_samples": 60}),
}


@pytest.mark.parametrize("method", PARTS)
def test_parts_get_captums_numbers_shared_out_among_their_pixels(subject: Subject, method: str) -> None:
    made, more = PARTS[method]
    found = explained(subject, method, **({} if method == "feature_ablation" else {"seed": 5}))
    torch.manual_seed(5)
    plain = made(subject.network).attribute(
        subject.x, baselines=black(subject), feature_mask=squares(subject), target=TARGET, **more
    )
    close(found, plain[0, :1] / 4**2, 1e-4)


@pytest.mark.parametrize("layer", ["relu", "layer1", "layer2"])
def test_grad_cam_is_captums(subject: Subject, layer: str) -> None:
    found = METHODS["grad_cam"].explain(subject, {"layer": layer})
    plain = LayerGradCam(subject.network, subject.network.get_submodule(layer)).attribute(
        subject.x.clone().requires_grad_(), TARGET, relu_attributions=False
    )
    close(found, plain[0])


def test_guided_maps_of_noisy_pictures_are_captums_on_a_net_that_was_made_ready(subject: Subject) -> None:
    """Its norms are functions there, and the convolutions are the very ones of the net."""
    torch.manual_seed(0)
    network = zoo.initialised("tf_efficientnet_lite0", 0).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.2, 0.5)
    lite = replace(subject, network=network)
    found = explained(lite, "smooth_grad", of="guided_backprop", samples=2)
    torch.manual_seed(0)
    spread = 0.15 * float(subject.x.max() - subject.x.min())
    plain = NoiseTunnel(GuidedBackprop(ready(network, subject.x))).attribute(
        subject.x, nt_samples=2, stdevs=spread, target=TARGET
    )
    close(found, plain[0], 1e-3)


# Batches


@pytest.mark.parametrize("method", FEW)
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_map_does_not_depend_on_how_many_images_go_at_once(
    subject: Subject, method: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explained(subject, method)
    cost = subjects._cost(subject.network, subject.x)
    monkeypatch.setattr(subjects, "_free", lambda device: (at_once + 0.5) * cost.bytes / subjects._SHARE)
    assert subject.at_once == at_once
    sizes: list[int] = []
    hook = subject.network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    again = explained(subject, method)
    hook.remove()
    assert max(sizes[:-1]) == at_once  # the last pass may be that of picture and baseline together
    close(again, whole.values, 1e-4)
    assert again.expected_sum == pytest.approx(whole.expected_sum, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_as_many_images_pass_as_a_method_says_and_each_batch_is_told(
    subject: Subject, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "_free", lambda device: 3.5 * subjects._cost(subject.network, subject.x).bytes / 0.3)
    explained(subject, method)  # what the network is like is measured once
    told: list[tuple[float, str]] = []
    sizes: list[int] = []
    # At its end: the first layers are run less often, or on a patch
    hook = subject.network.fc.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))  # type: ignore[union-attr]
    explained(replace(subject, report=lambda fraction, text: told.append((fraction, text))), method)
    hook.remove()
    assert sum(sizes) == METHODS[method].passes(settings(method), SIDE)[0]
    assert max(sizes) <= 3
    fractions = [fraction for fraction, _ in told]
    if method != "guided_grad_cam":  # two methods, one after the other
        assert fractions == sorted(fractions)
        assert fractions[0] == 0
    assert all(fraction < 1 for fraction in fractions)
    assert len(told) >= len(sizes) - 1  # the scores of picture and baseline are not


@pytest.mark.parametrize("method", METHODS)
def test_a_score_that_came_up_on_the_way_is_the_pictures(subject: Subject, method: str) -> None:
    found = explained(subject, method)
    assert (found.score is None) == (method in ("smooth_grad", "lime"))
    if found.score is not None:
        assert found.score == pytest.approx(subject.value(subject.x), abs=1e-5)


@pytest.mark.parametrize("method", ["shapley", "kernel_shap"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_shares_add_up_to_the_score_less_the_baselines(subject: Subject, method: str, baseline: str) -> None:
    found = explained(subject, method, baseline=baseline)
    expected = subject.value(subject.x) - subject.value(subject.baseline(baseline))  # type: ignore[arg-type]
    assert found.expected_sum == pytest.approx(expected, abs=1e-5)
    assert float(found.values.sum()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["feature_ablation", "shapley", "kernel_shap", "lime"])
def test_a_picture_of_one_colour_has_parts_too(subject: Subject, method: str) -> None:
    plain = Image.new("RGB", (SIDE, SIDE), (200, 100, 50))
    one = replace(subject, picture=plain, x=TINY.preprocessing.tensor(plain))
    found = explained(one, method, parts="superpixels", count=4)
    assert found.values.isfinite().all()


def test_random_numbers_of_others_are_not_held_up_and_go_on_as_they_were(subject: Subject) -> None:
    """While images pass, the lock of the process's random numbers is free."""
    for method in ("smooth_grad", "gradient_shap", "shapley", "kernel_shap", "lime"):
        torch.manual_seed(1)
        np.random.seed(1)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        held: list[bool] = []
        seen = lambda fraction, text, held=held: held.append(_held())  # noqa: E731
        explained(replace(subject, report=seen), method)
        assert held
        assert not any(held)
        assert torch.equal(torch.get_rng_state(), before[0]), method
        assert np.array_equal(np.random.get_state()[1], before[1])


def _held() -> bool:
    from concurrent.futures import ThreadPoolExecutor

    from explorer.models import observe

    def free() -> bool:
        got = observe._SEEDING.acquire(blocking=False)
        if got:
            observe._SEEDING.release()
        return got

    with ThreadPoolExecutor(1) as other:  # the lock is open to the thread that has it
        return not other.submit(free).result()


# Sizes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": 17}, "window (=17) must be at most 16: the net sees 16 x 16 px."),
        (
            {"window": 4, "stride": 5},
            "stride (=5) must be at most the window's 4, or pixels between squares are skipped.",
        ),
    ],
)
def test_a_square_that_does_not_suit_the_net_is_refused(subject: Subject, given: dict[str, int], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        explained(subject, "occlusion", **given)
    assert str(caught.value) == message


def test_squares_that_are_parts_of_the_side_are_the_defaults_at_224() -> None:
    method = METHODS["occlusion"]
    defaults = {each.name: each.default for each in method.parameters}
    assert {name: round(224 * part) for name, part in method.by_side.items()} == {
        name: defaults[name] for name in method.by_side
    }


def test_no_warning_is_drawn_from_captum(subject: Subject) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("integrated_gradients", "gradient_shap", "occlusion", "shapley", "kernel_shap", "lime"):
            explained(subject, method)


@pytest.mark.parametrize(
    ("given", "signed"),
    [
        ({"of": "saliency"}, False),
        ({"of": "input_x_gradient"}, True),
        ({"of": "input_x_gradient", "taken": "vargrad"}, False),
        ({"of": "guided_backprop"}, False),
    ],
)
def test_a_mean_of_maps_has_the_sign_of_these(given: dict[str, str], signed: bool) -> None:
    assert METHODS["smooth_grad"].signed(settings("smooth_grad", **given)) is signed
