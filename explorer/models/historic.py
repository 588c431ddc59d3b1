"""Networks that no library ships as published: AlexNet of 2012, GoogLeNet of 2014 and a Highway network of 2015.

Their layers are PyTorch's own, with one ReLU module for each use. Their weights start as PyTorch starts them, not as
the papers did; a Highway network's gates alone start as published, as they decide which way is open.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from explorer.models.blocks import Add


class AlexNet2012(nn.Sequential):
    """Five convolutions and three linear layers (Krizhevsky et al. 2012, section 3.5 and figure 2).

    ====== ======================== ================================== ==========
    layer  filters                  then                               output
    ====== ======================== ================================== ==========
    conv1  96 of 11x11x3, stride 4  ReLU, normalisation, 3x3/2 pool    55x55x96
    conv2  256 of 5x5x48, 2 groups  ReLU, normalisation, 3x3/2 pool    27x27x256
    conv3  384 of 3x3x256           ReLU                               13x13x384
    conv4  384 of 3x3x192, 2 groups ReLU                               13x13x384
    conv5  256 of 3x3x192, 2 groups ReLU, 3x3/2 pool                   13x13x256
    fc6    4096                     ReLU, dropout 0.5                  4096
    fc7    4096                     ReLU, dropout 0.5                  4096
    fc8    1000                                                        1000
    ====== ======================== ================================== ==========

    Images (n, 3, 227, 227) to logits (n, 1000): the paper says 224, but 55 = (227 - 11) / 4 + 1. The groups are its two
    GPUs. torchvision's `alexnet` is another net: the one column of Krizhevsky 2014 (arXiv 1404.5997), with 64 first
    filters, no groups and no normalisation.

    Source: https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks

    >>> sum(p.numel() for p in AlexNet2012().parameters())
    60965224
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 96, 11, stride=4),
                relu1=nn.ReLU(),
                norm1=_alexnet_norm(),
                pool1=nn.MaxPool2d(3, 2),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
                relu2=nn.ReLU(),
                norm2=_alexnet_norm(),
                pool2=nn.MaxPool2d(3, 2),
                conv3=nn.Conv2d(256, 384, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, 2),
                flatten=nn.Flatten(),
                fc6=nn.Linear(256 * 6 * 6, 4096),
                relu6=nn.ReLU(),
                dropout6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),
                relu7=nn.ReLU(),
                dropout7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, 1000),
            )
        )


def _alexnet_norm() -> nn.LocalResponseNorm:
    """x / (2 + 1e-4 * (sum of x^2 over 5 neighbouring channels))^0.75 (section 3.3)."""
    n, k, alpha, beta = 5, 2.0, 1e-4, 0.75
    return nn.LocalResponseNorm(n, alpha * n, beta, k)  # PyTorch's alpha weighs the mean, the paper's the sum


class GoogLeNet2014(nn.Module):
    """Nine Inception modules (Szegedy et al. 2014, arXiv 1409.4842, table 1 and figure 3).

    ============== ========= ===== ======== ===== ======== ===== =========
    layer          output    1x1   reduce   3x3   reduce   5x5   pool proj
    ============== ========= ===== ======== ===== ======== ===== =========
    conv1, 7x7/2   112, 64
    maxpool1       56, 64
    conv2, conv3   56, 192         64       192
    maxpool2       28, 192
    inception3a    28, 256   64    96       128   16       32    32
    inception3b    28, 480   128   128      192   32       96    64
    maxpool3       14, 480
    inception4a    14, 512   192   96       208   16       48    64
    inception4b    14, 512   160   112      224   24       64    64
    inception4c    14, 512   128   128      256   24       64    64
    inception4d    14, 528   112   144      288   32       64    64
    inception4e    14, 832   256   160      320   32       128   128
    maxpool4       7, 832
    inception5a    7, 832    256   160      320   32       128   128
    inception5b    7, 1024   384   192      384   48       128   128
    avgpool        1, 1024
    fc             1000
    ============== ========= ===== ======== ===== ======== ===== =========

    The published net came before batch norm: its convolutions have biases, and local response normalisation stands
    behind maxpool1 and conv3. Its constants are not in the paper; these are those of Caffe's replication. The table's
    first row prints 2.7K parameters, too few for the 7x7 convolution that it names (9,408 weights); this net has that
    convolution, as Caffe's does.

    torchvision's `googlenet` has 3x3 where the paper has 5x5, a last max pool of 2x2, and batch norm.

    Args:
        auxiliary: the two classifiers behind inception4a and inception4d, which serve training only.
        batch_norm: behind every convolution, in place of its bias and of both local response normalisations. With it
            the names of all parameters are torchvision's.

    >>> sum(p.numel() for p in GoogLeNet2014(auxiliary=False).parameters())
    6998552
    >>> sum(p.numel() for p in GoogLeNet2014(auxiliary=False, batch_norm=True).parameters())
    7005832
    """

    def __init__(self, *, auxiliary: bool = True, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = _ConvUnit(3, 64, 7, batch_norm, stride=2)
        self.maxpool1 = _halving_pool()
        self.norm1 = None if batch_norm else _caffe_norm()
        self.conv2 = _ConvUnit(64, 64, 1, batch_norm)
        self.conv3 = _ConvUnit(64, 192, 3, batch_norm)
        self.norm2 = None if batch_norm else _caffe_norm()
        self.maxpool2 = _halving_pool()
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32, batch_norm)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64, batch_norm)
        self.maxpool3 = _halving_pool()
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64, batch_norm)
        self.aux1 = AuxiliaryHead(512, batch_norm) if auxiliary else None
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64, batch_norm)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64, batch_norm)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64, batch_norm)
        self.aux2 = AuxiliaryHead(528, batch_norm) if auxiliary else None
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128, batch_norm)
        self.maxpool4 = _halving_pool()
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128, batch_norm)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3, 224, 224) to logits (n, 1000).

        In training mode with auxiliary heads: the logits, those of aux1 and those of aux2. The paper adds the heads'
        losses with weight 0.3.
        """
        x = self.maxpool1(self.conv1(x))
        x = x if self.norm1 is None else self.norm1(x)
        x = self.conv3(self.conv2(x))
        x = x if self.norm2 is None else self.norm2(x)
        x = self.inception3b(self.inception3a(self.maxpool2(x)))
        first = x = self.inception4a(self.maxpool3(x))
        second = x = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.inception4e(x)
        x = self.inception5b(self.inception5a(self.maxpool4(x)))
        logits = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux1(first), self.aux2(second)
        return logits


class Inception(nn.Module):
    """Four branches side by side, their channels joined: 1x1; 1x1, 3x3; 1x1, 5x5; 3x3 max pool, 1x1 (figure 2b).

    Args:
        pointwise: channels of the 1x1 branch.
        middle, wide: channels of the 1x1 reduction and of the 3x3, or 5x5, behind it.
        pooled: channels of the 1x1 behind the pool.
    """

    def __init__(
        self,
        c_in: int,
        pointwise: int,
        middle: tuple[int, int],
        wide: tuple[int, int],
        pooled: int,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.branch1 = _ConvUnit(c_in, pointwise, 1, batch_norm)
        self.branch2 = nn.Sequential(_ConvUnit(c_in, middle[0], 1, batch_norm), _ConvUnit(*middle, 3, batch_norm))
        self.branch3 = nn.Sequential(_ConvUnit(c_in, wide[0], 1, batch_norm), _ConvUnit(*wide, 5, batch_norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), _ConvUnit(c_in, pooled, 1, batch_norm))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) to (n, pointwise + middle[1] + wide[1] + pooled, h, w)."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class AuxiliaryHead(nn.Module):
    """5x5/3 average pool, 1x1 to 128 channels, linear to 1024, dropout 0.7, linear to 1000 (section 5)."""

    def __init__(self, c_in: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)
        self.conv = _ConvUnit(c_in, 128, 1, batch_norm)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, 14, 14) to logits (n, 1000)."""
        x = self.flatten(self.conv(self.pool(x)))
        logits: Tensor = self.fc2(self.dropout(self.relu(self.fc1(x))))
        return logits


class _ConvUnit(nn.Sequential):
    """Convolution with bias and ReLU, or convolution without, batch norm and ReLU; stride 1 keeps the size."""

    def __init__(self, c_in: int, c_out: int, kernel: int, batch_norm: bool, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=not batch_norm)
        if batch_norm:
            self.bn = nn.BatchNorm2d(c_out, eps=1e-3)  # eps as in torchvision
        self.relu = nn.ReLU()


def _halving_pool() -> nn.MaxPool2d:
    """3x3 of stride 2 that rounds up, so that 112 becomes 56, and not 55."""
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _caffe_norm() -> nn.LocalResponseNorm:
    """x / (1 + 1e-4 * (mean of x^2 over 5 neighbouring channels))^0.75; Caffe's alpha weighs the mean, as PyTorch's."""
    return nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)


class Highway2015(nn.Sequential):
    """Highway-19 for CIFAR-10: the FitNet of 19 layers with 14 of them gated (Srivastava et al. 2015, 1507.06228).

    ============= ============================= ============ =========
    layer         filters                       then         output
    ============= ============================= ============ =========
    conv1         32 of 3x3x3                   ReLU         32x32x32
    conv2...5     32 of 3x3x32, highway         2x2/2 pool   16x16x32
    conv6         80 of 3x3x32                  ReLU         16x16x80
    conv7...11    80 of 3x3x80, highway         2x2/2 pool   8x8x80
    conv12        128 of 3x3x80                 ReLU         8x8x128
    conv13...17   128 of 3x3x128, highway                    8x8x128
    conv18        100 of 1x1x128                ReLU, mean   100
    fc19          10                                         10
    ============= ============================= ============ =========

    Images (n, 3, 32, 32) to logits (n, classes). Dropout 0.2 stands before conv1, conv6, conv12 and fc19; there is no
    normalisation. The layers are those of the authors' own Caffe file, whose last one has 100 outputs, as for
    CIFAR-100; its log prints 2,265,928 parameters. He et al. 2015 (table 6) print 2.3 M for the net. The architecture
    of their other one, Highway-32 (1.25 M), is not known to us.

    Source: https://github.com/flukeskywalker/highway-networks, examples/highways/cifar10-19layers

    >>> sum(p.numel() for p in Highway2015(classes=100).parameters())
    2265928
    """

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__(
            OrderedDict(
                dropout1=nn.Dropout(0.2),
                conv1=nn.Conv2d(3, 32, 3, padding=1),
                relu1=nn.ReLU(),
                **{f"conv{number}": HighwayLayer(32) for number in range(2, 6)},
                pool1=nn.MaxPool2d(2),
                dropout2=nn.Dropout(0.2),
                conv6=nn.Conv2d(32, 80, 3, padding=1),
                relu6=nn.ReLU(),
                **{f"conv{number}": HighwayLayer(80) for number in range(7, 12)},
                pool2=nn.MaxPool2d(2),
                dropout3=nn.Dropout(0.2),
                conv12=nn.Conv2d(80, 128, 3, padding=1),
                relu12=nn.ReLU(),
                **{f"conv{number}": HighwayLayer(128) for number in range(13, 18)},
                conv18=nn.Conv2d(128, 100, 1),
                relu18=nn.ReLU(),
                pool3=nn.AvgPool2d(8),
                dropout4=nn.Dropout(0.2),
                flatten=nn.Flatten(),
                fc19=nn.Linear(100, classes),
            )
        )


class HighwayLayer(nn.Module):
    """H(x) T(x) + x (1 - T(x)): a 3x3 with ReLU for H, a 3x3 with sigmoid for T (Srivastava et al. 2015, equation 3).

    The gate's bias starts at -2, so that T = 0.12 and most of x goes through.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.sigmoid = nn.Sigmoid()
        self.add = Add()
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, -2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        branch = self.relu(self.conv(x))
        share = self.sigmoid(self.gate(x))
        total: Tensor = self.add(branch * share, x * (1 - share))
        return total
