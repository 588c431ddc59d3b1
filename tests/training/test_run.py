"""A run is what a bare PyTorch loop does, whatever interrupts it."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.models.observe import seeded
from explorer.models.resnet import block_names, build
from explorer.models.variants import variant
from explorer.spec import ResNetSpec
from explorer.training.datasets import Dataset
from explorer.training.recipe import Recipe
from explorer.training.run import Record, Run, RunError, _norm, augmented, batch_of, run


def made(examples: int = 70, side: int = 8, classes: int = 3, seed: int = 0) -> Dataset:
    """Pictures of noise, each class brighter than the one before."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(examples + 20) % classes
    noise = torch.randint(0, 100, (examples + 20, 1, side, side), generator=generator)
    pictures = (noise + 50 * labels[:, None, None, None]).to(torch.uint8)
    names = tuple(f"class {number}" for number in range(classes))
    return Dataset(
        name="made",
        title="Made",
        train=pictures[:examples],
        train_labels=labels[:examples],
        test=pictures[examples:],
        test_labels=labels[examples:],
        classes=names,
        source="this test",
    )


def small(name: str = "a", depth: int = 8, **changes: Any) -> ResNetSpec:
    return variant(name, depth, width=4, in_channels=1, image_size=(8, 8), num_classes=3, **changes)


RECIPE = Recipe(small(), data="made", steps=23, batch=32, lr=0.05, record_every=4, test_every=8)
DATA = made()


def told(records: Iterable[Record]) -> list[Record]:
    """Records but for their seconds."""
    return [replace(record, seconds=0.0) for record in records]


def normalised(pictures: Tensor) -> Tensor:
    pixels = DATA.train.double() / 255
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True, correction=0)
    return ((pictures.double() / 255 - mean) / std).float()


def bare_loop(recipe: Recipe) -> tuple[nn.Module, list[float], list[int]]:
    """The same run as PyTorch's tutorials write it: the network, and each batch's loss and number of errors."""
    with seeded(recipe.seed):
        network = build(recipe.spec, "cpu").to(memory_format=torch.channels_last)
    network.train()
    optimiser = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    losses, wrong = [], []
    for step in range(recipe.steps):
        chosen = batch_of(recipe, step, len(DATA.train))
        logits = network(normalised(DATA.train[chosen]).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, DATA.train_labels[chosen])
        losses.append(loss.item())
        wrong.append(int((logits.argmax(1) != DATA.train_labels[chosen]).sum()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network, losses, wrong


def test_a_run_is_a_bare_loop() -> None:
    own = Run(RECIPE, DATA)
    records = list(own)
    network, losses, wrong = bare_loop(RECIPE)
    assert [record.step for record in records] == [0, 4, 8, 12, 16, 20, 23]
    for before, record in itertools.pairwise(records):
        part = losses[before.step : record.step]
        assert record.batch_loss == pytest.approx(sum(part) / len(part), rel=1e-4)
        # batches of 32, 32 and 6: the last one of an epoch is smaller
        seen = sum((32, 32, 6)[step % 3] for step in range(before.step, record.step))
        assert record.batch_error == pytest.approx(100 * sum(wrong[before.step : record.step]) / seen)
    for ours, theirs in zip(own.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_loss_falls_and_repeats_for_a_seed() -> None:
    first, again = list(run(RECIPE, DATA)), list(run(RECIPE, DATA))
    assert told(first) == told(again)
    assert first[-1].batch_loss < first[1].batch_loss / 2  # type: ignore[operator]
    assert told(run(replace(RECIPE, seed=1), DATA)) != told(first)


def test_what_is_measured_where() -> None:
    records = list(run(replace(RECIPE, probe=30, tested=10), DATA))
    first = records[0]
    assert (first.step, first.lr, first.batch_loss, first.batch_error, first.gradient_norms) == (
        0,
        None,
        None,
        None,
        (),
    )
    for record in records:
        measured = record.step % 8 == 0 or record.step == RECIPE.steps
        for value in (record.train_loss, record.train_error, record.test_loss, record.test_error):
            assert (value is not None) == measured
        assert len(record.gradient_norms) == (3 if record.step else 0)
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)


def test_errors_are_counted_in_eval_mode_on_the_first_pictures() -> None:
    own = Run(replace(RECIPE, probe=30, tested=10), DATA)
    last = list(own)[-1]
    network = own.network.eval()
    with torch.no_grad():
        for loss, error, pictures, labels in (
            (last.train_loss, last.train_error, DATA.train[:30], DATA.train_labels[:30]),
            (last.test_loss, last.test_error, DATA.test[:10], DATA.test_labels[:10]),
        ):
            logits = network(normalised(pictures).contiguous(memory_format=torch.channels_last))
            assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
            assert error == pytest.approx(100 * (logits.argmax(1) != labels).double().mean().item())


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-13, 1.0, 1e25, math.inf])
@pytest.mark.parametrize("layout", ["rows", "channels last", "expanded"])
def test_a_norm_is_that_of_double_precision_whatever_its_size_and_layout(scale: float, layout: str) -> None:
    with seeded(0):
        gradient = torch.randn(100, 16, 32, 32) * scale
    if layout == "channels last":
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    elif layout == "expanded":
        gradient = gradient[:, :, :1, :1].expand(gradient.shape)
    expected = gradient.double().square().sum().sqrt().item()
    assert float(_norm(gradient)) == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_gradient_norms_are_autograds() -> None:
    """Of the last batch before the record, with the weights before its update."""
    steps = 3
    recipe = replace(RECIPE, spec=small(depth=14), steps=steps, record_every=steps, test_every=steps)
    (_, record) = run(recipe, DATA)
    before, _, _ = bare_loop(replace(recipe, steps=steps - 1))  # as it stands when the last batch comes
    before.train()
    kept: list[Tensor] = []
    for name in block_names(recipe.spec):
        before.get_submodule(name).register_forward_hook(lambda module, inputs, output: kept.append(output))
    chosen = batch_of(recipe, steps - 1, len(DATA.train))
    logits = before(normalised(DATA.train[chosen]).contiguous(memory_format=torch.channels_last))
    gradients = torch.autograd.grad(F.cross_entropy(logits, DATA.train_labels[chosen]), kept)
    assert record.gradient_norms == pytest.approx([float(gradient.norm()) for gradient in gradients], rel=1e-3)


INTERRUPTED = {
    "plainly": RECIPE,
    "with augmentation": replace(RECIPE, augmentation="crop_flip"),
    "while the net draws": replace(RECIPE, spec=small(stochastic_depth=0.3, block_dropout=0.2, head_dropout=0.2)),
    "waiting for the error to fall": replace(RECIPE, warmup_error=30.0),
    "in half precision": replace(RECIPE, precision="bfloat16"),
    "under a schedule": replace(RECIPE, schedule="cosine", warmup_steps=5),
}


@pytest.mark.parametrize("how", INTERRUPTED)
@pytest.mark.parametrize("at", [0, 8, 16])
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_been(how: str, at: int, tmp_path: Path) -> None:
    recipe, checkpoint = INTERRUPTED[how], tmp_path / "run.pt"
    whole = told(run(recipe, DATA))
    for record in run(recipe, DATA, checkpoint):
        if record.step == at + 4:  # behind the checkpoint: this part is done twice
            break
    torch.manual_seed(at)  # whoever else draws in between
    assert told(run(recipe, DATA, checkpoint)) == whole
    assert told(run(recipe, DATA, checkpoint)) == whole  # finished, and told once more


def test_a_checkpoint_is_read_without_running_code_and_checked(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.pt"
    list(run(RECIPE, DATA, checkpoint))
    with pytest.raises(RunError, match=r"run\.pt is of another recipe"):
        Run(replace(RECIPE, lr=0.1), DATA, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(RunError, match=r"run\.pt cannot be read; delete it"):
        Run(RECIPE, DATA, checkpoint)
    torch.save({"recipe": RECIPE.to_json(), "network": {}}, checkpoint)
    with pytest.raises(RunError, match="cannot be read"):
        Run(RECIPE, DATA, checkpoint)
    torch.save({"recipe": print}, checkpoint)
    with pytest.raises(RunError, match="cannot be read"):
        Run(RECIPE, DATA, checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_run_draws_nothing_from_the_random_numbers_of_others() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    list(run(replace(RECIPE, spec=small(block_dropout=0.5), augmentation="crop_flip"), DATA))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_no_number_ends_the_run_as_diverged() -> None:
    records = list(run(replace(RECIPE, spec=small("plain", norm="none"), lr=1e12), DATA))
    assert records[-1].diverged
    assert not any(record.diverged for record in records[:-1])
    assert records[-1].step < RECIPE.steps
    assert not math.isfinite(records[-1].batch_loss or 0.0)
    assert records[-1].test_error is None


def test_the_last_update_of_all_may_be_the_one_that_was_too_much() -> None:
    recipe = replace(RECIPE, spec=small("plain", norm="none"), lr=1e30, steps=1, record_every=1, test_every=1)
    recipe = replace(recipe, weight_decay=1e30)
    assert list(run(recipe, DATA))[-1].diverged


def test_a_loss_that_overflows_in_eval_mode_alone_is_no_divergence() -> None:
    """Batch norm's running variance starts at 1, so that a deep residual net's maps grow from block to block there."""
    deep = replace(RECIPE, spec=small("a", 1202), batch=8, steps=2, record_every=1, test_every=1, probe=4, tested=4)
    first, *later = run(deep, DATA)
    assert not math.isfinite(first.train_loss or 0.0)
    assert [record.step for record in later] == [1, 2]
    assert all(math.isfinite(record.batch_loss or math.nan) for record in later)
    assert not any(record.diverged for record in (first, *later))


def test_norms_of_gradients_whose_squares_underflow_are_no_zeros() -> None:
    recipe = replace(RECIPE, spec=small("plain", 56, norm="none", init="pytorch"), steps=1, record_every=1)
    (_, record) = run(replace(recipe, test_every=1), DATA)
    assert 0 < record.gradient_norms[0] < 1e-24  # of float32, whose least number is 1e-45


def test_a_run_on_data_without_test_pictures_is_kept_too(tmp_path: Path) -> None:
    data = dataclasses.replace(DATA, test=DATA.test[:0], test_labels=DATA.test_labels[:0])
    whole = told(run(RECIPE, data))
    for record in run(RECIPE, data, tmp_path / "run.pt"):
        if record.step == 12:
            break
    assert (tmp_path / "run.pt").exists()
    assert told(run(RECIPE, data, tmp_path / "run.pt")) == whole


def test_a_diverged_run_that_is_resumed_stays_so(tmp_path: Path) -> None:
    recipe = replace(RECIPE, spec=small("plain", norm="none"), lr=1e12)
    own = Run(recipe, DATA)
    records = told(own)
    own.save(tmp_path / "run.pt")
    assert repr(told(run(recipe, DATA, tmp_path / "run.pt"))) == repr(records)  # nan is not nan


def test_the_rate_waits_for_the_error_to_fall() -> None:
    """He et al. 2015, section 4.2: 0.01 until the training error is below 80%, then 0.1."""
    records = list(run(replace(RECIPE, steps=80, test_every=80, warmup_error=30.0), DATA))
    waits = [record for record in records[1:] if record.lr == pytest.approx(0.005)]
    goes = [record for record in records[1:] if record.lr == pytest.approx(0.05)]
    assert records[1:] == waits + goes
    assert len(waits) > 2
    assert goes
    assert all(record.batch_error >= 30 for record in waits[:-1])  # type: ignore[operator]
    assert waits[-1].batch_error < 30  # type: ignore[operator]


def test_the_schedule_reaches_the_optimiser() -> None:
    recipe = replace(RECIPE, schedule="cosine", steps=24)
    records = list(run(recipe, DATA))
    assert [record.lr for record in records[1:]] == pytest.approx(
        [recipe.rate(record.step - 1) for record in records[1:]]
    )


def test_every_picture_comes_once_an_epoch_in_a_new_order() -> None:
    epochs = [torch.cat([batch_of(RECIPE, 3 * epoch + step, 70) for step in range(3)]) for epoch in range(2)]
    assert [len(batch_of(RECIPE, step, 70)) for step in range(4)] == [32, 32, 6, 32]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(70))
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("kind", ["crop", "crop_flip"])
def test_augmentation_is_a_crop_of_the_padded_picture_and_perhaps_its_mirror(kind: Any) -> None:
    side, count = 16, 40
    pictures = torch.arange(1, 1 + count * 2 * side * side).reshape(count, 2, side, side)
    shown = augmented(pictures, replace(RECIPE, augmentation=kind), 7)
    places, mirrors = set(), 0
    for picture, own in zip(pictures, shown, strict=True):
        padded = F.pad(picture, (2, 2, 2, 2))  # an eighth of 16
        crops = {
            (top, left, mirrored): padded[:, top : top + side, left : left + side].flip(-1)
            if mirrored
            else padded[:, top : top + side, left : left + side]
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
        }
        (found,) = [place for place, crop in crops.items() if torch.equal(crop, own)]
        places.add(found[:2])
        mirrors += found[2]
    assert len(places) > 15  # of 25, after 40 draws
    assert {0, 4} <= {top for top, _ in places}
    assert {0, 4} <= {left for _, left in places}
    assert mirrors == 0 if kind == "crop" else 8 <= mirrors <= 32
    assert not torch.equal(shown, augmented(pictures, replace(RECIPE, augmentation=kind), 8))


def test_without_augmentation_the_pictures_are_as_they_are() -> None:
    pictures = torch.arange(64).reshape(1, 1, 8, 8)
    assert augmented(pictures, RECIPE, 0) is pictures


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"in_channels": 3}, r"in_channels \(=3\) must be 1 for the data set Made"),
        ({"image_size": (16, 16)}, r"image_size \(=\(16, 16\)\) must be \(8, 8\)"),
        ({"num_classes": 10}, r"num_classes \(=10\) must be 3"),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        Run(replace(RECIPE, spec=replace(RECIPE.spec, **change)), DATA)


def test_a_data_set_without_test_pictures_is_measured_on_training_alone() -> None:
    data = dataclasses.replace(DATA, test=DATA.test[:0], test_labels=DATA.test_labels[:0])
    last = list(run(RECIPE, data))[-1]
    assert last.train_error is not None
    assert last.test_error is None


def test_degradation() -> None:
    """He et al. 2015, figures 1 and 6, on 1,000 digits: the deeper plain net is worse on what it was trained on.

    FACTS of this project, 400 steps: plain-20 0.03 to 0.09, plain-56 1.0 to 1.5, ResNet-56 below 0.001.
    """

    def end(name: str, depth: int) -> Record:
        spec = variant(name, depth, width=8, in_channels=1, image_size=(8, 8))
        return list(run(Recipe(spec, steps=160, test_every=160, tested=100)))[-1]

    plain20, plain56, resnet56 = end("plain", 20), end("plain", 56), end("a", 56)
    assert plain20.batch_loss < 0.15 < 0.8 < plain56.batch_loss < 2  # type: ignore[operator]
    assert resnet56.batch_loss < 0.01  # type: ignore[operator]
    assert resnet56.train_error < 1 < 30 < plain56.train_error  # type: ignore[operator]
    # and not because gradients vanished: behind the first block they are no smaller than behind the last
    assert plain56.gradient_norms[0] > 0.1 * plain56.gradient_norms[-1]
