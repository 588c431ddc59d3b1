"""Nets side by side: what several of them see in the same part of a picture, by one method."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd
import streamlit as st

from explorer.attribution import Attribution, attribute, predict
from explorer.attribution.alike import summary
from explorer.attribution.checks import problem
from explorer.attribution.likewise import Question, likewise
from explorer.errors import Refusal
from explorer.export.tables import csv
from explorer.figures.side_by_side import panels
from explorer.jobs import Progress
from explorer.models.checkpoints import REGISTRY, Checkpoint, Trained, load, untrained
from explorer.pages import cached, parts, runs
from explorer.pages.attribution_sections import beside, explaining, nets_choice
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.attribution_sections.explaining import Chosen
from explorer.pages.edge import plain

MOST = 4
_BEFORE = " before training"  # behind the name of a net, which has no blank
_UNTRAINED = "_untrained"  # so an own net is named that is another before training
_SLOT = "nets_run "  # a run that brings a net
PAIRS = {
    "before": "Before and after training",
    "plain": "ResNet against plain",
    "vgg": "ResNet against VGG",
}
_NETS = {"plain": ["cifar_resnet56", "cifar_plain56"], "vgg": ["resnet50", "vgg16"]}


@dataclass(frozen=True)
class _Answer:
    """rows: the likeliest classes. found: the map, or why there is none. question: what was asked of this net."""

    rows: pd.DataFrame
    found: Attribution | str
    question: Question


def show(asked: Asked) -> None:
    """The maps and predictions of the nets, and a table."""
    left, right = st.columns([4, 8])
    with left:
        chosen = explaining.choose(asked)
    with right:
        names = _choose(asked)
        one_scale = beside.together("nets_one_scale", usual=True)
    nets, missing = _fetched(names, asked)
    target = int(asked.rows.class_index.iloc[0]) if asked.target is None else asked.target
    asked_of = {
        name: likewise(
            asked.trained, net, asked.picture.image, chosen.method, chosen.settings, target, asked.against, asked.box
        )
        for name, net in nets.items()
    }

    def work(question: tuple[object, ...], progress: Progress) -> _Answer:
        return _answer(nets[str(question[0])], asked_of[str(question[0])], asked, chosen, progress)

    titles = _titles(asked)
    questions = {titles[name]: (name, net, asked.key, chosen.key) for name, net in nets.items()}
    answers = runs.outcomes("nets_runs", questions, work)
    found = {title: each.found for title, each in answers.items() if isinstance(each.found, Attribution)}
    looks = beside.looks(found) if found else {}
    drawn = panels(found, looks, one_scale)
    cells = {title: drawn.get(title, str(each.found)) for title, each in answers.items()}
    beside.grid(
        cells | {titles[name]: why for name, why in missing.items()},
        lambda title: _prediction(answers[title]) if title in answers else None,
    )
    if not found:
        return
    _notes(answers)
    with st.container(horizontal=True):
        beside.files(drawn, None, f"{chosen.method.title}, {asked.picture.name}", f"nets_{chosen.method.name}")
        parts.download(
            "Predictions as CSV",
            csv,
            pd.concat([each.rows.assign(net=title) for title, each in answers.items()]),
            "nets_predictions.csv",
            "text/csv",
            "The five likeliest classes of each net.",
        )
    _table(found)


def _choose(asked: Asked) -> list[str]:
    state = st.session_state
    titles = _titles(asked)
    own = asked.checkpoint.name
    both = [name for name in (own, own + _BEFORE, own + _UNTRAINED) if name in titles]

    def set_pair() -> None:
        pair = state["nets_pair"]
        if pair is not None:
            state["nets_shown"] = _NETS.get(pair, both)

    st.pills(
        "At one click",
        list(PAIRS),
        format_func=PAIRS.__getitem__,
        key="nets_pair",
        on_change=set_pair,
        wrap=True,
        help="Two nets that differ in one respect. ResNet-56 and plain-56 are CIFAR-10 nets of this project, trained "
        "alike; those of ImageNet have to be downloaded once.",
    )
    known = [name for name in state.get("nets_shown", ()) if name in titles]
    if not known or state.setdefault("nets_of", own) != own:  # the question is about another net now
        known = both
    state.update(nets_shown=known, nets_of=own)
    chosen: list[str] = st.multiselect(
        "Nets",
        list(titles),
        format_func=titles.__getitem__,
        max_selections=MOST,
        key="nets_shown",
        persist_state="session",
        wrap=True,
        help="Two to four. Before training, a net has the random weights that its code begins with, seed 0.",
    )
    return chosen


def _titles(asked: Asked) -> dict[str, str]:
    titles = {asked.checkpoint.name: asked.checkpoint.title}
    titles |= {name: nets_choice.own_title(name) for name in nets_choice.own_nets()}
    titles |= {name: checkpoint.title for name, checkpoint in REGISTRY.items()}
    trained = [name for name in titles if not name.endswith(_UNTRAINED) and name + _UNTRAINED not in titles]
    return titles | {name + _BEFORE: f"{titles[name]}, before training" for name in trained}


def _fetched(names: list[str], asked: Asked) -> tuple[dict[str, Trained], dict[str, str]]:
    """Those that are at hand, and why others cannot be had; how far downloads are is drawn."""
    own = nets_choice.own_nets() | {asked.checkpoint.name: asked.trained}
    nets: dict[str, Trained] = {}
    missing: dict[str, str] = {}
    for slot in [str(key) for key in st.session_state if str(key).startswith(_SLOT)]:
        if slot.removeprefix(_SLOT) not in names:
            runs.forget(slot)  # it holds the net
    for name in names:
        base = name.removesuffix(_BEFORE)
        checkpoint = own[base].checkpoint if base in own else REGISTRY[base]
        try:
            if name.endswith(_BEFORE):
                net = runs.outcome(_SLOT + name, checkpoint, partial(_drawn, checkpoint))
            elif base in own:
                net = own[base]
            else:
                net = runs.outcome(_SLOT + name, base, partial(_load, base), cached.download_queue())
        except Refusal as refusal:
            missing[name] = str(refusal)
            continue
        if net is not None:
            nets[name] = net
    return nets, missing


def _load(name: str, progress: Progress) -> Trained:
    return load(name, progress.report)


def _drawn(checkpoint: Checkpoint, progress: Progress) -> Trained:
    return untrained(checkpoint)


def _answer(net: Trained, question: Question, asked: Asked, chosen: Chosen, progress: Progress) -> _Answer:
    """What a net predicts, and its map; for a worker thread."""
    image = asked.picture.image
    rows = predict(net, image, question.box, progress.report).head(5)
    progress.report(0.0, f"Checks {chosen.method.title} on this net")
    found: Attribution | str
    try:
        found = problem(chosen.method.name, net, progress.report) or attribute(
            net,
            image,
            chosen.method.name,
            question.target,
            against=question.against,
            box=question.box,
            report=progress.report,
            **question.settings,
        )
    except Refusal as refusal:  # said in the map's place, under the prediction
        found = str(refusal)
    return _Answer(rows, found, question)


def _prediction(answer: _Answer) -> None:
    st.markdown("  \n".join(f"{row.probability:.1%} {plain(str(row.class_name))}" for row in answer.rows.itertuples()))


def _notes(answers: Mapping[str, _Answer]) -> None:
    said = [f"{title}: {note}" for title, each in answers.items() for note in each.question.notes]
    st.caption(
        plain(
            "Each net saw the same part of the picture, at its own resolution. On one scale a net whose logits are "
            "larger has stronger colours: that is a difference of the nets too. " + " ".join(said)
        )
    )


def _table(found: dict[str, Attribution]) -> None:
    table = summary(found)
    parts.table(
        table.drop(columns=["net", "method", "forward", "back"]),
        "nets_table",
        column_config={
            "map": st.column_config.TextColumn("net"),
            "target": st.column_config.TextColumn("class", help="That the map explains."),
            "against": st.column_config.TextColumn("and not", help="The class that it is compared with."),
            "score": st.column_config.NumberColumn(format="%.3f", help="The class's logit, less the other's."),
            "sum": st.column_config.NumberColumn(format="%.4g", help="All numbers of the map, added up."),
            "expected_sum": st.column_config.NumberColumn(
                "should be", format="%.4g", help="What they should add up to; a dash where the method promises nothing."
            ),
            "delta": st.column_config.NumberColumn("difference", format="%.2g", help="The sum less what it should be."),
            "seconds": st.column_config.NumberColumn(format="%.2f", help="On this server, when it was computed."),
            "rows": st.column_config.NumberColumn(help="Of the map: its numbers from top to bottom."),
            "columns": st.column_config.NumberColumn(help="Of the map: its numbers from left to right."),
        },
    )
    parts.download("Table as CSV", csv, table, "nets.csv", "text/csv", "A row a net: its class, score, sum and cost.")
