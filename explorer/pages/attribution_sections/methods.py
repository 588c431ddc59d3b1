"""Methods side by side: what several of them say about the same picture and class."""

import streamlit as st

from explorer.attribution import METHODS, Attribution
from explorer.attribution.alike import ranks, summary, view
from explorer.attribution.checks import problem
from explorer.export.tables import csv
from explorer.figures.side_by_side import alike_chart, panels
from explorer.figures.theme import config
from explorer.jobs import Progress
from explorer.pages import parts, runs
from explorer.pages.attribution_sections import beside, controls, explaining
from explorer.pages.attribution_sections.asking import Asked
from explorer.pages.attribution_sections.explaining import Chosen
from explorer.pages.edge import plain

MOST = 8  # at once: a session has room for twelve jobs
USUAL = ["grad_cam", "integrated_gradients", "occlusion", "saliency"]


def show(asked: Asked) -> None:
    """The maps, what each adds up to and took, and how alike they are."""
    left, right = st.columns([9, 3], vertical_alignment="bottom")
    with left:
        names = _choose()
    with right:
        one_scale = beside.together("methods_one_scale", usual=False)
    if not names:
        st.info("Choose a method, or several.", icon=":material/checklist:")
        return
    chosen = {}
    for name in names:
        each = Chosen(METHODS[name], controls.settings_of(METHODS[name], asked.trained))
        chosen[asked.key, each.key] = each

    def work(question: tuple[object, ...], progress: Progress) -> Attribution | str:
        each = chosen[question]  # type: ignore[index]
        progress.report(0.0, f"Checks {each.method.title} on this net")
        return problem(each.method.name, asked.trained, progress.report) or explaining.remembered(
            asked, each, progress.report
        )

    questions: dict[str, tuple[object, ...]] = {each.method.title: key for key, each in chosen.items()}
    answers = runs.outcomes("methods_runs", questions, work)
    found = {title: each for title, each in answers.items() if not isinstance(each, str)}
    if found:
        looks = beside.looks(found)
        drawn = panels(found, looks, one_scale)
        first = next(iter(found.values()))
        st.caption(
            plain(
                f"Why {explaining.about(first)}, of {asked.checkpoint.title}. Settings are those of the section Map, "
                "where they have been changed there; else the usual ones."
            )
        )
    else:
        drawn = {}
    beside.grid({title: drawn.get(title, str(each)) for title, each in answers.items()})
    if found:
        beside.files(
            drawn,
            first.picture,
            f"{asked.checkpoint.title}: {explaining.about(first)}",
            f"methods_{first.target_name}",
        )
        _table(found)
        _alike(found)


def _choose() -> list[str]:
    chosen: list[str] = st.multiselect(
        "Methods",
        list(METHODS),
        default=USUAL,
        format_func=controls.title,
        max_selections=MOST,
        key="methods_shown",
        persist_state="session",
        wrap=True,
        help="Up to eight. They run one after another, those that are ready are shown; what was computed is kept.",
    )
    return chosen


def _table(found: dict[str, Attribution]) -> None:
    table = summary(found)
    parts.table(
        table.drop(columns=["net", "method", "target", "against", "score"]),
        "methods_table",
        column_config={
            "map": st.column_config.TextColumn("method"),
            "sum": st.column_config.NumberColumn(format="%.4g", help="All numbers of the map, added up."),
            "expected_sum": st.column_config.NumberColumn(
                "should be", format="%.4g", help="What they should add up to; a dash where the method promises nothing."
            ),
            "delta": st.column_config.NumberColumn(
                "difference", format="%.2g", help="The sum less what it should be: the convergence delta."
            ),
            "forward": st.column_config.NumberColumn("passes", help="Images that go forward through the net."),
            "back": st.column_config.NumberColumn("back", help="Images whose gradient comes back through it."),
            "seconds": st.column_config.NumberColumn(format="%.2f", help="On this server, when it was computed."),
            "rows": st.column_config.NumberColumn(help="Of the map: its numbers from top to bottom."),
            "columns": st.column_config.NumberColumn(help="Of the map: its numbers from left to right."),
        },
    )
    parts.download(
        "Table as CSV", csv, table, "methods.csv", "text/csv", "A row a method, with the net, the class and the score."
    )


def _alike(found: dict[str, Attribution]) -> None:
    if len(found) < 2:
        return
    table = ranks({title: view(each) for title, each in found.items()})
    st.plotly_chart(
        alike_chart(table),
        key="methods_alike",
        config=config("methods_alike"),
        alt=f"Rank correlation of the sizes of the maps of {', '.join(found)}",
    )
    st.caption(
        "Spearman's rank correlation of the sizes of the numbers, a finer map averaged over the cells of the coarser: "
        "1 where two methods order the places alike, 0 where they have nothing in common. Methods that agree may still "
        "be wrong together, and they measure different things, so that some may differ and all be right."
    )
    parts.download(
        "Correlations as CSV",
        csv,
        table.reset_index(names="method"),
        "methods_alike.csv",
        "text/csv",
        "The square above.",
    )
