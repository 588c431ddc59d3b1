"""What is borrowed is given back, after an exception too, and a shared model is lent to one at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import nn

from explorer.models.observe import Shared, evaluating, forwarding, frozen, restoring, seeded, untouched, watching

LONG = 20.0  # seconds; reached only by a failing test


def mixed_model() -> nn.Module:
    """Some modules train and some do not, some parameters want gradients and some do not, one has a gradient."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Dropout(), nn.Linear(4, 2)))
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[2][1].weight.grad = torch.ones(2, 4)
    return model


def condition(model: nn.Module) -> list[object]:
    modes = [(name, module.training) for name, module in model.named_modules()]
    wanted = [(name, parameter.requires_grad) for name, parameter in model.named_parameters()]
    grads = [None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()]
    return [modes, wanted, grads, [id(parameter) for parameter in model.parameters()]]


def borrow(model: nn.Module) -> AbstractContextManager[nn.Module]:
    return Shared(model).borrow()


BORROWINGS = [evaluating, frozen, borrow]


@pytest.mark.parametrize("lend", BORROWINGS)
def test_a_borrowed_model_is_the_model_itself_in_eval_mode(
    lend: Callable[[nn.Module], AbstractContextManager[nn.Module]],
) -> None:
    model = mixed_model()
    with lend(model) as borrowed:
        assert borrowed is model
        assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("lend", [frozen, borrow])
def test_a_frozen_model_wants_no_gradient_and_keeps_the_old_one(
    lend: Callable[[nn.Module], AbstractContextManager[nn.Module]],
) -> None:
    model = mixed_model()
    x = torch.ones(1, 3, 3, 3, requires_grad=True)
    with lend(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        model[2](model[1](model[0](x)).flatten(1)).sum().backward()
    assert x.grad is not None
    assert torch.equal(model[2][1].weight.grad, torch.ones(2, 4))
    assert model[0].weight.grad is None


@pytest.mark.parametrize("lend", BORROWINGS)
def test_everything_comes_back(lend: Callable[[nn.Module], AbstractContextManager[nn.Module]]) -> None:
    model = mixed_model()
    before = condition(model)
    with lend(model):
        assert condition(model) != before
    assert condition(model) == before


@pytest.mark.parametrize("lend", BORROWINGS)
def test_everything_comes_back_after_an_exception(
    lend: Callable[[nn.Module], AbstractContextManager[nn.Module]],
) -> None:
    model = mixed_model()
    before = condition(model)
    with pytest.raises(KeyError, match="mine"), lend(model):
        raise KeyError("mine")
    assert condition(model) == before


@pytest.mark.parametrize("lend", BORROWINGS)
def test_everything_comes_back_where_the_borrower_changes_it_too(
    lend: Callable[[nn.Module], AbstractContextManager[nn.Module]],
) -> None:
    model = mixed_model()
    before = condition(model)
    with lend(model):
        model.train()
    assert condition(model) == before


@pytest.mark.parametrize("lend", BORROWINGS)
def test_a_forward_pass_of_a_borrowed_model_leaves_its_statistics(
    lend: Callable[[nn.Module], AbstractContextManager[nn.Module]],
) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3)).train()
    with lend(model):
        model(torch.randn(4, 3, 2, 2) + 5)
    assert model[0].running_mean.tolist() == [0, 0, 0]
    assert model[0].num_batches_tracked == 0


def test_another_forward_is_taken_back_after_an_exception_too() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    model[1].forward = lambda x: x + 1  # this one has its own already
    stand_ins = [(module, lambda x: x * 3) for module in model]
    x = torch.tensor([-2.0])
    with forwarding(stand_ins):
        assert model(x) == -2 * 3 * 3
    with pytest.raises(KeyError), forwarding(stand_ins):
        raise KeyError
    assert model(x) == 0 + 1
    assert "forward" not in vars(model[0])


def test_watchers_see_each_output_change_nothing_and_come_off() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    model[0].register_forward_hook(lambda module, inputs, output: None)  # somebody else's stays
    before = [list(module._forward_hooks) for module in model]
    x = torch.tensor([-2.0, 3.0])
    expected = [[0.0, 3.0], x.relu().tanh().tolist()]
    seen: list[list[float]] = []

    def watch(output: torch.Tensor) -> str:
        seen.append(output.tolist())
        return "nothing that would take its place"

    with watching((module, watch) for module in model):
        assert model(x).tolist() == expected[1]
    assert seen == expected
    with pytest.raises(KeyError, match="mine"), watching((module, watch) for module in model):
        raise KeyError("mine")
    model(x)
    assert len(seen) == 2
    assert [list(module._forward_hooks) for module in model] == before


def test_watchers_come_off_where_the_next_module_is_none() -> None:
    model = nn.ReLU()
    with pytest.raises(AttributeError), watching([(model, print), (None, print)]):  # type: ignore[list-item]
        pass
    assert not model._forward_hooks


def test_hooks_and_attributes_that_a_library_leaves_behind_go_and_others_stay() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    model[0].ours = 1
    ours = model[0].register_forward_hook(lambda module, inputs, output: None)
    taken = model[1].register_forward_hook(lambda module, inputs, output: None)

    def leave() -> None:
        for module in model.modules():
            module.register_forward_hook(lambda *_: None)
            module.register_forward_pre_hook(lambda *_: None)
            module.register_full_backward_hook(lambda *_: None)
            module.input = torch.zeros(1)
        taken.remove()

    def fail() -> None:
        leave()
        raise KeyError

    with pytest.raises(KeyError), untouched(model):
        fail()
    assert list(model[0]._forward_hooks) == [ours.id]
    assert list(model[1]._forward_hooks) == [taken.id]
    assert model[0].ours == 1
    for module in model.modules():
        assert not hasattr(module, "input")
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    restore = restoring([model[1]])
    for _ in range(2):  # again and again
        leave()
        restore()
        assert not hasattr(model[1], "input")
        assert list(model[1]._forward_hooks) == [taken.id]
        assert hasattr(model[0], "input")


def test_random_numbers_begin_at_the_seed_and_go_on_as_before() -> None:
    torch.manual_seed(4)
    expected = torch.rand(2).tolist()
    torch.manual_seed(9)
    apart = torch.rand(2).tolist()
    torch.manual_seed(4)
    with seeded(9):
        assert torch.rand(2).tolist() == apart
    with pytest.raises(KeyError), seeded(9):
        raise KeyError
    assert torch.rand(2).tolist() == expected


def test_two_threads_are_never_inside_at_once() -> None:
    shared = Shared(mixed_model())
    first_is_in, first_may_go, second_tries = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with shared.borrow():
            first_is_in.set()
            assert first_may_go.wait(LONG)
            order.append("first leaves")

    def second() -> None:
        second_tries.set()
        with shared.borrow():
            order.append("second is in")

    threads = [threading.Thread(target=first, daemon=True), threading.Thread(target=second, daemon=True)]
    threads[0].start()
    assert first_is_in.wait(LONG)
    threads[1].start()
    assert second_tries.wait(LONG)
    threads[1].join(0.2)  # long enough to get in, were it not kept out
    assert order == []
    first_may_go.set()
    for thread in threads:
        thread.join(LONG)
    assert order == ["first leaves", "second is in"]


def test_many_borrowers_find_the_model_frozen_and_leave_it_as_it_was() -> None:
    model = mixed_model()
    before = condition(model)
    shared = Shared(model)
    inside, most, wrong = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, wrong
        for _ in range(50):
            with shared.borrow() as borrowed:
                inside += 1
                most = max(most, inside)
                wrong += any(module.training for module in borrowed.modules())
                wrong += any(parameter.requires_grad for parameter in borrowed.parameters())
                inside -= 1

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert (most, wrong) == (1, 0)
    assert condition(model) == before


def test_an_exception_of_one_borrower_does_not_lock_the_next_one_out() -> None:
    shared = Shared(mixed_model())
    with pytest.raises(KeyError), shared.borrow():
        raise KeyError
    got_in = threading.Event()

    def borrow_once() -> None:
        with shared.borrow():
            got_in.set()

    threading.Thread(target=borrow_once, daemon=True).start()
    assert got_in.wait(LONG)


def test_who_has_borrowed_may_borrow_again() -> None:
    model = mixed_model()
    before = condition(model)
    shared = Shared(model)
    with shared.borrow(), shared.borrow() as inner:
        assert not inner.training
    assert condition(model) == before
