"""The choice of a trained net: of the registry, or one of the session's own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import streamlit as st

from explorer.errors import Refusal
from explorer.export.tables import csv
from explorer.jobs import Progress
from explorer.models.checkpoints import NOTHING, REGISTRY, Checkpoint, Trained, load, untrained
from explorer.models.uploaded import (
    MAX_BYTES,
    MismatchError,
    Weights,
    class_names,
    fit,
    mismatch_table,
    newest,
    preprocessings,
    read_weights,
    trained_from,
)
from explorer.pages import cached, edge, parts, runs, sidebar
from explorer.pages.degradation_sections import board
from explorer.pages.edge import plain
from explorer.spec import PRESETS, ResNetSpec
from explorer.training.lab_net import kept, trained_net

MAIN = "checkpoint"  # the choice under which a session's own nets are added
MOST_OWN, MOST_MEGABYTES = 4, 600  # that a session keeps
_OWN, _ASKED = "own_nets", "own_asked"  # the nets that the session has, and what makes the next one
_BUILT = "built"  # the net of the Build page
_RUN, _READ, _FIT = "own_run", "weights_read", "weights_fit"

_COLUMNS = {
    "tensor": st.column_config.TextColumn(help="The name in the state_dict.", pinned=True),
    "problem": st.column_config.TextColumn(help="Why it does not fit."),
    "net": st.column_config.TextColumn(help="Its shape in the net that was chosen; a dash where there is none."),
    "file": st.column_config.TextColumn(help="Its shape in the file; a dash where there is none."),
}


def choose(key: str, label: str) -> Trained | None:
    """Draw the choice of a net, and where it comes from; the net, or None after drawing how far its weights are.

    Args:
        key: of the control, in the session and perhaps in the link. Under `MAIN` own nets are added.

    Raises:
        Refusal: the weights cannot be had.
    """
    if key == MAIN:
        _add()
    own = own_nets()
    names = titles()
    parts.link_choice(key, [*REGISTRY, *own])
    name: str = st.selectbox(
        label,
        list(names),
        format_func=names.__getitem__,
        key=key,
        on_change=parts.chosen_by_hand,
        args=(key,),
        persist_state="session",
        help="Type to search. Weights that are not installed are downloaded on first use and kept on the server.",
    )
    checkpoint = own[name].checkpoint if name in own else REGISTRY[name]
    for text in about(checkpoint):
        st.caption(text)
    if key == MAIN:
        adding = st.expander("Nets of your own", key="own_open", on_change="rerun", icon=":material/add:")
        if adding.open:
            with adding, edge.sentences():
                _offer(checkpoint)
    if name in own:
        return own[name]
    return runs.outcome(f"{key}_weights", name, partial(_fetched, name), cached.download_queue())


def own_nets() -> dict[str, Trained]:
    """The session's own nets by name, the oldest first."""
    nets: dict[str, Trained] = st.session_state.setdefault(_OWN, {})
    return nets


def titles() -> dict[str, str]:
    """What each net that can be chosen is called, by name, and whether it has to be downloaded; own ones first."""
    own = {name: f"{own_title(name)} · yours" for name in own_nets()}
    return own | {name: f"{checkpoint.title} · {_where(checkpoint)}" for name, checkpoint in REGISTRY.items()}


def own_title(name: str) -> str:
    """What an own net is called; where two files have one name, with the beginning of the net's own."""
    named = [trained.checkpoint.title for trained in own_nets().values()]
    title = own_nets()[name].checkpoint.title
    return title if named.count(title) == 1 else f"{title} ({name.removeprefix('own_')[:6]})"


def about(checkpoint: Checkpoint) -> list[str]:
    """What is known of a net, a caption each."""
    own = checkpoint.training
    if own is not None:
        side = checkpoint.preprocessing.crop
        return [
            f"{checkpoint.trained_on}, {checkpoint.top1:.1f}% top-1 on the 10,000 test pictures. {checkpoint.source}, "
            f"{checkpoint.licence}: {own.steps:,} steps of {own.batch} pictures, about {own.epochs:.0f} times through "
            "the training set. He et al. (2015, section 4.2) go through it about 164 times and err less.",
            f"This net has seen nothing but pictures of {side} x {side} px in {len(checkpoint.classes)} classes: "
            f"{', '.join(checkpoint.classes)}. Any picture is shrunk to that size and gets one of these names, "
            "whatever it shows.",
        ]
    if checkpoint.trained_on == NOTHING:
        return [
            f"{checkpoint.source}. It has learned nothing: what it says of a picture is chance, and a map that looks "
            "as good here as after training shows the picture, not the training. Its batch norms, if it has any, go by "
            "a few random pictures."
        ]
    if checkpoint.published is None:
        return [plain(f"{checkpoint.source}. Trained on {checkpoint.trained_on}.")]
    return [
        f"{checkpoint.trained_on}, {checkpoint.published:.1f}% top-1 as published ({checkpoint.source}). "
        f"{checkpoint.licence}."
    ]


def _where(checkpoint: Checkpoint) -> str:
    if checkpoint.offline:
        return "works offline"
    return "on the server" if checkpoint.fetched else f"{checkpoint.megabytes:.0f} MB to download"


def _fetched(name: str, progress: Progress) -> Trained:
    return load(name, progress.report)


def _add() -> None:
    """Make the own net that was asked for, if any, and let it be the chosen one."""
    if asked := st.session_state.get(_ASKED):
        question, work = asked
        try:
            made: Trained | None = runs.outcome(_RUN, question, work)
        except Refusal as refusal:
            _forget_asked()
            st.error(plain(str(refusal)), icon=":material/block:")
            return
        if made is not None:
            _forget_asked()
            _keep(made)
            st.session_state[MAIN] = made.checkpoint.name


def _keep(made: Trained) -> None:
    """Put a net among the session's own; those that it takes the place of go, and with them all that was asked of them.

    One of the same name takes the place of the one before.
    """
    own = own_nets()
    before = list(own.values())
    others = [net for net in before if net.checkpoint.name != made.checkpoint.name]
    own.clear()  # Streamlit would keep the dict that another takes the place of until the page runs again
    own.update((net.checkpoint.name, net) for net in newest([*others, made], MOST_OWN, MOST_MEGABYTES))
    for net in before:
        if own.get(net.checkpoint.name) is not net:
            runs.let_go(net, net.checkpoint, net.checkpoint.name)


def _forget_asked() -> None:
    st.session_state.pop(_ASKED, None)
    runs.forget(_RUN)


def _ask(question: object, work: Callable[[Progress], Trained]) -> None:
    """Let a net be made; a button's callback."""
    st.session_state[_ASKED] = question, work


def _offer(checkpoint: Checkpoint) -> None:
    """Ways to a net of one's own."""
    st.caption(
        f"A session keeps the last {MOST_OWN} of them, and {MOST_MEGABYTES} MB at most; they are gone when it ends. A "
        "file of yours is not written to disk."
    )
    st.button(
        "The same net before training",
        key="own_untrained",
        disabled=checkpoint.trained_on == NOTHING,
        icon=":material/casino:",
        on_click=_ask,
        args=((checkpoint.name, NOTHING), lambda progress: untrained(checkpoint)),
        help="The chosen net with random weights, as it was before its first step. A map that hardly differs from the "
        "trained net's is not about what was learned (Adebayo et al. 2018, arXiv 1810.03292).",
    )
    _offer_lab()
    _offer_upload()


def _offer_lab() -> None:
    """A button for each run of the Degradation page whose weights are there."""
    for number, entry in enumerate(board.entries()):
        if entry.job.finished and kept(entry.trial) is not None:
            st.button(
                f"Trained in the lab: {plain(_lab_title(entry))}",
                key=f"own_lab_{number}",
                icon=":material/science:",
                on_click=_ask_lab,
                args=(number,),
                help="The net of this run with the weights that it has now, its data set's classes, and pictures "
                "prepared as the run's were.",
            )


def _lab_title(entry: board.Entry) -> str:
    return f"{entry.net}, seed {entry.trial.recipe.seed}, {entry.course.records[-1].step:,} steps"


def _ask_lab(number: int) -> None:
    """Let the net of a run be made; Streamlit keeps what a button calls, so this finds the run by its number."""
    if number >= len(board.entries()):  # taken off a moment before the click
        return
    entry = board.entries()[number]
    file, recipe, title, data = kept(entry.trial), entry.trial.recipe, _lab_title(entry), entry.data
    if file is not None:
        _ask((entry.trial, len(entry.trial.records)), lambda progress: trained_net(recipe, file, title, data))


def _offer_upload() -> None:
    """Weights from a file, for a preset or the net of the Build page."""
    built = sidebar.current()
    own = built.to_text(sidebar.preset())
    name = st.selectbox(
        "Net of your weights",
        [_BUILT, *PRESETS],
        format_func=lambda name: f"{own} (Build page)" if name == _BUILT else name,
        key="weights_net",
        persist_state="session",
        help="The net that the weights in your file were trained in: the one of the Build page, which can be any, or a "
        "preset. Type to search.",
    )
    spec = built if name == _BUILT else PRESETS[name]
    most = min(MAX_BYTES // 1_000_000, st.get_option("server.maxUploadSize"))
    upload = st.file_uploader(
        "Your own weights",
        ["safetensors", "pt", "pth", "bin"],
        key="weights_file",
        max_upload_size=most,
        help="The state_dict of that net: safetensors, or a file of torch.save (PyTorch 1.6 or later), up to "
        f"{most} MB. No code in it is run.",
    )
    if upload is None:
        for slot in (_READ, _FIT):
            runs.cancel(slot)
            runs.forget(slot)
        return
    weights = runs.outcome(_READ, upload.file_id, lambda progress: _described(upload.getvalue(), upload.name))
    if weights is None:
        return
    for note in weights.notes:
        st.caption(plain(note))
    misfits = runs.outcome(_FIT, (weights.digest, spec), lambda progress: fit(spec, weights))
    if misfits is None:
        return
    if misfits:
        st.warning(plain(str(MismatchError(misfits))), icon=":material/block:")
        table = mismatch_table(misfits)
        parts.table(table, "mismatches", column_config=_COLUMNS)
        parts.download(
            "Mismatches as CSV", csv, table, "mismatches.csv", "text/csv", "The table above, for a spreadsheet."
        )
        return
    _offer_fitting(spec, weights)


def _described(data: bytes, name: str) -> Weights:
    """The weights in a file without their numbers: the result of a run stays when the file is taken away."""
    weights = read_weights(data, name)
    return replace(weights, tensors={name: tensor.to("meta") for name, tensor in weights.tensors.items()})


def _offer_fitting(spec: ResNetSpec, weights: Weights) -> None:
    """What the file does not say, and the button.

    Args:
        weights: with or without their numbers.
    """
    classes, ways = class_names(spec), preprocessings(spec)
    st.caption(
        "Every tensor fits. Names and shapes are all that was compared: a plain net and its residual twin have the "
        "same ones, and so have a stride on the 1x1 and on the 3x3. The net above must be the one that was trained."
    )
    named = st.selectbox(
        "Classes",
        list(classes),
        key=f"weights_classes_{spec.num_classes}",
        persist_state="session",
        help="Their names, in the order of the net's outputs; the file does not hold them.",
    )
    way = st.selectbox(
        "Colours",
        list(ways),
        format_func=lambda title: f"{title}: mean {_numbers(ways[title].mean)}, deviation {_numbers(ways[title].std)}",
        key=f"weights_colours_{len(ways)}_{spec.image_size[0]}",
        persist_state="session",
        help="What was taken off each colour in training, and what it was divided by. Pictures are cut to a square of "
        f"{spec.image_size[0]} px from a shorter side of {ways[next(iter(ways))].resize} px.",
    )
    st.button(
        "Use these weights",
        key="weights_use",
        type="primary",
        icon=":material/check:",
        on_click=_ask_uploaded,
        args=(spec, weights.digest, named, way),
        help="Put the net among those that can be chosen, and choose it.",
    )


def _ask_uploaded(spec: ResNetSpec, digest: str, named: str, way: str) -> None:
    """Let the net of the uploaded file be made; Streamlit keeps what a button calls, so this holds no weights."""
    upload = st.session_state["weights_file"]
    if upload is None:  # taken away a moment before the click
        return
    data, name = upload.getvalue(), upload.name
    title = f"{name}, {named} classes, {way} colours"
    classes, preprocessing = class_names(spec)[named], preprocessings(spec)[way]
    _ask(
        (digest, spec, named, way),
        lambda progress: trained_from(spec, read_weights(data, name), title, classes, preprocessing),
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
