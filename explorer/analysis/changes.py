"""What changed: two networks' stages beside each other."""

import pandas as pd

QUANTITIES = ("params", "macs", "activation_bytes")


def change_table(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The stages of two networks side by side, and their sums in a last row.

    Args:
        now, before: stage tables (`stage_table`), with `receptive_field`, the side in pixels of what a unit at the end
            of the stage sees, or None where it sees the whole image.

    Returns:
        stage: of either network, in order; then "whole net".
        params, macs, activation_bytes, receptive_field: of the first network. params_before ...: of the second.
        params_change ...: their difference. None where a network has no such stage.
    """
    names = _in_order(list(now["stage"]), list(before["stage"]))
    rows = [_row(name, _stage(now, name), _stage(before, name)) for name in names]
    rows.append(_row("whole net", _sums(now), _sums(before)))
    table = pd.DataFrame(rows)
    return table.astype({column: "Int64" for column in table.columns if column != "stage"})


def _row(stage: str, now: dict[str, int | None], before: dict[str, int | None]) -> dict[str, object]:
    row: dict[str, object] = {"stage": stage}
    for name in (*QUANTITIES, "receptive_field"):
        new, old = now.get(name), before.get(name)
        row |= {name: new, f"{name}_before": old}
        row[f"{name}_change"] = None if new is None or old is None else new - old
    return row


def _in_order(now: list[str], before: list[str]) -> list[str]:
    """stem, the stages of either, head."""
    longer = max(now, before, key=len)
    return longer + [name for name in (*now, *before) if name not in longer]


def _stage(stages: pd.DataFrame, name: str) -> dict[str, int | None]:
    found = stages[stages["stage"] == name]
    if found.empty:
        return {}
    row = found.iloc[0]
    return {column: _whole(row[column]) for column in (*QUANTITIES, "receptive_field")}


def _sums(stages: pd.DataFrame) -> dict[str, int | None]:
    """Over all stages; the receptive field is that of the last map that has one."""
    local = [_whole(value) for value in stages["receptive_field"]]
    last = next((value for value in reversed(local) if value is not None), None)
    return {name: sum(map(int, stages[name])) for name in QUANTITIES} | {"receptive_field": last}


def _whole(value: object) -> int | None:
    return None if value is None or value is pd.NA or value != value else int(value)  # type: ignore[call-overload]
