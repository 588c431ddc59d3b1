"""What is explained: one borrowed network, one picture as it sees it, and one score."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from explorer.models.checkpoints import Checkpoint, Report
from explorer.models.observe import seeded, watching
from explorer.models.ready import ready

Baseline = Literal["black", "mean", "white", "blur", "noise"]
BASELINES: dict[str, str] = {  # by `Baseline`
    "black": "Black",
    "mean": "Zero input (the mean colour for most nets)",
    "white": "White",
    "blur": "Blurred",
    "noise": "Noise",
}

# What goes through a network together, on a CPU; a GPU takes so many times more
_PIXELS = 10 * 224 * 224  # as fast as more at once, and a tenth of the memory that all of a method's images would take
_MACS = 20e9  # with their gradients they take about half a second: so soon a report can stop the work
_GPU = 8
_SHARE = 0.3  # of the free memory that they may take


class Score(nn.Module):
    """A class's logit, or how far it is above another's: images (n, channels, h, w) to (n,).

    It counts the images that pass through and reports them; what the report raises ends the work.

    Args:
        network: with all its hooks; it is not copied.
        target, against: indices of classes; without the second it is the logit itself.
        expected: how many images will pass, for the fraction that is reported.
        report: called before each pass.
        text: what is being done.

    Attributes:
        images: how many have been passed on. scores: those that came back, in order.
    """

    def __init__(
        self,
        network: nn.Module,
        target: int,
        against: int | None = None,
        expected: int = 1,
        report: Report = lambda fraction, text: None,
        text: str = "",
    ) -> None:
        super().__init__()
        self.network = network
        self.target, self.against = target, against
        self.expected, self.images = expected, 0
        self.scores: list[float] = []
        self._report, self._text = report, text
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n,).

        Raises:
            Exception: whatever the report raises.
        """
        score = self.of(self.logits(x))
        self.scores += score.tolist()
        return score

    def logits(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, classes), counted and reported."""
        done = min(self.images, self.expected)
        self._report(done / self.expected, f"{self._text}, {done} of {self.expected} passes")
        self.images += len(x)
        logits: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return logits

    def of(self, logits: Tensor) -> Tensor:
        """(n, classes) to (n,)."""
        score = logits[:, self.target]
        return score if self.against is None else score - logits[:, self.against]


@dataclass(frozen=True)
class Subject:
    """One picture before one network.

    Attributes:
        checkpoint: what the network is.
        network: borrowed, in eval mode, its parameters without gradients.
        picture: what it sees. x: the same as it takes it, (1, channels, h, w).
        target, against: the class that is explained, and the one that it is compared with.
        report: where progress goes.
    """

    checkpoint: Checkpoint
    network: nn.Module
    picture: Image.Image
    x: Tensor
    target: int
    against: int | None = None
    report: Report = lambda fraction, text: None

    def score(self, text: str, expected: int = 1, *, hooked: bool = False) -> Score:
        """What a method explains, with progress over so many images.

        Args:
            hooked: for a method that hooks ReLUs, by the network that is ready for it; its layers may have other names.
        """
        network = ready(self.network, self.x) if hooked else self.network
        return Score(network, self.target, self.against, expected, self.report, text)

    def value(self, x: Tensor) -> float:
        """The score of one image."""
        return self.values(x)[0]

    def values(self, *images: Tensor) -> list[float]:
        """The scores of a few images, in one pass."""
        score = Score(self.network, self.target, self.against)
        with torch.no_grad():
            score(torch.cat(images))
        return score.scores

    def baseline(self, kind: Baseline, seed: int = 0) -> Tensor:
        """A picture that tells nothing, as the network takes it: zero there is the mean colour, not black.

        Blurred: with a deviation of an eighth of the side. Noise: each number drawn evenly from black to white.
        """
        if kind == "mean":
            return torch.zeros_like(self.x)
        pixels = tv.to_dtype(tv.pil_to_tensor(self.picture), torch.float32, scale=True)[None]
        if kind == "blur":
            side = min(pixels.shape[2:])
            width = max(1, side // 2) | 1  # an odd kernel that the picture can reflect
            pixels = tv.gaussian_blur(pixels, [width, width], [max(1.0, side / 8)] * 2)
        elif kind == "noise":
            with seeded(seed):
                pixels = torch.rand(pixels.shape)
        else:
            pixels = torch.full(pixels.shape, 0.0 if kind == "black" else 1.0)
        return self.checkpoint.preprocessing.normalise(pixels).to(self.x)

    @property
    def at_once(self) -> int:
        """How many images to pass together: no more than are fast, let one stop soon, and fit into the free memory."""
        cost = _cost(self.network, self.x)
        fast = min(_PIXELS / (self.x.shape[2] * self.x.shape[3]), _MACS / max(1, cost.macs))
        fit = _SHARE * _free(self.x.device) / max(1, cost.bytes)
        return max(1, min(round(fast * (_GPU if self.x.is_cuda else 1)), int(fit), 256))


@dataclass(frozen=True)
class _Cost:
    """Of one image: multiply-accumulates forward, and the bytes that a pass forward and back keeps."""

    macs: int
    bytes: int


# They depend on sizes alone, so that weights may change meanwhile
_COSTS: WeakKeyDictionary[nn.Module, dict[torch.Size, _Cost]] = WeakKeyDictionary()


def _cost(network: nn.Module, x: Tensor) -> _Cost:
    known = _COSTS.setdefault(network, {})
    if x.shape not in known:
        known[x.shape] = _measured(network, x)
    return known[x.shape]


def _measured(network: nn.Module, x: Tensor) -> _Cost:
    """By one pass: what each module returns is kept, and so is its gradient."""
    macs = kept = 0

    def add(module: nn.Module, output: Any) -> None:
        nonlocal macs, kept
        if isinstance(output, Tensor):
            macs += macs_of(module, output)
            kept += 2 * output.numel() * output.element_size()

    leaves = (module for module in network.modules() if not any(True for _ in module.children()))
    with torch.no_grad(), watching((module, partial(add, module)) for module in leaves):
        network(x)
    return _Cost(macs, kept)


def macs_of(module: nn.Module, output: Tensor) -> int:
    """Multiply-accumulates of a module that holds no other, by what it returned.

    >>> macs_of(nn.Conv2d(2, 3, 3), torch.zeros(1, 3, 5, 5))  # 75 numbers, each of 3 x 3 x 2
    1350
    """
    weight = getattr(module, "weight", None)
    return output.numel() * weight[0].numel() if isinstance(weight, Tensor) and weight.ndim > 1 else 0


_MEMORY = Path("/proc/meminfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_UNKNOWN = 2 << 30


def _free(device: torch.device) -> int:
    """Free memory in bytes, as the system says; of a container that is what its limit leaves."""
    if device.type == "cuda":
        ours = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # PyTorch keeps it for itself
        return int(torch.cuda.mem_get_info(device)[0]) + ours
    lines = dict(line.split(":", 1) for line in _text(_MEMORY).splitlines())
    # What holds copies of files counts as free, since it is given up for us
    system = [1024 * int(lines["MemAvailable"].split()[0])] if "MemAvailable" in lines else []
    return min([*system, *_left()], default=_UNKNOWN)


def _left() -> Iterator[int]:
    """What is left under each limit of the control groups that this process is in: Linux's, of both versions."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _GROUPS / controllers
        limit, usage = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        group = root / name.strip("/")
        for folder in (group, *group.parents):
            # A container may name its group as it is called outside, and see it as the root
            most, used = (_text(folder / f"memory.{what}").strip() for what in (limit, usage))
            if most.isdigit() and used.isdigit():
                files = [row.split()[1] for row in _text(folder / "memory.stat").splitlines() if _IDLE.match(row)]
                yield max(0, int(most) - int(used) + max(map(int, files), default=0))
            if folder == root:
                break


_IDLE = re.compile("(total_)?inactive_file ")


def _text(path: Path) -> str:
    """What a file says; nothing if it is not there."""
    try:
        return path.read_text()
    except OSError:  # not everywhere
        return ""


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch, of a GPU and of NumPy begin at a seed, and go on afterwards as if none were drawn."""
    state = np.random.get_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    with seeded(seed):
        np.random.seed(seed)
        if gpu is not None:
            torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
            if gpu is not None:
                torch.cuda.set_rng_state(gpu, device)


def segments(picture: Image.Image, kind: Literal["grid", "superpixels"], count: int) -> Tensor:
    """Parts of a picture that are hidden together: (h, w), numbers from 0.

    Args:
        kind: squares, or superpixels by scikit-image's SLIC (Achanta et al. 2012), which follow colours.
        count: about how many.
    """
    width, height = picture.size
    if kind == "grid":
        side = max(1, round(math.sqrt(width * height / count)))
        rows, columns = torch.arange(height) // side, torch.arange(width) // side
        return rows[:, None] * (int(columns[-1]) + 1) + columns[None, :]
    from skimage.segmentation import slic

    found = slic(np.asarray(picture), n_segments=count, compactness=10, start_label=0)
    _, numbers = np.unique(found, return_inverse=True)  # without gaps
    return torch.from_numpy(numbers.reshape(height, width)).long()


def stages(network: nn.Module, x: Tensor) -> dict[str, str]:
    """The modules whose maps are worth a look, from the input: of each resolution the last, and its size in words.

    Args:
        network: in eval mode. x: one image that it takes.
    """
    last: dict[tuple[int, int], str] = {}

    def see(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last[output.shape[2], output.shape[3]] = name

    with torch.no_grad(), watching((module, partial(see, name)) for name, module in network.named_modules() if name):
        network(x)
    return {name: f"{name}, {height} x {width}" for (height, width), name in last.items()}


@dataclass(frozen=True)
class Map:
    """What a method found.

    Attributes:
        values: signed, (channels or 1, rows, columns), float64 on the CPU; rows and columns may be coarser than the
            picture's.
        expected_sum: what all of it should add up to, where the method promises that; in words `expected_sum_is`.
        score: of the picture, if it came up on the way.
    """

    values: Tensor
    expected_sum: float | None = None
    expected_sum_is: str | None = None
    score: float | None = None

    def view(self, signed: bool) -> Tensor:
        """(rows, columns): the channels added up; where the sign says nothing, the largest of their sizes."""
        return self.values.sum(0) if signed else self.values.abs().amax(0)

    @classmethod
    def of(
        cls,
        attribution: Tensor,
        expected_sum: float | None = None,
        expected_sum_is: str | None = None,
        score: float | None = None,
    ) -> "Map":
        """From (1, channels, rows, columns) as Captum gives it."""
        return cls(attribution[0].detach().double().cpu(), expected_sum, expected_sum_is, score)
