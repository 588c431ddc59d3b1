"""How many images go at once, by work and by free memory; baselines and parts of a picture."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from explorer.attribution import subject as subjects
from explorer.attribution.subject import Score, Subject, segments
from explorer.models.checkpoints import Checkpoint
from explorer.models.preprocessing import Preprocessing

MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)
CPU = torch.device("cpu")
GB = 1 << 30


def checkpoint(side: int) -> Checkpoint:
    return Checkpoint(
        name="tiny",
        title="Tiny",
        network="tiny",
        trained_on="nothing",
        classes=("0", "1"),
        preprocessing=Preprocessing(side, side, "bilinear", MEAN, STD),
        published=None,
        source="this test",
        licence="none",
        last_features="0",
    )


def one_convolution(filters: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, filters, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(filters, 2))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def posed(network: nn.Module, side: int, against: int | None = None) -> Subject:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    known = checkpoint(side)
    return Subject(known, network, picture, known.preprocessing.tensor(picture), 1, against)


@pytest.fixture(autouse=True, scope="module")
def one_cpu_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "_free", lambda device: 1 << 50)


# At once


def test_a_net_is_measured_once_by_what_its_modules_return() -> None:
    network, side = one_convolution(), 8
    subject = posed(network, side)
    cost = subjects._cost(network, subject.x)
    assert cost.macs == 4 * 3 * 3**2 * side**2 + 4 * 2
    # The convolution's maps, their means, these flat, and two logits: float32, each with its gradient
    assert cost.bytes == 2 * 4 * (4 * side**2 + 4 + 4 + 2)
    calls: list[Any] = []
    network.register_forward_hook(lambda *given: calls.append(given))
    assert subject.at_once == subject.at_once
    assert calls == []


@pytest.mark.usefixtures("plenty")
@pytest.mark.parametrize(("side", "expected"), [(224, 10), (320, 5), (448, 2), (32, 256)])
def test_without_much_work_it_is_the_pixels_that_count(side: int, expected: int) -> None:
    """As many as ten pictures of 224 px hold: 10 (224 / side)^2, and never more than 256."""
    assert posed(one_convolution(), side).at_once == expected == min(256, round(10 * (224 / side) ** 2))


@pytest.mark.usefixtures("plenty")
@pytest.mark.parametrize(("macs", "expected"), [(4.1e9, 5), (11.6e9, 2), (100e9, 1), (0.4e9, 10)])
def test_a_net_with_much_work_gets_fewer_at_once(macs: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as 20 billion multiply-accumulates hold: of ResNet-50 with 4.1 billion five, of ResNet-152 two."""
    monkeypatch.setattr(subjects, "_cost", lambda network, x: subjects._Cost(int(macs), 1))
    assert posed(one_convolution(), 224).at_once == expected


@pytest.mark.parametrize(("room", "expected"), [(0.0, 1), (0.9, 1), (1.1, 1), (3.9, 3), (9.1, 9), (1e6, 10)])
def test_memory_bounds_how_many_go_at_once(room: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may take 30 percent of what is free."""
    subject = posed(one_convolution(), 224)
    each = subjects._cost(subject.network, subject.x).bytes
    monkeypatch.setattr(subjects, "_free", lambda device: room * each / 0.3)
    assert subject.at_once == expected


# Free memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up system with 8 GB to be had, and no control groups."""
    for name, path in (("_MEMORY", "meminfo"), ("_OWN_GROUPS", "cgroup"), ("_GROUPS", "groups")):
        monkeypatch.setattr(subjects, name, tmp_path / path)
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable: {8 << 20} kB\n")
    return tmp_path


def write(path: Path, **files: int | str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(f"{text}\n")


def test_what_holds_copies_of_files_is_free(system: Path) -> None:
    assert subjects._free(CPU) == 8 * GB


def test_without_any_word_of_the_system_it_is_two_gigabytes(system: Path) -> None:
    (system / "meminfo").unlink()
    assert subjects._free(CPU) == 2 * GB


def test_a_containers_limit_counts_less_what_it_uses_but_for_old_copies_of_files(system: Path) -> None:
    (system / "cgroup").write_text("0::/\n")
    write(
        system / "groups",
        memory__max=3 * GB,
        memory__current=2 * GB,
        memory__stat=f"anon {GB}\ninactive_file {GB // 2}\nactive_file {GB // 4}",
    )
    assert subjects._free(CPU) == 3 * GB - 2 * GB + GB // 2


def test_no_limit_is_no_limit(system: Path) -> None:
    (system / "cgroup").write_text("0::/\n")
    write(system / "groups", memory__max="max", memory__current=2 * GB)
    assert subjects._free(CPU) == 8 * GB


def test_a_group_above_ours_may_be_the_tightest(system: Path) -> None:
    (system / "cgroup").write_text("0::/user/app\n")
    write(system / "groups" / "user", memory__max=2 * GB, memory__current=1 * GB)
    write(system / "groups" / "user" / "app", memory__max=7 * GB, memory__current=1 * GB)
    assert subjects._free(CPU) == 1 * GB


def test_the_first_version_of_control_groups_counts_too(system: Path) -> None:
    (system / "cgroup").write_text("9:name=systemd:/\n4:memory:/docker/0123\n0::/\n")
    limit = {"memory__limit_in_bytes": GB, "memory__usage_in_bytes": GB // 2}
    write(system / "groups" / "memory", **limit)  # a container sees its own group as the root
    assert subjects._free(CPU) == GB // 2
    write(system / "groups" / "memory" / "docker" / "0123", memory__limit_in_bytes=GB, memory__usage_in_bytes=2 * GB)
    assert subjects._free(CPU) == 0


def test_of_a_gpu_what_torch_keeps_for_itself_is_free_too(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"mem_get_info": (5 * GB, 80 * GB), "memory_reserved": 3 * GB, "memory_allocated": GB}
    monkeypatch.setattr(
        subjects.torch, "cuda", SimpleNamespace(**{name: lambda device, n=n: n for name, n in numbers.items()})
    )
    assert subjects._free(torch.device("cuda")) == (5 + 3 - 1) * GB


def test_this_machine_has_memory() -> None:
    assert (1 << 20) < subjects._free(CPU) < (1 << 50)


# Scores, baselines, parts


def test_a_score_is_the_logit_or_by_how_much_it_is_above_the_others() -> None:
    network = one_convolution()
    alone, against = posed(network, 8), posed(network, 8, against=0)
    logits = network(alone.x)[0].tolist()
    assert alone.value(alone.x) == pytest.approx(logits[1], abs=1e-6)
    assert against.value(alone.x) == pytest.approx(logits[1] - logits[0], abs=1e-6)
    start = alone.baseline("white")
    assert alone.values(alone.x, start) == pytest.approx([alone.value(alone.x), alone.value(start)], abs=1e-6)


def test_a_score_keeps_what_came_back_and_tells_before_each_pass() -> None:
    told: list[tuple[float, str]] = []
    score = Score(one_convolution(), 0, None, 4, lambda fraction, text: told.append((fraction, text)), "Work")
    x = torch.rand(4, 3, 8, 8)
    together = torch.cat([score(part) for part in x.split([3, 1])])
    assert score.scores == together.tolist()
    assert told == [(0.0, "Work, 0 of 4 passes"), (0.75, "Work, 3 of 4 passes")]


@pytest.mark.parametrize(("kind", "level"), [("black", 0.0), ("white", 1.0)])
def test_one_colour_is_that_colour_as_the_net_takes_it(kind: Any, level: float) -> None:
    found = posed(one_convolution(), 8).baseline(kind)
    expected = torch.tensor([(level - mean) / std for mean, std in zip(MEAN, STD, strict=True)])
    torch.testing.assert_close(found, expected.view(1, 3, 1, 1).expand(1, 3, 8, 8))


def test_the_mean_colour_is_zero_and_noise_is_between_black_and_white() -> None:
    subject = posed(one_convolution(), 32)
    assert not subject.baseline("mean").any()
    noise = subject.baseline("noise")
    assert bool((noise >= subject.baseline("black")).all() & (noise <= subject.baseline("white")).all())
    assert torch.equal(noise, subject.baseline("noise"))
    assert not torch.equal(noise, subject.baseline("noise", seed=1))


def test_blur_keeps_the_mean_and_takes_most_of_the_spread() -> None:
    subject = posed(one_convolution(), 64)
    blurred = subject.baseline("blur")
    torch.testing.assert_close(blurred.mean((2, 3)), subject.x.mean((2, 3)), rtol=0, atol=0.1)
    assert float((blurred.std((2, 3)) / subject.x.std((2, 3))).max()) < 0.1


def sizes(parts: Tensor) -> list[int]:
    return torch.bincount(parts.flatten()).tolist()


def test_a_grid_is_squares_from_the_corner() -> None:
    picture = Image.new("RGB", (12, 8))
    parts = segments(picture, "grid", 6)
    assert parts.shape == (8, 12)
    assert sizes(parts) == [16] * 6
    assert parts[0, 0] == 0
    assert parts[0, 11] == 2
    assert parts[7, 0] == 3


def test_superpixels_follow_colours_and_are_numbered_without_gaps() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    parts = segments(Image.fromarray(pixels), "superpixels", 8)
    assert min(sizes(parts)) > 0
    assert not set(parts[:, :15].flatten().tolist()) & set(parts[:, 17:].flatten().tolist())
