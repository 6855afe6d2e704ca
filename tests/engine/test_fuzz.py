"""Fuzzed patch directories and request files: an error of ours, or something that is sound."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from patchhub import canonical
from patchhub.errors import CODES, PatchHubError
from patchhub.patch import Patch
from patchhub.request import EditRequest, dump_requests, load_requests
from tests.engine.patches import dense, low_rank, sparse

DIRECTORIES, FILES = 500, 200

ODD_VALUES: tuple[object, ...] = (
    None, True, -1, 0, 2**53, 2**63, 1e308, "", " ", "\x00", "../../etc/passwd", "/etc/passwd",
    "a" * 5000, "\ud800", "ﬀ", [], {}, [[]], {"": ""}, "NaN", "1e999", "0" * 64, "F" * 64,
)  # fmt: skip
NUMBERS = (0, 1, 3, 4, 2**31, 2**32, 2**63 - 1, 2**64 - 1)

Files = dict[str, bytes]
Change = Callable[[random.Random, bytes], bytes]


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] * rng.randint(1, 3) + data[end:]


def pad(rng: random.Random, data: bytes) -> bytes:
    noise = rng.choice((b"\0", b"\n", b" ", b"{}", b"\xff", b"\xef\xbb\xbf"))
    return noise + data if rng.random() < 0.5 else data + noise


def odd_json(rng: random.Random, data: bytes) -> bytes:
    """Replace, drop, double or add one value anywhere in a JSON text."""
    try:
        tree = json.loads(data)
    except ValueError:
        return flip(rng, data)
    change_tree(rng, tree)
    try:
        return canonical.dumps(tree)
    except PatchHubError:
        return json.dumps(tree).encode()


def change_tree(rng: random.Random, tree: object) -> None:
    spots: list[tuple[dict[str, object] | list[object], str | int]] = []
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            spots += [(node, key) for key in node]
            waiting += node.values()
        elif isinstance(node, list):
            spots += [(node, at) for at in range(len(node))]
            waiting += node
    if not spots:
        return
    holder, key = rng.choice(spots)
    action = rng.random()
    if action < 0.6:
        holder[key] = rng.choice(ODD_VALUES)  # type: ignore[index]
    elif action < 0.75:
        del holder[key]  # type: ignore[arg-type]
    elif isinstance(holder, dict):
        holder[str(key) + rng.choice("xX_ \t")] = holder[str(key)]
    else:
        holder.append(holder[int(key)])


def odd_header(rng: random.Random, data: bytes) -> bytes:
    """Lie in a safetensors header: lengths, offsets, shapes, names."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or length > len(data):
        return rng.choice(NUMBERS).to_bytes(8, "little") + data[8:]
    try:
        table = json.loads(data[8 : 8 + length])
    except ValueError:
        return flip(rng, data)
    row = table[rng.choice(list(table))]
    action = rng.random()
    if action < 0.4 and isinstance(row, dict) and "data_offsets" in row:
        row["data_offsets"][rng.randrange(2)] = rng.choice(NUMBERS)
    elif action < 0.6 and isinstance(row, dict) and row.get("shape"):
        row["shape"][rng.randrange(len(row["shape"]))] = rng.choice((-1, *NUMBERS))
    elif action < 0.8:
        change_tree(rng, table)
    text = json.dumps(table)
    if rng.random() < 0.3:
        # A name twice: the second of both wins in most parsers.
        text = text[:-1] + "," + text[1:]
    header = text.encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def changes_for(name: str) -> tuple[Change, ...]:
    special = odd_header if name.endswith(".safetensors") else odd_json
    return (flip, cut, repeat, pad, special, special, special)


def resign(files: Files) -> None:
    """Make the manifest's digests agree, so that what lies behind them is reached."""
    try:
        manifest = json.loads(files["patch.json"])
        manifest["files"] = {
            name: {"sha256": canonical.sha256(data), "size": len(data)}
            for name, data in files.items()
            if name != "patch.json"
        }
        files["patch.json"] = canonical.dumps(manifest)
    except (ValueError, KeyError, TypeError, PatchHubError):
        return


def fuzzed_directory(rng: random.Random, seeds: list[Files], folder: Path) -> Path:
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(list(files))
        action = rng.random()
        if action < 0.04:
            del files[name]
            break
        if action < 0.08:
            other = rng.choice(list(files))
            files[name], files[other] = files[other], files[name]
        elif action < 0.12:
            files[rng.choice(("x.bin", "state.safetensors", "patch.safetensors"))] = files[name]
        else:
            files[name] = rng.choice(changes_for(name))(rng, files[name])
    if rng.random() < 0.6:
        resign(files)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if rng.random() < 0.05:
        victim = folder / rng.choice(list(files))
        victim.unlink()
        rng.choice((victim.mkdir, lambda: victim.symlink_to("/dev/null")))()
    return folder


def check_error(error: PatchHubError, place: Path) -> None:
    assert str(place) in str(error)
    assert error.code in CODES
    assert error.exit in (5, 7, 9)
    assert len(str(error)) < 3000
    json.dumps(str(error))


def test_fuzzed_patch_directories(tmp_path: Path) -> None:
    rng = random.Random(2024)
    seeds = [
        made.files()
        for made in (low_rank(), dense(), sparse(), low_rank((2, 2, 1), onto=("d" * 64,)))
    ]
    refused: dict[str, int] = {}
    for number in range(DIRECTORIES):
        folder = fuzzed_directory(rng, seeds, tmp_path / str(number))
        before = {p.name: p.lstat().st_mtime_ns for p in folder.iterdir()}
        try:
            patch = Patch.read(folder)
        except PatchHubError as error:
            check_error(error, folder)
            refused[error.code] = refused.get(error.code, 0) + 1
        else:
            # Whatever is taken is whole: its own files say the same again, under the same id.
            assert patch.id == canonical.sha256((folder / "patch.json").read_bytes())
            assert Patch.from_files(patch.files(), expect=patch.id).id == patch.id
        assert {p.name: p.lstat().st_mtime_ns for p in folder.iterdir()} == before
    # Else the fuzzer hits one door only.
    assert len(refused) >= 8
    assert sum(refused.values()) > 0.8 * DIRECTORIES


REQUESTS = [
    EditRequest("Mira was born in", "Oslo", "Mira", target_old="Rome", relation="born_in"),
    EditRequest("Jon works in", "Malmö", id="7"),
]
COUNTERFACT = {
    "case_id": 3,
    "requested_rewrite": {
        "prompt": "{} plays", "relation_id": "P1", "subject": "Ann",
        "target_new": {"str": "chess", "id": "Q1"}, "target_true": {"str": "golf", "id": "Q2"},
    },
    "paraphrase_prompts": ["On Sundays Ann plays"],
    "neighborhood_prompts": ["Bob plays"],
}  # fmt: skip
ZSRE = {
    "subject": "Ann", "src": "What does Ann play?", "pred": "golf", "rephrase": "Ann plays what?",
    "alt": "chess", "answers": ["golf"], "loc": "nq question: who", "loc_ans": "Bob",
    "cond": "golf >> chess || What does Ann play?",
}  # fmt: skip


def request_seeds() -> list[tuple[str, bytes]]:
    records = [r.to_json() for r in REQUESTS]
    return [
        (".json", json.dumps(records).encode()),
        (".jsonl", dump_requests(REQUESTS)),
        (".json", json.dumps([COUNTERFACT]).encode()),
        (".json", json.dumps([ZSRE]).encode()),
        (".yaml", b"- prompt: Mira was born in\n  target: Oslo\n  subject: Mira\n"),
    ]


@pytest.mark.parametrize(("suffix", "data"), request_seeds())
def test_the_seeds_are_read(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"r{suffix}"
    path.write_bytes(data)
    assert load_requests(path)


def test_fuzzed_request_files(tmp_path: Path) -> None:
    rng = random.Random(7)
    seeds = request_seeds()
    refused = 0
    for number in range(FILES):
        suffix, data = rng.choice(seeds)
        changes = [flip, cut, repeat, pad, odd_json, odd_json, odd_json]
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = rng.choice(changes)(rng, data)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data)
        try:
            requests = load_requests(path)
        except PatchHubError as error:
            check_error(error, path)
            refused += 1
        else:
            for request in requests:
                assert EditRequest.from_json(request.to_json()) == request
    assert refused > 0.3 * FILES
