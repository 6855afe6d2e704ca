"""The update formula of each member of ROME's family."""

from __future__ import annotations

from functools import partial

from patchhub.editing.keyvalue.rank_one import Update
from patchhub.methods import r_rome, rome


def formula(mode: str) -> Update:
    return rome.update if mode == "rome" else partial(r_rome.update, mode=mode)  # type: ignore[arg-type]
