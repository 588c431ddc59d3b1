"""Local response normalisation: what it makes of the responses of AlexNet's first filters, and what it costs.

Krizhevsky, Sutskever & Hinton 2012, section 3.3: b_i = a_i / (k + alpha * (sum of a_j^2 over n channels around
i))^beta, at each place of the map for itself.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from explorer.analysis.first_layers import random_conv1, raw_pixels
from explorer.analysis.layers import layer_table, totals
from explorer.errors import Refusal
from explorer.models.historic import AlexNet2012

MAX_WINDOW = 31


class ConstantsError(Refusal):
    """Constants that local response normalisation cannot have; the message names the one and what would be right."""


@dataclass(frozen=True)
class Constants:
    """The four constants, by the paper's names; the defaults are the paper's.

    `n` channels are summed, the channel itself in their middle; `alpha` weighs the sum of squares. PyTorch's and
    Caffe's alpha weigh the mean, so theirs is n times as large.

    >>> Constants()(torch.tensor([0.0, 0.0, 200.0, 0.0, 0.0]).reshape(1, 5, 1, 1))[0, 2].item()  # 200 / (2 + 4)^0.75
    52.16...
    """

    n: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_WINDOW or self.n % 2 == 0:
            raise ConstantsError(f"n (={self.n}) must be odd, from 1 to {MAX_WINDOW}, so that it has a middle.")
        if not (math.isfinite(self.k) and self.k > 0):
            raise ConstantsError(f"k (={self.k}) must be above 0, else a place without a response divides 0 by 0.")
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not (math.isfinite(value) and value >= 0):
                raise ConstantsError(f"{name} (={value}) must be 0 or more.")

    def __call__(self, responses: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape, by PyTorch's own layer."""
        normalised: Tensor = nn.LocalResponseNorm(self.n, self.alpha * self.n, self.beta, self.k)(responses)
        return normalised

    @property
    def knee(self) -> float | None:
        """The response of a lone channel from which on its square outweighs k: sqrt(k / alpha); None for alpha = 0.

        >>> round(Constants().knee, 1)
        141.4
        """
        return math.sqrt(self.k / self.alpha) if self.alpha else None

    @property
    def summit(self) -> float | None:
        """The response at which a lone channel's output is largest; above it, more gives less. None: it always grows.

        >>> round(Constants().summit, 1)  # sqrt(k / (alpha (2 beta - 1)))
        200.0
        """
        steepness = self.alpha * (2 * self.beta - 1)
        return math.sqrt(self.k / steepness) if steepness > 0 else None


@dataclass(frozen=True)
class Inhibition:
    """All channels at one place: `table` has a row a channel.

    table: channel; before, the response behind the ReLU; after, the normalised one; grown, the normalised one when the
        strongest channel's response is `growth` times as large; change, grown less after, in percent of after (None
        where after is 0); neighbour, whether the strongest channel is among the n that are summed for it.
    peak: the strongest channel.
    """

    table: pd.DataFrame
    peak: int
    growth: float

    def share(self, column: str) -> float:
        """The strongest channel's part of the sum over all channels; 0 where no channel responds."""
        total = self.table[column].sum()
        return float(self.table[column][self.peak] / total) if total else 0.0

    def lead(self, column: str) -> float | None:
        """The strongest channel over the median of its neighbours that respond; None where none does."""
        others = self.table[column][self._neighbours()]
        return float(self.table[column][self.peak] / others.median()) if len(others) else None

    @property
    def peak_change(self) -> float | None:
        """Percent by which the strongest channel's normalised response changes as it grows; None where it is 0."""
        change = self.table.change[self.peak]
        return None if pd.isna(change) else float(change)

    @property
    def neighbours_change(self) -> float | None:
        """The mean of that over its neighbours that respond; None where none does."""
        changes = self.table.change[self._neighbours()]
        return float(changes.mean()) if len(changes) else None

    def _neighbours(self) -> pd.Series:
        table = self.table
        return table.neighbour & (table.before > 0) & (table.channel != self.peak)


def first_responses(image: Image.Image, seed: int = 0) -> Tensor:
    """What AlexNet's 96 first filters answer to a picture, behind their ReLU: (96, 55, 55), float64.

    Args:
        image: a picture of any size. seed: of the weights.
    """
    conv1 = random_conv1(seed).double()
    return conv1(raw_pixels(image).double())[0].relu()


def liveliest_place(responses: Tensor) -> tuple[int, int]:
    """The (row, column) of the strongest response in (channels, height, width)."""
    row, column = divmod(int(responses.amax(0).argmax()), responses.shape[2])
    return row, column


def inhibition(
    responses: Tensor,
    place: tuple[int, int],
    constants: Constants | None = None,
    growth: float = 2.0,
    gain: float = 1.0,
) -> Inhibition:
    """The channels at one place before and after normalisation, and after the strongest of them has grown.

    Args:
        responses: (channels, height, width), none below 0.
        place: (row, column).
        constants: None leaves the responses as they are.
        growth: what the strongest response is multiplied by, to see what that does to the others.
        gain: what all responses are multiplied by beforehand.

    >>> alone = inhibition(torch.eye(7)[3].mul(200).reshape(7, 1, 1), (0, 0), Constants(), growth=2)
    >>> alone.peak, round(alone.peak_change, 1)  # beyond the summit, more gives less: 400/18^0.75 against 200/6^0.75
    (3, -12.3)
    """
    before = gain * responses[:, *place].double()
    peak = int(before.argmax())
    stronger = before.clone()
    stronger[peak] *= growth
    apply: Callable[[Tensor], Tensor] = constants or torch.clone
    after, grown = apply(torch.stack([before, stronger])[..., None, None])[..., 0, 0]
    reach = (constants or Constants()).n // 2  # where it is off, the paper's window
    channels = range(len(before))
    table = pd.DataFrame(
        {
            "channel": channels,
            "before": before.numpy(),
            "after": after.numpy(),
            "grown": grown.numpy(),
            "change": (100 * (grown / after - 1)).numpy(),
            "neighbour": [abs(channel - peak) <= reach for channel in channels],
        }
    )
    return Inhibition(table, peak, growth)


def response_norm_costs() -> pd.DataFrame:
    """AlexNet with its two normalisations and without: net, layers, params, macs, activation_bytes, for one image."""
    with torch.device("meta"):
        whole = AlexNet2012()
    kept = [(name, module) for name, module in whole.named_children() if not isinstance(module, nn.LocalResponseNorm)]
    nets = {"with": whole, "without": nn.Sequential(OrderedDict(kept))}
    sums = {net: totals(layer_table(module, (227, 227))) for net, module in nets.items()}
    return pd.DataFrame(
        {
            "net": [f"AlexNet {net} normalisation" for net in sums],
            **{
                name: [getattr(total, name) for total in sums.values()]
                for name in ("layers", "params", "macs", "activation_bytes")
            },
        }
    )
