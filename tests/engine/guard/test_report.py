from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from patchhub.errors import NotFoundError, PatchHubError
from patchhub.guard.measurement import Effect, Failure, Measurement, Outcome, Trial
from patchhub.guard.policy import default_policy
from patchhub.guard.report import Background, report_files, write_report
from patchhub.guard.report.plots import ROLES, before_after
from patchhub.guard.verdict import Verdict
from patchhub.reporting.markdown import escaped
from patchhub.scoring.protocols import Protocol
from tests.engine.patches import low_rank

NASTY = "<script>alert('x')</script> a|b\n# new & **bold** `code` [l](https://e.org) \x1b[31m\u202e"


def _trial(text: str, after: float, counts: bool = True) -> Trial:
    return Trial(
        Failure(f"prompt {text}", f"wanted {text}", "was", f"is {text}"), 0.0, after, counts
    )


def _measured(name: str, outcome: Outcome, effect: Effect, **more: object) -> Measurement:
    check, measure = name.split(".")
    trials = (_trial(NASTY, 1.0), _trial("bad", 0.0), _trial("idle", 0.0, counts=False))
    plain = Measurement(
        check=check,
        measure=measure,
        protocol=Protocol.GENERATION,
        before=0.0,
        after=0.5,
        value=0.5,
        n=2,
        low=0.1,
        high=0.9,
        rule="rate",
        floor="0.75",
        outcome=outcome,
        effect=effect,
        failures=(_trial(NASTY, 0.0).failure,),
        details={"asked": 3},
        trials=trials,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


MEASUREMENTS = (
    _measured("generalization.paraphrase", Outcome.PASS, Effect.NONE, failures=()),
    _measured("locality.base", Outcome.FAIL, Effect.BLOCK),
    _measured("retention.stack", Outcome.UNDECIDED, Effect.WARN, n=0, trials=(), failures=()),
    _measured(
        "drift.perplexity",
        Outcome.PASS,
        Effect.NONE,
        rule="ceiling",
        floor="1.05",
        before=20.0,
        after=20.2,
        value=1.01,
        low=1.0,
        high=float("inf"),
        trials=(),
        failures=(),
    ),
)
VERDICT = Verdict(
    patch="a" * 64,
    base="b" * 64,
    identity_before="c" * 64,
    identity_after="d" * 64,
    stack=("e" * 64,),
    requests=("f" * 64,),
    policy="1" * 64,
    policy_version=1,
    probes="2" * 64,
    questions="3" * 64,
    settings={"dtype": "float32"},
    checks={"locality": 1},
    not_run=("overlap",),
    measurements=MEASUREMENTS,
    waived={"drift": "the <b>boss</b> said so"},
)
PATCH = low_rank()
BACKGROUND = Background(
    PATCH,
    (replace(PATCH.requests[0], target=f"<i>{NASTY}"),),
    default_policy(),
    {"a" * 64: "born|in@1", "b" * 64: "sandbox"},
)


class _Tags(HTMLParser):
    """Collects every tag and attribute, and that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"meta", "path", "use"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"path", "use"}:
            return
        assert self.open.pop() == tag


def _written(tmp_path: Path, verdict: Verdict = VERDICT) -> tuple[str, str]:
    markdown, html = write_report(verdict, tmp_path / "out", BACKGROUND)
    return markdown.read_text(), html.read_text()


def test_html_is_sound_self_contained_and_inert(tmp_path: Path) -> None:
    _, html = _written(tmp_path)
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {"script", "b", "i", "img", "link", "iframe"} & tags.seen
    assert not [name for name in tags.attributes if name.startswith("on") or name == "src"]
    links = set(re.findall(r"https?://[^\s\"'<]*", html))
    assert {link for link in links if "w3.org" not in link} <= {"https://e.org)"}
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    assert "\\x1b[31m\\u202e" in html
    assert "\u202e" not in html
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html


def test_markdown_shows_nasty_text_letter_by_letter(tmp_path: Path) -> None:
    markdown, _ = _written(tmp_path)
    assert "<script>" not in markdown
    assert r"\<script\>alert('x')\</script\> a\|b \# new \& \*\*bold\*\* \`code\`" in markdown
    for line in markdown.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert len(cells) in {4, 6, 7, 13}, line
    assert "\x1b" not in markdown
    assert escaped("a\r\nb\u2028c") == "a b c"


def test_what_stands_in_both(tmp_path: Path) -> None:
    for text in _written(tmp_path):
        assert "Refused. It fails locality.base." in text
        assert "born" in text
        assert "ph:aaaaaaaaaaaa" in text
        assert "sandbox (bbbbbbbbbbbb)" in text
        assert "ph:eeeeeeeeeeee" in text
        assert "version 1, 111111111111" in text
        assert "rome 1, seed 0" in text
        assert "0.100 to 0.900" in text
        assert "≥ 0.75" in text
        assert "1.000 to ∞" in text
        assert "2 of 3 asked count" in text
        assert "the policy wants ≥ 0.75" in text
        assert "does not count" in text
        assert "waived drift" in text
        # What failed comes first, then the numbers.
        assert text.index("prompt bad") > text.index("the policy wants") > text.index("Refused")


def test_probes_that_failed_come_first_and_many_are_cut(tmp_path: Path) -> None:
    trials = (*(_trial(f"p{i}", 1.0) for i in range(60)), _trial("late", 0.0))
    many = _measured("locality.base", Outcome.PASS, Effect.NONE, trials=trials, failures=())
    for text in _written(tmp_path, replace(VERDICT, measurements=(many,))):
        assert "Passed." in text
        assert text.index("prompt late") < text.index("prompt p0")
        assert "and 21 more" in text
        assert "prompt p59" not in text


def test_picture_takes_the_pages_colours_and_is_repeatable() -> None:
    svg = before_after(MEASUREMENTS)
    assert svg == before_after(MEASUREMENTS)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "<metadata" not in svg
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert {"ink", "muted", "grid", "before", "pass", "fail"} <= used <= set(ROLES)
    assert not set(re.findall(r"#0[0-9a-f]b1c2", svg))
    assert "locality.base · generation · n = 2" in svg
    assert "retention" not in svg  # nothing was asked
    other = replace(MEASUREMENTS[0], after=0.25)
    assert before_after((other, *MEASUREMENTS[1:])) != svg
    assert ElementTree.fromstring(before_after(())).get("role") == "img"


def test_a_verdict_read_back_has_no_probes_but_its_failures(tmp_path: Path) -> None:
    bare = tuple(replace(one, trials=()) for one in MEASUREMENTS)
    for text in _written(tmp_path, replace(VERDICT, measurements=bare)):
        assert "prompt bad" not in text
        assert "alert(" in text


def test_where_it_goes(tmp_path: Path) -> None:
    wanted = (tmp_path / "v.md", tmp_path / "v.html")
    for name in ("v", "v.md", "v.html"):
        assert report_files(tmp_path / name, "a" * 64) == wanted
    assert report_files(tmp_path / "v.2", "a" * 64)[0].name == "v.2.md"
    assert report_files(tmp_path, "a" * 64)[1].name == f"verdict-{'a' * 12}.html"
    with pytest.raises(NotFoundError) as caught:
        report_files(tmp_path / "none" / "v", "a" * 64)
    assert caught.value.code == "E109"
    _written(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"out.md", "out.html"}


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "v.md").mkdir()
    with pytest.raises(PatchHubError) as caught:
        write_report(VERDICT, tmp_path / "v")
    assert caught.value.code == "E704"
    assert [path.name for path in tmp_path.iterdir()] == ["v.md"]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchhub.reporting.pictures.find_spec", lambda name: None)
    with pytest.raises(PatchHubError) as caught:
        write_report(VERDICT, tmp_path / "v")
    assert caught.value.code == "E705"
    assert "patchhub[report]" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []
