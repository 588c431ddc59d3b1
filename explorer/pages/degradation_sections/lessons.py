"""Lessons: six questions on depth, each with what to expect and why, what is published and recorded, and a trial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from explorer.analysis.lessons import PASS_BATCH, gradient_ratios, norms_by_net, passes, passes_table
from explorer.export.tables import csv
from explorer.figures.theme import config
from explorer.figures.training import norms_chart
from explorer.models.variants import VARIANTS, variant
from explorer.pages import parts, runs
from explorer.pages.degradation_sections import live, recorded, watching
from explorer.pages.edge import plain
from explorer.training import published, shipped
from explorer.training.lessons import RUNS, recorded_for

_OPTIONS, _DEPTHS = ("a", "b", "c"), (20, 56, 110)
_THOUSAND = {"ResNet-110": variant("a", 110), "ResNet-1202": variant("a", 1202)}


@dataclass(frozen=True)
class Lesson:
    """One question.

    Attributes:
        title: on its button. question: in one sentence.
        expect: what to expect and why, with its source, in Markdown.
        printed: the table of what is published. reading: what to notice there.
        trial: what the button's runs show, in Markdown. charts: those of the live lab that show it.
        trials: names in `RUNS` by the label of the button that puts them into the lab.
        measure: what is computed here when it is switched on; None where nothing is.
    """

    title: str
    question: str
    expect: str
    printed: Callable[[], pd.DataFrame]
    reading: str
    trial: str
    trials: Mapping[str, str]
    charts: tuple[str, ...] = watching.CHARTS_FIRST
    measure: Callable[[], None] | None = None


def show() -> None:
    """The list of lessons, and the chosen one.

    Raises:
        RecordedError: a shipped file is no recorded run.
    """
    titles = {name: f"{number}. {lesson.title}" for number, (name, lesson) in enumerate(LESSONS.items(), 1)}
    chosen = parts.section("lesson", titles, "Which question to look at.")
    lesson = LESSONS[chosen]
    st.subheader(titles[chosen], anchor=False)
    st.markdown(f"**Question.** {lesson.question}")
    st.markdown(f"**What to expect, and why**\n\n{lesson.expect}")
    st.markdown("**Published**")
    table = lesson.printed()
    parts.table(table, f"lesson_published_{chosen}", column_config=_COLUMNS, height="content")
    st.caption(lesson.reading)
    parts.download(
        "Published as CSV", csv, table, f"published_{chosen}.csv", "text/csv", "The table, for a spreadsheet."
    )
    st.markdown("**Recorded here**")
    _recorded(chosen)
    st.markdown("**Try it**")
    st.markdown(lesson.trial)
    with st.container(horizontal=True):
        for label, name in lesson.trials.items():
            prepared = live.Prepared(tuple(RUNS[name]()), titles[chosen], lesson.trial, lesson.charts)
            st.button(
                label,
                key=f"lesson_run_{name}",
                icon=":material/experiment:",
                type="primary",
                on_click=live.prepare,
                args=(prepared,),
                help=f"Put {', '.join(net for net, _ in prepared.runs)} into the live lab, ready to start.",
            )
    if lesson.measure:
        lesson.measure()


def _recorded(name: str) -> None:
    """The recorded runs that belong to a lesson, where there are such."""
    try:
        nets = recorded_for(name, shipped.nets(shipped.shipped()))
    except shipped.ShippedError as nothing:
        st.caption(plain(str(nothing)))
        return
    if not nets:
        st.caption("Nothing is recorded for this lesson yet.")
        return
    table = shipped.ends_table(nets)
    parts.table(table, f"lesson_recorded_{name}", column_config=recorded.COLUMNS)
    parts.download("Recorded as CSV", csv, table, f"recorded_{name}.csv", "text/csv", "The table, for a spreadsheet.")
    st.caption(
        "On CIFAR-10 (JPEG), where the runs ended, medians over the seeds. They are much shorter than the paper's; "
        "*Recorded runs* plays them and says how they differ. " + " ".join(published.beside_figure_6(nets))
    )


# --- what is measured here


def _measured(slot: str, label: str, about: str) -> bool:
    """Whether the person wants it measured."""
    return st.toggle(label, key=slot, persist_state="session", help=about)


def _ratios() -> None:
    if not _measured(
        "lesson_ratios",
        "Measure gradients before training",
        f"Options A, B and C at {', '.join(map(str, _DEPTHS))} layers, a few seconds.",
    ):
        return
    found = runs.outcome(
        "lesson_ratios_run",
        "ratios",
        lambda progress: gradient_ratios(_OPTIONS, _DEPTHS, report=progress.report),
    )
    if found is None:
        return
    titles = [VARIANTS[name].title for name in _OPTIONS]
    columns = {
        title: st.column_config.NumberColumn(
            format="%.2g", help="Gradient norm behind the first block over that behind the last."
        )
        for title in titles
    }
    parts.table(found, "lesson_ratios_table", column_config={**parts.COLUMNS, **columns})
    st.caption(
        "Measured now with random weights (seed 0), before any training: the norm of the loss's gradient with respect "
        "to the first block's output over that of the last, on a batch of smooth random patterns of 32 px. Above 1 it "
        "grows toward the input. It does so with each option, and by far the most with C, whose 1x1 convolution and "
        "norm stand on every shortcut: nothing vanishes. It is one thing in which deep C differs, no proof of why it "
        "fails."
    )
    parts.download("Ratios as CSV", csv, found, "gradient_ratios.csv", "text/csv", "The table, for a spreadsheet.")


def _thousand() -> None:
    if not _measured(
        "lesson_thousand",
        "Build both and pass pictures through",
        f"{PASS_BATCH} pictures forward and backward through ResNet-110 and ResNet-1202, some ten seconds.",
    ):
        return
    found = runs.outcome("lesson_thousand_run", "passes", lambda progress: passes(_THOUSAND, report=progress.report))
    if found is None:
        return
    table = passes_table(found)
    parts.table(table, "lesson_thousand_table", column_config=_COLUMNS)
    st.plotly_chart(
        norms_chart(norms_by_net(found), 0),
        key="lesson_thousand_chart",
        config=config("thousand_layers"),
        alt="Gradient norm behind each block of ResNet-110 and ResNet-1202 before training; the table has the ratio of "
        "first and last",
    )
    st.caption(
        f"Measured now with random weights (seed 0) on this server's processor: {PASS_BATCH} smooth random patterns of "
        "32 px, one forward and one backward pass, no training. Seconds are what the clock said, with all else that "
        "runs here. Memory is counted, not measured: weights, all gradients, and what the forward pass keeps. Behind "
        "the first of 600 blocks the gradient is larger than behind the last: it does not vanish."
    )
    parts.download("Passes as CSV", csv, table, "thousand_layers.csv", "text/csv", "The table, for a spreadsheet.")


# --- the lessons


LESSONS: dict[str, Lesson] = {  # by what stands in the link
    "plain": Lesson(
        title="Plain against residual",
        question="Does a deeper plain net learn its own training data worse, and what do shortcuts change?",
        expect="""
A plain net of 34 layers could copy one of 18 and let the further layers hand on what they get, so it need not be worse.
Trained, it is: on ImageNet its *training* error is higher all the way, which over-fitting cannot explain. With
shortcuts of option A, which add no parameter, the order turns round (He et al. 2015,
[arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.1 and figure 4). Plain nets of 20 to 56 layers on
CIFAR-10 do the same (section 4.2, figure 6).

**Why** is not settled. The paper calls it a difficulty of optimisation and argues that vanishing gradients are an
unlikely cause: its plain nets have batch norm, and neither the forward nor the backward signal vanishes. It conjectures
exponentially low convergence rates; three times the iterations did not help. Before the first step the gradient of a
deep plain net with batch norm even grows toward the input (Yang et al. 2019,
[arXiv 1902.08129](https://arxiv.org/abs/1902.08129)). One explanation is that the gradients of neighbouring inputs lose
their likeness with depth (Balduzzi et al. 2017, [arXiv 1702.08591](https://arxiv.org/abs/1702.08591)).
""",
        printed=lambda: published.printed_table(published.plain_and_residual()),
        reading="Top-1 error on ImageNet's validation set, ten crops, and test error on CIFAR-10. At 18 layers plain "
        "and residual are about as accurate; at 34 they are not. No number is printed of plain nets on CIFAR-10.",
        trial="Plain and residual nets of 20 and 56 layers on 1,000 handwritten digits. Watch the training loss: "
        "plain-56 stays above plain-20, while ResNet-56 comes near zero. The gradient norms behind plain-56's blocks "
        "are drawn beside it: they do not vanish.",
        trials={"Train them in the live lab": "plain"},
        charts=("train_loss", "train_error", "batch_loss", "norms"),
    ),
    "shortcuts": Lesson(
        title="Shortcuts A, B, C",
        question="Should a shortcut only hand on its input, or learn something too?",
        expect="""
**A** pads new channels with zeros and has no parameters; **B** projects with a 1x1 convolution where the shape changes;
**C** projects in every block. At 34 layers on ImageNet all three are far better than the plain net, and C is best by a
little; the paper puts that down to its extra parameters and concludes that projections are not essential (He et al.
2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.1).

At 110 layers C fails: nearly twice the error of identity shortcuts. Its training error is higher too, although C could
learn the identity and has more parameters, so it is optimisation that fails, not capacity. What stands on the shortcut
multiplies the signal in each block, sixteen times at 34 layers and 54 times at 110 (He et al. 2016,
[arXiv 1603.05027](https://arxiv.org/abs/1603.05027), sections 2 and 3). So C is best at 34 and fails at 110: both hold.
""",
        printed=lambda: published.printed_table(published.shortcut_options()),
        reading="Top-1 error on ImageNet's validation set with ten crops, then test error on CIFAR-10 with one thing "
        "on every shortcut of ResNet-110, medians of five runs. A dash: the paper prints fail, more than 20% wrong.",
        trial="Options A, B and C at 56 layers on digits. Expect A and B to learn them and C to lag behind.",
        trials={"Train A, B and C in the live lab": "shortcuts"},
        charts=("train_loss", "train_error", "batch_loss", "norms"),
        measure=_ratios,
    ),
    "thousand": Lesson(
        title="A thousand layers",
        question="Can a net of 1,202 layers be trained, and is it better for it?",
        expect="""
It can: He et al. (2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.2) report no difficulty of
optimisation and a training error below 0.1%. It is not better: on the test set it errs more often than ResNet-110,
whose training error is similar. The paper argues that this is over-fitting, as 19.4 million parameters may be too many
for so small a data set. That is the opposite of degradation, where the *training* error is what is bad.

The next paper has the other half of the story: in the original order of norm and activation a net of 1,001 layers
learns very slowly at the beginning; with pre-activation it learns quickly, and errs less than its shallower sisters
(lesson 5; He et al. 2016, [arXiv 1603.05027](https://arxiv.org/abs/1603.05027), sections 4 and 5).
""",
        printed=lambda: published.printed_table(published.thousand_layers()),
        reading="Test error on CIFAR-10 in percent.",
        trial="Training is nothing to wait for: He et al. 2016 (section 5) give about 27 hours on two GPUs for their "
        "net of 1,001 layers. One forward and one backward pass take seconds.",
        trials={},
        measure=_thousand,
    ),
    "warm-up": Lesson(
        title="Warm-up",
        question="Why does ResNet-110 begin with a tenth of the learning rate?",
        expect="""
He et al. (2015, [arXiv 1512.03385](https://arxiv.org/abs/1512.03385), section 4.2) find 0.1 slightly too large to start
converging, and take 0.01 until the training error is below 80%, about 400 steps, then 0.1. Footnote 5 says what happens
without: several epochs pass until the error is below 90%, and in the end the net is about as accurate. So here warm-up
buys a sooner start, not a better end. The 2016 paper keeps it for its nets on CIFAR and remarks that pre-activation
does not need it ([arXiv 1603.05027](https://arxiv.org/abs/1603.05027), appendix).
""",
        printed=lambda: published.printed_table(published.warm_up()),
        reading="Test error on CIFAR-10 in percent.",
        trial="ResNet-110 on digits, at 0.1 from the start and at 0.01 until the error on the batches is below 80%. "
        "Watch the first hundred steps, and the learning rate. One seed says little on who ends lower; add others.",
        trials={"Train both in the live lab": "warm-up"},
        charts=("batch_error", "lr", "train_loss", "norms"),
    ),
    "identity": Lesson(
        title="Identity mappings",
        question="What changes when nothing stands on the way from block to block?",
        expect="""
In the original block a ReLU stands behind the addition, on the path that all blocks share. Moved into the branch, with
norm and ReLU before each convolution (*pre-activation*), it leaves that path free: the output of any block is that of
an earlier one plus what the branches between have added, and the gradient comes back the same way (He et al. 2016,
[arXiv 1603.05027](https://arxiv.org/abs/1603.05027), sections 2 and 4).

The gain is small at 110 layers and large at 1,001. The paper sees two effects. Optimisation is easier, which is most
plain at 1,001 layers. And the net generalises better: at 110 and 164 layers pre-activation ends with a slightly
*higher* training loss and a lower test error, presumably because each convolution's input is normalised.
""",
        printed=lambda: published.printed_table(published.identity_mappings()),
        reading="Test error on CIFAR-10 in percent. The same parts in another order; where the norm stands behind the "
        "addition it is worse than the original.",
        trial="ResNet-110 in both orders on digits. At this depth the published gain is small; do not expect much "
        "between them.",
        trials={"Train both in the live lab": "identity"},
        charts=("batch_loss", "train_loss", "test_error", "norms"),
    ),
    "d2l": Lesson(
        title="The d2l recipe",
        question="What does a textbook's ResNet-18 need to learn Fashion-MNIST?",
        expect="""
*Dive into Deep Learning* (Zhang et al., section on ResNet) trains a ResNet-18 with one input channel on Fashion-MNIST,
enlarged from 28 to 96 px: plain SGD, no momentum, no weight decay, learning rate 0.05, batches of 256, ten epochs,
Xavier's initial weights. Eighteen layers are not deep, so this is no study of degradation: the training error gets
close to zero, and what is left between training and test accuracy is over-fitting.
""",
        printed=published.d2l_table,
        reading="The book's own output, as printed in the Chinese edition; those who ran the same code print other "
        "test accuracies, so take the last digits lightly.",
        trial="The same recipe in small: 16 channels in the first stage instead of 64, the first 10,000 pictures "
        "instead of 60,000, ten epochs. Or the whole net for one epoch of these pictures. They are downloaded at first "
        "use; where that fails, the lab says so. Ours are normalised, the book's are not.",
        trials={"Small net, ten epochs": "d2l", "Whole net, one epoch": "d2l-full"},
        charts=("batch_loss", "train_error", "test_error"),
    ),
}

_COLUMNS = {
    **parts.COLUMNS,
    "case": st.column_config.TextColumn(help="Which net, and what is changed in it."),
    "error": st.column_config.NumberColumn("error, %", format="%.2f", help="Wrong, in percent, as printed."),
    "data": st.column_config.TextColumn(help="Whose pictures: ImageNet's validation set, or CIFAR-10's test set."),
    "note": st.column_config.TextColumn(help="How it was measured, or why there is no number."),
    "result": st.column_config.TextColumn(help="Which number."),
    "printed": st.column_config.NumberColumn(format="%.3f", help="As the book prints it."),
    "build_seconds": st.column_config.NumberColumn("build, s", format="%.2f", help="Seconds to make and fill the net."),
    "forward_seconds": st.column_config.NumberColumn("forward, s", format="%.2f", help="Seconds of the forward pass."),
    "backward_seconds": st.column_config.NumberColumn(
        "backward, s",
        format="%.2f",
        help="Seconds of the backward pass.",
    ),
    "bytes_needed": st.column_config.NumberColumn(
        "memory, B", format="localized", help="Counted bytes at the busiest moment, weights and gradients included."
    ),
    "ratio": st.column_config.NumberColumn(
        "first / last", format="%.3g", help="Gradient norm behind the first block over that behind the last."
    ),
}
