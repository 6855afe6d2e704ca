from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
import rfc8785

from patchhub.canonical import dumps, sha256
from patchhub.errors import IntegrityError, InvalidInputError, PatchHubError
from patchhub_registry.entry import Entry, StackItem
from patchhub_registry.schema import BaseRecord, Op, Record, Statement
from patchhub_registry.settings import Settings
from tests.registry.support import fingerprint

ID = sha256(b"patch")
RECORD = Record(
    name="demo",
    version=2,
    patch=ID,
    base="sandbox",
    created="2026-11-20T10:00:00Z",
    libraries={"torch": "2.13.0"},
    realised={"h.0.w.weight": {"cosine": "0.99993", "norm_ratio": "1.0", "changed": 16}},
    sensitivity="public",
    review_after="2027-11-20",
    message="Zürich, not Bern",
)
BASE = BaseRecord("sandbox", fingerprint(), {"model_type": "gpt2"})
ITEM = StackItem("demo@2", ID)
PUSH = Entry(
    stack="prod",
    seq=7,
    op=Op.PUSH,
    prev=sha256(b"6"),
    base=fingerprint().weights,
    composed=sha256(b"composed"),
    reason="fact-update",
    patch=ITEM,
    record=sha256(b"record"),
    policy=sha256(b"policy"),
    guard=sha256(b"guard"),
    waivers={"locality": "too few probes"},
)
MOVE = Entry(
    "prod", 8, Op.MOVE, PUSH.digest, PUSH.base, PUSH.composed, "order", ITEM, sha256(b"r"), None
)
CHECKPOINT = Entry(
    "prod", 100, Op.CHECKPOINT, PUSH.digest, PUSH.base, PUSH.composed, "checkpoint", items=(ITEM,)
)
FILES = [RECORD, BASE, PUSH, MOVE, CHECKPOINT]
IDS = ["record", "base", "push", "move", "checkpoint"]


@pytest.mark.parametrize("value", FILES, ids=IDS)
def test_files_read_back_and_are_canonical(value: Any) -> None:
    data = value.to_bytes()
    assert type(value).from_bytes(data) == value
    assert rfc8785.dumps(json.loads(data)) == data


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("value", FILES, ids=IDS)
def test_jq_writes_the_same_bytes(value: Any) -> None:
    data = value.to_bytes()
    found = subprocess.run(["jq", "-cjS", "."], input=data, capture_output=True, check=True).stdout
    assert found == data


@pytest.mark.parametrize("value", FILES, ids=IDS)
def test_unknown_missing_and_newer_are_refused(value: Any) -> None:
    body = json.loads(value.to_bytes())
    kind = type(value)
    with pytest.raises(PatchHubError) as unknown:
        kind.from_bytes(dumps({**body, "colour": "red"}))
    assert (unknown.value.code, unknown.value.exit) == ("E113", 5)
    assert "colour" in unknown.value.what
    for key in body:
        with pytest.raises(PatchHubError, match="E113") as missing:
            kind.from_bytes(dumps({name: item for name, item in body.items() if name != key}))
        assert key in missing.value.what
    with pytest.raises(IntegrityError, match="E114"):
        kind.from_bytes(dumps({**body, "schema": 2}))


@pytest.mark.parametrize("value", FILES, ids=IDS)
def test_white_space_and_key_order_are_refused(value: Any) -> None:
    body = json.loads(value.to_bytes())
    turned = json.dumps(dict(reversed(body.items())), separators=(",", ":"), ensure_ascii=False)
    for data in (json.dumps(body).encode(), turned.encode(), value.to_bytes() + b"\n", b"", b"{"):
        with pytest.raises(IntegrityError, match="E116"):
            type(value).from_bytes(data)


@pytest.mark.parametrize(
    ("field", "wrong", "code"),
    [
        ("name", "../x", "E101"),
        ("name", 3, "E113"),
        ("version", 0, "E113"),
        ("version", True, "E113"),
        ("version", "2", "E113"),
        ("patch", "abc", "E113"),
        ("patch", ID.upper(), "E113"),
        ("base", "A", "E101"),
        ("created", "2026-11-20", "E113"),
        ("created", "2026-13-20T10:00:00Z", "E113"),
        ("libraries", [], "E113"),
        ("libraries", {"torch": 2}, "E113"),
        ("libraries", {"torch": None}, "E113"),
        ("realised", {"w": {"cosine": "0,9"}}, "E113"),
        ("realised", {"w": {"cosine": True}}, "E113"),
        ("realised", {"w": 1}, "E113"),
        ("sensitivity", "secret", "E113"),
        ("review_after", "soon", "E113"),
        ("message", "two\nlines", "E113"),
        ("message", "\x1b[31m", "E113"),
        ("message", "x" * 1001, "E113"),
        ("message", None, "E113"),
    ],
)
def test_record_fields_are_strict(field: str, wrong: Any, code: str) -> None:
    body = json.loads(RECORD.to_bytes())
    with pytest.raises(IntegrityError) as caught:
        Record.from_bytes(dumps({**body, field: wrong}))
    assert caught.value.code == code
    assert field in caught.value.what


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("stack", "base"),
        ("seq", 0),
        ("op", "seal"),
        ("prev", "x"),
        ("base", None),
        ("composed", "x"),
        ("reason", "Because I say so"),
        ("patch", {"ref": "demo", "id": ID}),
        ("patch", {"ref": "demo@1", "id": ID, "name": "x"}),
        ("patch", None),
        ("record", None),
        ("policy", 7),
        ("guard", "yes"),
        ("waivers", {"locality": "a\nb"}),
        ("approvals", ["x"]),
        ("approvals", None),
    ],
)
def test_entry_fields_are_strict(field: str, wrong: Any) -> None:
    body = json.loads(PUSH.to_bytes())
    with pytest.raises(IntegrityError) as caught:
        Entry.from_bytes(dumps({**body, field: wrong}))
    assert field in caught.value.what


def test_a_base_whose_table_was_changed_is_found() -> None:
    body = json.loads(BASE.to_bytes())
    body["fingerprint"]["tensors"]["h.0.w.weight"]["sha256"] = sha256(b"other")
    with pytest.raises(IntegrityError, match="E202"):
        BaseRecord.from_bytes(dumps(body))
    body["fingerprint"]["tensors"] = 3
    with pytest.raises(IntegrityError, match="E113"):
        BaseRecord.from_bytes(dumps(body))


@pytest.mark.parametrize(
    ("subject", "kind"), [("x", "guard"), (ID, "Guard"), (ID, "../x"), (ID, "")]
)
def test_statements_are_about_digests(subject: str, kind: str) -> None:
    with pytest.raises(InvalidInputError, match="E101"):
        Statement(subject, kind, b"{}")


def test_settings_read_back() -> None:
    settings = Settings("0" * 32)
    assert Settings.from_bytes(settings.to_bytes()) == settings
    spaced = b'# mine\nformat=1\nid = "' + b"0" * 32 + b'"\n'
    assert Settings.from_bytes(spaced) == settings


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"format = 2\n", "E114"),
        (b"", "E114"),
        (b"format", "E204"),
        (b"\xff", "E204"),
        (b'format = 1\nid = "x"\n', "E204"),
        (b'format = 1\nid = "' + b"0" * 32 + b'"\nother = 1\n', "E204"),
    ],
)
def test_damaged_settings_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(IntegrityError, match=code):
        Settings.from_bytes(data)
