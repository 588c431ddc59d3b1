"""Whether a method says the truth on the network in hand: a number that must come out, or an implementation of ours.

Libraries hook modules. Of what a network does otherwise they do not know, and draw a map all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from explorer.attribution.methods import METHODS
from explorer.attribution.methods.folding import folded
from explorer.attribution.parameters import checked
from explorer.attribution.posing import parameters, posed
from explorer.attribution.subject import Map, Score, Subject
from explorer.errors import Refusal
from explorer.models.checkpoints import Report, Trained
from explorer.models.observe import Shared, seeded

Settings = dict[str, Any]
Check = Callable[[Subject, Settings], str | None]  # what is wrong, for the end of a sentence; None if nothing is

_CLOSE = 0.01  # of the largest value: what single precision and another order of sums may differ by


def problem(method: str, trained: Trained, report: Report | None = None) -> str | None:
    """Why a method's maps of this network would be wrong, as a sentence; None if they are right.

    Run once for a network and a method, on a smooth random picture and the class that it is taken for.

    Args:
        report: called with the fraction done and a sentence; an exception that it raises stops the check, which is then
            made the next time.
    """
    found = _FOUND.setdefault(trained.model, {})
    if method not in found:
        found[method] = _problem(method, trained, report or (lambda fraction, text: None))
    return found[method]


_FOUND: WeakKeyDictionary[Shared, dict[str, str | None]] = WeakKeyDictionary()


def _problem(method: str, trained: Trained, report: Report) -> str | None:
    title, stopped = METHODS[method].title, False

    def tell(fraction: float, text: str) -> None:
        nonlocal stopped
        stopped = True  # but for what follows
        report(0.0, f"{title} is checked on {trained.checkpoint.title}")
        stopped = False

    settings = checked(parameters(METHODS[method], trained), {}, title)
    try:
        with posed(trained, _picture(trained), report=tell) as subject:
            wrong = CHECKS[method](subject, settings)
    except Refusal as refusal:
        wrong = str(refusal)
    except Exception as error:  # a network of others may fail in any way
        if stopped or isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        wrong = f"it fails there ({type(error).__name__})"
    return wrong and f"{title} is left out for {trained.checkpoint.title}: {wrong.rstrip('.')}."


def _gradient_times(way: Callable[[Subject], Tensor | float], method: str, **instead: Any) -> Check:
    """The gradient by autograd alone, times something."""

    def compare(subject: Subject, settings: Settings) -> str | None:
        found = METHODS[method].explain(subject, settings | instead)
        return _difference(found, _gradient(subject, subject.x) * way(subject))

    return compare


def _without_noise(subject: Subject, settings: Settings) -> str | None:
    """SmoothGrad is the gradient then.

    That of the network with batch norm folded, as SmoothGrad has it: before training, many gradients change as soon as
    sums are rounded otherwise. The score must not.
    """
    plain = subject.value(subject.x)
    with folded(subject.network):
        score, expected = subject.value(subject.x), _gradient(subject, subject.x)
    if abs(score - plain) > _CLOSE * abs(plain):
        return f"with batch norm in its convolutions the score is {score:.3g} instead of {plain:.3g}"
    found = METHODS["smooth_grad"].explain(subject, settings | {"of": "saliency", "samples": 2, "noise": 0.0})
    return _difference(found, expected)


def _gradient(subject: Subject, x: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Score(subject.network, subject.target)(leaf).sum(), leaf)
    found: Tensor = gradient
    return found


def _adds_up(method: str, close: float = _CLOSE, **instead: Any) -> Check:
    """The sum of the map."""

    def compare(subject: Subject, settings: Settings) -> str | None:
        found = METHODS[method].explain(subject, settings | instead)
        return _sum(subject, found, close)

    return compare


def _adds_up_nearby(method: str, close: float, **instead: Any) -> Check:
    """The sum of the map along a short path uphill, where few points must do: a gradient that is none shows there.

    Args:
        close: part of the sum that few points, or those of chance, may miss.
    """

    def compare(subject: Subject, settings: Settings) -> str | None:
        start = subject.baseline("noise")
        uphill = _gradient(subject, start)
        steep = float(uphill.square().sum())
        if steep == 0:
            return "the score has no gradient"
        for rise in _RISES:
            near = replace(subject, x=start + rise * abs(subject.value(start)) / steep * uphill)
            wrong = _adds_up(method, close, baseline="noise", **instead)(near, settings)
            if wrong is None:
                return None
        return wrong

    return compare


_RISES = (2e-3, 2e-4)  # of the score: far above what rounding does; some networks bend much on the longer of both ways


def _sum(subject: Subject, found: Map, close: float = _CLOSE) -> str | None:
    """Where a sum is promised."""
    if found.expected_sum is None:
        return None
    total, size = float(found.values.sum()), float(found.values.abs().sum())
    # What is known of the sum: single precision of the score, and of large numbers of both signs
    known = max(_ROUNDING * abs(subject.value(subject.x)), close * max(abs(found.expected_sum), _CLOSE * size))
    if abs(total - found.expected_sum) <= known:
        return None
    return f"its map adds up to {total:.3g} where {found.expected_sum:.3g} is right"


_ROUNDING = 1e-5


def _as_own(method: str) -> Check:
    """A changed gradient of ReLUs: that of our own function, which stands for every ReLU whoever calls it."""

    def compare(subject: Subject, settings: Settings) -> str | None:
        own = _through_relus(subject, guided=method == "guided_backprop")
        return _difference(METHODS[method].explain(subject, settings), own)

    return compare


def _through_relus(subject: Subject, guided: bool) -> Tensor:
    """(1, channels, h, w): the changed gradient.

    Raises:
        Refusal: most activations are no ReLUs.
    """
    x = subject.x.detach().clone().requires_grad_()
    with _Instead(guided) as instead:
        score = Score(subject.network, subject.target)(x)
    if instead.relus <= instead.others:
        raise Refusal(
            f"it acts at ReLUs, and only {instead.relus} of the net's {instead.relus + instead.others} activations are "
            "some"
        )
    (own,) = torch.autograd.grad(score.sum(), x)
    found: Tensor = own
    return found


def _guided_grad_cam(subject: Subject, settings: Settings) -> str | None:
    """The product of both."""
    coarse = _by_gradients(subject, settings["layer"]).clamp(min=0)
    fine = _through_relus(subject, guided=True)
    own = fine * F.interpolate(coarse[None], fine.shape[2:], mode="nearest")
    return _difference(METHODS["guided_grad_cam"].explain(subject, settings), own)


def _grad_cam(subject: Subject, settings: Settings) -> str | None:
    """Maps times their mean gradients, by autograd; and their sum, where that is known."""
    found = METHODS["grad_cam"].explain(subject, settings)
    return _difference(found, _by_gradients(subject, settings["layer"])) or _sum(subject, found)


def _cam(subject: Subject, settings: Settings) -> str | None:
    """Grad-CAM times the cells: so only where an average pool and a linear layer are all that follows."""
    found = METHODS["cam"].explain(subject, settings)
    own = _by_gradients(subject, subject.checkpoint.last_features)
    return _difference(found, own * own[0].numel()) or _sum(subject, found)


def _by_gradients(subject: Subject, layer: str) -> Tensor:
    """(1, rows, columns): Grad-CAM by autograd alone.

    Raises:
        Refusal: the layer runs more than once.
    """
    x = subject.x.detach().clone().requires_grad_()
    maps, score = _output(subject, layer, x)
    (gradient,) = torch.autograd.grad(score.sum(), maps)
    return (maps * gradient.mean((2, 3), keepdim=True)).sum(1)


def _output(subject: Subject, layer: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer returns, and the score."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        seen.append(output)
        return output.clone()  # what follows may write over it

    hook = subject.network.get_submodule(layer).register_forward_hook(keep)
    try:
        score = Score(subject.network, subject.target)(x)
    finally:
        hook.remove()
    if len(seen) != 1:
        raise Refusal(f"{layer} runs {len(seen)} times for a picture, so that its maps are not one thing")
    return seen[0], score


def _feature_maps(subject: Subject, settings: Settings) -> str | None:
    maps, _ = _output(subject, settings["layer"], subject.x)
    return _difference(METHODS["feature_maps"].explain(subject, settings | {"channel": 0}), maps.mean(1))


def _whole(subject: Subject, settings: Settings) -> str | None:
    """A square as large as the picture: how far the score falls when all is hidden."""
    side = subject.x.shape[2]
    fall = subject.value(subject.x) - subject.value(subject.baseline(settings["baseline"]))
    found = METHODS["occlusion"].explain(subject, settings | {"window": side, "stride": side})
    return _difference(found, torch.full((1, side, side), fall))


def _quarters(subject: Subject, settings: Settings) -> str | None:
    """Each of four squares hidden by hand."""
    side = subject.x.shape[2]
    half = -(-side // 2)
    start, whole = subject.baseline(settings["baseline"]), subject.value(subject.x)
    own = torch.zeros(1, side, side)
    for top in (slice(half), slice(half, side)):
        for left in (slice(half), slice(half, side)):
            hidden = subject.x.clone()
            hidden[..., top, left] = start[..., top, left]
            own[:, top, left] = (whole - subject.value(hidden)) / own[0, top, left].numel()
    return _difference(METHODS["feature_ablation"].explain(subject, settings | _FOUR), own)


def _steady(method: str, **instead: Any) -> Check:
    """A map that nothing is known of is at least the same twice."""

    def compare(subject: Subject, settings: Settings) -> str | None:
        one, other = (METHODS[method].explain(subject, settings | instead) for _ in range(2))
        return _difference(one, other.values[None])

    return compare


def _adds_up_steadily(method: str, **instead: Any) -> Check:
    """Both: of a network that answers by chance a map adds up as well."""
    sums, steady = _adds_up(method, **instead), _steady(method, **instead)
    return lambda subject, settings: sums(subject, settings) or steady(subject, settings)


def _difference(found: Map, own: Tensor) -> str | None:
    expected = own[0].detach().double().cpu() if own.ndim == 4 else own.detach().double().cpu()
    if tuple(found.values.shape) != tuple(expected.shape):
        return f"its map has the shape {tuple(found.values.shape)} where {tuple(expected.shape)} is right"
    scale, off = float(expected.abs().max()), float((found.values - expected).abs().max())
    if off <= _CLOSE * scale:  # nor is nan
        return None
    by = f"{off / scale:.0%} of the largest value" if 0 < scale < torch.inf else f"{off:.2g}"
    return f"its map differs by {by} from one that is computed otherwise"


class _Changed(torch.autograd.Function):
    """min(max(x, 0), most), with another way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, most: float, guided: bool) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < most))
        ctx.guided = guided
        return x.clamp(0, most)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (on,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.clamp(min=0) * on if ctx.guided else gradient.clamp(min=0), None, None


class _Instead(TorchFunctionMode):
    """Our function wherever a ReLU is called, as a module, a function or a tensor's own method.

    relus: how many were. others: how many calls of other activations.
    """

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self._guided = guided
        self.relus = self.others = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        most = _MOST.get(func)
        if func is F.hardtanh and _bounds(args, kwargs)[0] == 0:
            most = _bounds(args, kwargs)[1]
        if most is None:
            self.others += func in _OTHERS
            return func(*args, **(kwargs or {}))
        self.relus += 1
        return _Changed.apply(args[0] if args else (kwargs or {})["input"], most, self._guided)


_MOST: dict[Any, float] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), torch.inf),
    F.relu6: 6.0,
}
_OTHERS = {
    *(F.leaky_relu, F.prelu, F.rrelu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish),
    *(F.hardsigmoid, F.hardtanh, torch.tanh, torch.sigmoid, Tensor.tanh, Tensor.sigmoid, Tensor.tanh_, Tensor.sigmoid_),
}


def _bounds(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> tuple[float, float]:
    named = kwargs or {}
    low = args[1] if len(args) > 1 else named.get("min_val", -1.0)
    high = args[2] if len(args) > 2 else named.get("max_val", 1.0)
    return low, high


_FOUR: dict[str, Any] = {"parts": "grid", "count": 4}
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "grad_cam": _grad_cam,
        "cam": _cam,
        "guided_grad_cam": _guided_grad_cam,
        "feature_maps": _feature_maps,
        "integrated_gradients": _adds_up_nearby("integrated_gradients", 0.05, steps=16),
        "gradient_shap": _adds_up_nearby("gradient_shap", 0.3, samples=8, noise=0.0),
        "deep_lift": _adds_up("deep_lift"),
        "saliency": _gradient_times(lambda subject: 1.0, "saliency"),
        "input_x_gradient": _gradient_times(lambda subject: subject.x, "input_x_gradient"),
        "smooth_grad": _without_noise,
        "guided_backprop": _as_own("guided_backprop"),
        "deconvolution": _as_own("deconvolution"),
        "occlusion": _whole,
        "feature_ablation": _quarters,
        "shapley": _adds_up_steadily("shapley", samples=1, **_FOUR),
        "kernel_shap": _adds_up_steadily("kernel_shap", samples=16, **_FOUR),
        "lime": _steady("lime", samples=16, **_FOUR),
    }
)


def _picture(trained: Trained) -> Image.Image:
    """Smooth random colours, as large as the network sees."""
    side = trained.checkpoint.preprocessing.crop
    with seeded(0):
        coarse = torch.rand(1, 3, 8, 8)
    smooth = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    return Image.fromarray((255 * smooth[0].permute(1, 2, 0)).byte().numpy())
