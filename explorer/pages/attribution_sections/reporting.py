"""A report of one page to keep: picture, predictions, maps, measures, settings and a link."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd
import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.attribution.assess import Measures
from explorer.attribution.measures import within
from explorer.errors import Refusal
from explorer.export.report import Panel, compared_with, map_facts, measured, net_facts, ordered, report
from explorer.figures.overlay import Look, overlay, sheet, usual
from explorer.jobs import Progress
from explorer.models.checkpoints import REGISTRY, Report
from explorer.pages import parts, runs
from explorer.pages.attribution_sections import controls, drawn, explaining, sure
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.attribution_sections.explaining import Chosen
from explorer.pages.edge import plain

_MOST = 6  # maps


@dataclass(frozen=True)
class Content:
    """What a report tells.

    maps: one for each method that the net bears; left_out: of the others, why.
    measures, drawn: of the first map, where they were wanted.
    """

    maps: Sequence[Attribution]
    left_out: Sequence[str]
    measures: Measures | None
    drawn: pd.DataFrame | None


def show(asked: Asked) -> None:
    """Draw what the report shall hold, and the button that brings it."""
    st.caption(
        "One HTML file with everything in it: it opens in any browser, offline too, and prints on a page or two. "
        "Method, settings and class are those of the map; more methods come with what was set for them."
    )
    left, right = st.columns([4, 8])
    with left:
        chosen = explaining.choose(asked)
        look = controls.look(chosen.signed)
        more = st.multiselect(
            "More methods",
            [name for name in METHODS if name != chosen.method.name],
            format_func=controls.title,
            max_selections=_MOST - 1,
            key="report_methods",
            persist_state="session",
            wrap=True,
            help="Their maps stand beside the first one, each with its own scale.",
        )
        measures = st.toggle(
            "Measures",
            True,
            key="report_measures",
            persist_state="session",
            help="How sure: completeness, infidelity, max-sensitivity, deletion and insertion of the first map, these "
            "two with their curves.",
        )
        anew = st.toggle(
            "Weights drawn anew",
            False,
            key="report_drawn",
            persist_state="session",
            help="How like the first map still is when the net has forgotten everything.",
        )
    every = [chosen, *(_usual(asked, name) for name in more)]
    with right:
        content = runs.outcome(
            "report_run",
            (asked.key, tuple(each.key for each in every), measures, anew),
            lambda progress: _content(asked, every, measures, anew, progress),
        )
        if content is None:
            return
        for why in content.left_out:
            st.warning(plain(why), icon=":material/block:")
        looks = [look, *(usual(found) for found in content.maps[1:])]
        st.image(
            [overlay(found, each) for found, each in zip(content.maps, looks, strict=True)],
            [METHODS[found.method].title for found in content.maps],
            width=224,
        )
        link = _link()
        parts.download(
            "Report as HTML",
            lambda held: _page(asked, held, looks, link),
            content,
            f"{chosen.method.name}_{content.maps[0].target_name}.html",
            "text/html",
            "Picture as the net sees it, predictions, maps and their baselines, measures with the curves of deletion "
            "and insertion, settings, and the link to this question.",
        )
        if asked.sample is None:
            st.caption("The report holds your picture. Its link does not: who follows it gives the picture anew.")
        if asked.checkpoint.name not in REGISTRY:
            st.caption("The link cannot bring your net: who follows it is told so, and chooses another.")


def _usual(asked: Asked, name: str) -> Chosen:
    return Chosen(METHODS[name], controls.settings_of(METHODS[name], asked.trained))


def _content(asked: Asked, every: Sequence[Chosen], measures: bool, anew: bool, progress: Progress) -> Content:
    steps = len(every) + measures + anew

    def part(number: int) -> Report:
        return within(progress.report, number / steps, (number + 1) / steps)

    first, maps, left_out = every[0], [explaining.remembered(asked, every[0], part(0))], []
    for number, each in enumerate(every[1:], 1):
        try:
            maps.append(explaining.remembered(asked, each, part(number)))
        except Refusal as refusal:
            left_out.append(f"{each.method.title}: {refusal}")
    return Content(
        maps,
        left_out,
        sure.remembered(asked, first, maps[0], part(len(every))) if measures else None,
        drawn.remembered(asked, first, maps[0], part(steps - 1)) if anew else None,
    )


def _page(asked: Asked, content: Content, looks: Sequence[Look], link: str) -> bytes:
    first = content.maps[0]
    about = explaining.about(first)
    methods = [METHODS[found.method] for found in content.maps]
    return report(
        f"Where {asked.checkpoint.title} looks for {about}",
        Panel(
            "As the net sees it",
            first.picture,
            asked.picture.name,
            f"{asked.picture.name}, cut to the square that the net sees",
        ),
        asked.rows,
        [
            Panel(
                METHODS[found.method].title,
                sheet(found, look),
                explaining.about(found),
                f"Heat map of {METHODS[found.method].title} for {about} over the picture",
            )
            for found, look in zip(content.maps, looks, strict=True)
        ],
        {
            "Net and picture": net_facts(asked.checkpoint, asked.picture.name, asked.box, f"{_today():%Y-%m-%d}"),
            **{METHODS[found.method].title: map_facts(found) for found in content.maps},
        },
        baselines=compared_with(content.maps),
        measures=measured(first, content.measures, content.drawn),
        curves=() if content.measures is None else ordered(first, content.measures),
        warnings=[f"{method.title}: {method.warning}" for method in methods if method.warning is not None],
        link=link,
    )


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _link() -> str:
    """The address of this question's map."""
    query = {**st.query_params.to_dict(), "look": "map"}
    return urlunsplit((*urlsplit(st.context.url or "")[:3], urlencode(query), ""))
