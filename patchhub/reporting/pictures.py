"""Drawing with matplotlib so that the same numbers give the same bytes.

A picture in a page takes its colours from the page around it: it is drawn in one colour for each
role, and these are then exchanged for the page's own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from patchhub.errors import PatchHubError

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "patchhub",
    "font.family": "sans-serif",
    "font.size": 9,
    "path.simplify": False,
    "text.parse_math": False,
}


def ensure_plots() -> None:
    """Pass if pictures can be drawn; ask before long work.

    Raises:
        PatchHubError: E705.
    """
    if find_spec("matplotlib") is None:
        raise PatchHubError(
            "E705",
            "a report needs matplotlib, which is not installed",
            expected="the extra `report`",
            hint="pip install 'patchhub[report]'",
        )


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib as it comes: a user's own style would change the picture, and its bytes."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def saved(figure: Any, form: str, **options: object) -> bytes:
    """A figure as ``svg`` or ``png``, without dates."""
    buffer = io.BytesIO()
    undated = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, metadata=undated, **options)
    return buffer.getvalue()


def inline(svg: bytes, colours: Mapping[str, str], label: str, prefix: str = "") -> str:
    """An ``<svg>`` element whose colours are the page's.

    Args:
        svg: A file in these colours.
        colours: By role, the name of a colour of page.css; no two the same.
        label: What the picture shows, for who cannot see it, as HTML.
        prefix: Of the ids in it, where a page has several pictures.
    """
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for role, colour in colours.items():
        text = text.replace(colour, f"var(--{role})")
    if prefix:
        text = re.sub(r'( id="|"#|url\(#)', rf"\g<1>{prefix}", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
