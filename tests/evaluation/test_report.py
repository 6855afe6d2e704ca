from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from patchhub.errors import NotFoundError, PatchHubError
from patchhub.evaluation.records import AGREEMENT, SCORE, VALUE, Known, Refusal, Row
from patchhub.evaluation.report import report_files, write_report
from patchhub.evaluation.report.style import LIGHT, ROLES, apart
from patchhub.evaluation.results import Provenance, Results
from tests.evaluation.made import Maker, provenance, results, row

EMPTY = Provenance("", "2026-11-21T20:00:00Z", {}, {}, 0.0)
Pair = tuple[Results, Provenance]


def written(path: Path, found: Sequence[Pair]) -> tuple[str, str, list[Path]]:
    markdown, html, *pictures = write_report(found, path)
    return markdown.read_text(), html.read_text(), pictures


def shown(text: str, title: str) -> list[list[str]]:
    """The cells of the Markdown table below a title, without the escapes."""
    below = text.split(f"**{title}**\n", 1)[1]
    lines = below[below.index("|") :].split("\n\n", 1)[0].splitlines()
    plain = (line.replace("\\", "") for line in lines if not line.startswith("|---"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in plain]


def three() -> list[Pair]:
    maker = Maker(cases=6, protocols=("likelihood", "generation"))
    methods = ("ft", "rome")
    return [
        (maker.single(methods), provenance()),
        (maker.batch(methods, sizes=(1, 6)), provenance("batch", sizes=(1, 6))),
        (maker.sequential(methods, steps=2, orders=1), provenance("sequential")),
    ]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "xlink:href", "src"}:
                self.links.append(value or "")
        if tag not in {"meta", "path", "use", "rect"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in {"meta", "path", "use", "rect"}:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "use", "rect"}:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[Path]]:
    return written(tmp_path_factory.mktemp("full") / "r", three())


@pytest.mark.slow
def test_page_is_sound_and_stands_alone(full: tuple[str, str, list[Path]]) -> None:
    _, html, _ = full
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {"script", "img", "link", "iframe", "image"} & tags.seen
    assert len(tags.ids) == len(set(tags.ids))
    assert tags.links
    assert all(link.startswith("#") and link[1:] in tags.ids for link in tags.links)
    assert not re.findall(r"url\((?!#)", html)
    assert {
        link for link in re.findall(r"https?://[^\s\"'<]*", html) if "w3.org" not in link
    } == set()
    used = set(re.findall(r"var\(--(\w+)\)", html.split("<body>")[1]))
    assert {"ink", "hue0", "hue1", "paper"} <= used <= set(ROLES)
    style = html.split("</style>")[0]
    assert all(style.count(f"--{role}:") == 2 for role in ROLES)
    assert not [hue for hue in LIGHT.values() if hue in html.split("<body>")[1]]


@pytest.mark.slow
def test_markdown_shows_every_picture_and_whole_tables(
    full: tuple[str, str, list[Path]], tmp_path: Path
) -> None:
    markdown, html, pictures = full
    addresses = re.findall(r"!\[.*\]\((.*)\)", markdown)
    folder = pictures[0].parent
    assert [folder.parent / unquote(one) for one in addresses] == [
        path for path in pictures if path.suffix == ".png"
    ]
    assert [path.name.split("-")[-1] for path in pictures if path.suffix == ".svg"] == [
        "protocols.svg", "cost.svg", "batch.svg", "sequence.svg", "retention.svg", "matrix.svg",
        "efficiency.svg",
    ]  # fmt: skip
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    for path in pictures:
        content = path.read_bytes()
        if path.suffix == ".png":
            assert content.startswith(b"\x89PNG")
        else:
            assert b"<dc:date>" not in content
            ElementTree.fromstring(content)
    for word in ("unedited", "collapsed", "E134", "patchhub bench single", "torch 2.13.0"):
        assert word in markdown
        assert word in html


@pytest.mark.slow
def test_the_same_results_give_the_same_files(
    full: tuple[str, str, list[Path]], tmp_path: Path
) -> None:
    markdown, html, pictures = written(tmp_path / "r", three())
    assert markdown == full[0]
    assert html == full[1]
    for one, other in zip(pictures, full[2], strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes(), one.name


def golden() -> Results:
    """Three cases, one method; worked by hand."""
    rows: list[Row] = []
    for case, (target, neighbour) in enumerate(((1.0, 1.0), (1.0, 0.5), (0.0, 0.0))):
        for method, value, same in (("ft", target, neighbour), ("unedited", 0.0, 1.0)):
            more = {"method": method, "case": case, "protocol": "generation"}
            rows.append(row("reliability.target", value, figure=SCORE, **more))  # type: ignore[arg-type]
            rows.append(
                row("locality.neighbourhood", same, figure=AGREEMENT, n=2, before=1.0, **more)  # type: ignore[arg-type]
            )
    known = [Known("m", case, "generation", right=case == 0, old=case == 2) for case in range(3)]
    refusals = [Refusal("single", "m", "ft", 1, 0, 0, 1, (2,), "E143", "no | such subject")]
    return results(rows, known=known, refusals=refusals)


def test_tables_say_what_was_worked_by_hand(tmp_path: Path) -> None:
    markdown, html, _ = written(tmp_path, [(golden(), EMPTY)])
    table = shown(markdown, "Reliability, generalization, locality (agreement) · generation")
    assert table == [
        ["method", "edits", "n", "reliability", "neighbourhood"],
        ["unedited", "all", "3", "0.0 [0.0, 56.1]", "100.0"],
        ["unedited", "wrong before", "2", "0.0 [0.0, 65.8]", "100.0"],
        ["unedited", "knew old", "1", "0.0 [0.0, 79.3]", "100.0"],
        ["collapsed", "all", "–", "–", "–"],
        ["ft", "all", "3", "66.7 [20.8, 93.9]", "50.0 [0.0, 100.0]"],
        ["ft", "wrong before", "2", "50.0 [9.5, 90.5]", "25.0 [0.0, 50.0]"],
        ["ft", "knew old", "1", "0.0 [0.0, 79.3]", "0.0 [0.0, 79.3]"],
    ]
    assert shown(markdown, "What the unedited model knew")[1] == [
        "generation", "3", "1", "3", "1", "66.7 %", "33.3 %",
    ]  # fmt: skip
    assert r"no \| such subject" in markdown
    assert "no | such subject" in html
    assert "| E143 |" in markdown


def test_a_filter_that_keeps_every_edit_is_named_and_not_repeated(tmp_path: Path) -> None:
    known = [Known("m", 0, "generation", right=False, old=True)]
    made = results([row(figure=SCORE, protocol="generation")], known=known)
    markdown, _, _ = written(tmp_path, [(made, EMPTY)])
    table = shown(markdown, "Reliability, generalization, locality (agreement) · generation")
    assert table[-1] == ["ft", "all = wrong before = knew old", "1", "100.0 [20.7, 100.0]"]


def test_one_method_that_refuses_everything_is_still_there(tmp_path: Path) -> None:
    refusal = Refusal("single", "m", "rome", 1, 0, 0, 1, (0, 1), "E144", "no such layer")
    plain = row(method="unedited", figure=SCORE, protocol="generation", step=0)
    markdown, _, _ = written(tmp_path, [(results([plain], refusals=[refusal]), EMPTY)])
    table = shown(markdown, "Reliability, generalization, locality (agreement) · generation")
    assert [line[0] for line in table[1:]] == ["unedited", "collapsed", "rome"]
    assert table[-1][1:] == ["all", "–", "–"]
    assert shown(markdown, "Refused edits")[1] == [
        "rome", "single", "E144", "no such layer", "1", "1", "2",
    ]  # fmt: skip


@pytest.mark.parametrize("experiment", ["single", "batch", "sequential"])
def test_one_case_of_one_method_and_numbers_that_are_none(tmp_path: Path, experiment: str) -> None:
    lost = {"figure": VALUE, "protocol": "", "case": -1}
    none = {"figure": SCORE, "protocol": "generation"}
    rows = [
        row(figure=SCORE, experiment=experiment),
        row("drift.perplexity", math.inf, experiment=experiment, **lost),  # type: ignore[arg-type]
        row("reliability.target", math.nan, experiment=experiment, **none),  # type: ignore[arg-type]
    ]
    markdown, html, _ = written(tmp_path, [(results(rows, experiment=experiment), EMPTY)])
    for text in (markdown, html):
        assert "∞" in text
        assert "not a number" in text
        assert "100.0" in text


def test_nothing_gives_a_page_that_says_where_it_is_from(tmp_path: Path) -> None:
    for found in ([], [(results([]), EMPTY)]):
        markdown, html, pictures = written(tmp_path / "r", found)
        assert "How to read this" in markdown
        assert "</html>" in html
        assert pictures == []
    assert "from Python" in markdown


def test_names_are_text_wherever_they_come_from(tmp_path: Path) -> None:
    nasty = "<b>$x$</b> | `m`"
    made = results([row(figure=SCORE, model=nasty)], models=(nasty,), data="a <i> _b_")
    markdown, html, pictures = written(tmp_path, [(made, EMPTY)])
    assert "<b>" not in markdown
    assert "<b>" not in html
    assert "<i>" not in html
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in pictures)
    assert len(pictures) == 2


def test_protocols_never_share_a_table(tmp_path: Path) -> None:
    rows = [row(figure=SCORE, protocol=how, value=v) for how, v in (("generation", 0.0),
            ("teacher_forced", 1.0))]  # fmt: skip
    markdown, _, _ = written(tmp_path, [(results(rows), EMPTY)])
    title = "Reliability, generalization, locality (agreement) · "
    values = {
        how: shown(markdown, title + how)[-1][3][:5] for how in ("teacher-forced", "generation")
    }
    assert values == {"teacher-forced": "100.0", "generation": "0.0 ["}


def test_where_it_goes(tmp_path: Path) -> None:
    wanted = (tmp_path / "v.md", tmp_path / "v.html", tmp_path / "v-figures")
    for name in ("v", "v.md", "v.html"):
        assert report_files(tmp_path / name) == wanted
    assert report_files(tmp_path)[0] == tmp_path / "report.md"
    with pytest.raises(NotFoundError) as caught:
        report_files(tmp_path / "none" / "v")
    assert caught.value.code == "E109"


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "v-figures").write_text("")
    with pytest.raises(PatchHubError) as caught:
        write_report([(golden(), EMPTY)], tmp_path / "v")
    assert caught.value.code == "E704"


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchhub.reporting.pictures.find_spec", lambda name: None)
    with pytest.raises(PatchHubError) as caught:
        write_report([(golden(), EMPTY)], tmp_path / "v")
    assert caught.value.code == "E705"
    assert list(tmp_path.iterdir()) == []


def test_labels_are_moved_apart_as_little_as_needed() -> None:
    assert apart([0.0, 10.0], 5.0) == [0.0, 10.0]
    assert apart([1.0, 1.0], 4.0) == [-1.0, 3.0]
    assert apart([0.0, 0.0, 0.0, 20.0], 5.0) == [-5.0, 0.0, 5.0, 20.0]
    assert apart([], 1.0) == []
