"""What was measured of the chosen nets: a job for each in the queue, and what is ready is shown."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from explorer.analysis.flow import Flow, Flows, batch_for, flow, over_seeds, seconds_for
from explorer.analysis.gradients import BATCH, GradientError
from explorer.analysis.profile import Profile
from explorer.jobs import Progress
from explorer.models.checkpoints import load
from explorer.models.observe import seeded
from explorer.models.resnet import ResNet, build
from explorer.pages import cached, runs
from explorer.pages.gradient_flow_sections.chosen import Chosen, Images, State
from explorer.spec import ResNetSpec
from explorer.training.recipe import Recipe
from explorer.training.run import Run

T = TypeVar("T")
Report = Callable[[float, str], None]

AT_ONCE = {"digits": 100, "shapes": 32}  # training pictures a step


@dataclass(frozen=True)
class Bench:
    """What a measurement in a worker thread needs of the caches, which only the page's own thread asks for."""

    profile: Callable[..., Profile]
    memory: Callable[[cached.Measurement], Any]

    def once(self, net: "Net", seed: int, measure: Callable[[], T]) -> T:
        """What it measures; where anyone may have the same it is measured once for all."""
        if net.images.kind == "own":
            return measure()
        result: T = self.memory(cached.Measurement((net, seed), measure))
        return result


def bench(kind: str) -> Bench:
    """For one kind of measurement."""
    return Bench(cached.profiles(), cached.measurements(kind, 256))


@dataclass(frozen=True)
class Net:
    """One net in a state: all that its flows depend on, but the seed.

    checkpoint: the name of its weights where it is trained.
    """

    spec: ResNetSpec
    images: Images
    state: State = "initial"
    steps: int = 0
    checkpoint: str | None = None

    @property
    def batch(self) -> int:
        """How many images it is measured on: as many as it is trained on, as batch norm depends on it."""
        return AT_ONCE.get(self.images.name, BATCH)

    def network(self, seed: int, report: Report) -> ResNet:
        """The network in its state, on the CPU and in training mode.

        Raises:
            GradientError: it diverged before its last step.
        """
        if self.checkpoint is not None:
            with load(self.checkpoint, report).model.borrow() as shared:
                trained = copy.deepcopy(shared)
            assert isinstance(trained, ResNet)  # weights of presets only are offered
            return trained.cpu().train()
        if self.state != "steps" or self.steps == 0:
            with seeded(seed):
                return build(self.spec, "cpu")
        batch = AT_ONCE[self.images.name]
        recipe = Recipe(
            self.spec,
            self.images.name,
            self.steps,
            batch,
            seed=seed,
            record_every=1,
            test_every=1000,
            probe=1,
            tested=1,
        )
        run = Run(recipe)
        for record in run:
            report(record.step / self.steps, f"step {record.step}")
            if record.diverged:
                raise GradientError(
                    f"It diverged at step {record.step} of {self.steps}: its loss or a weight was no finite number any "
                    "more. Choose fewer steps."
                )
        return run.network.cpu()

    def flow(self, seed: int, batch: int, report: Report) -> Flow:
        """One pass."""
        trained = 0.8 if self.state == "steps" else 0.0
        network = self.network(seed, lambda done, text: report(trained * done, text))
        images, classes = self.images.batch(self.spec, seed, batch)
        return flow(
            network,
            images,
            classes,
            seed=seed,
            report=lambda done, text: report(trained + (1 - trained) * done, text),
        )

    def flows(self, seeds: int, on: Bench, progress: Progress) -> Flows:
        """Over the seeds, for a worker thread.

        Raises:
            Refusal: it would take too long or too much memory, or the net does not take the images.
        """
        totals = on.profile(self.spec, None).totals
        batch = batch_for(totals, self.batch)
        seconds_for(totals, seeds * (batch + self.steps * self.batch))
        found = []
        for seed in range(seeds):

            def part(done: float, text: str, seed: int = seed) -> None:
                progress.report((seed + done) / seeds, f"seed {seed}, {text}")

            found.append(on.once(self, seed, partial(self.flow, seed, batch, part)))
        return over_seeds(found, batch)


def nets(chosen: Chosen) -> dict[str, Net]:
    """The chosen nets in their state, by title."""
    return {
        title: Net(spec, chosen.images, chosen.state, chosen.steps, chosen.weights.get(title))
        for title, spec in chosen.specs.items()
    }


def flows(chosen: Chosen) -> dict[str, Flows]:
    """The flows of the nets that are measured by now, by title; the page runs again whenever one more is ready."""
    questions = {title: (net, chosen.seeds) for title, net in nets(chosen).items()}
    on = bench("flow")
    return runs.outcomes(
        "flow_runs", questions, lambda question, progress: question[0].flows(question[1], on, progress)
    )
