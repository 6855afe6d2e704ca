"""A pass over text: what it sums, what it keeps meanwhile, and that nothing of a kill shows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchhub.editing.statistics import corpus as corpora
from patchhub.editing.statistics import summing
from patchhub.editing.statistics.corpus import Amount, Corpus, corpus_for
from patchhub.editing.statistics.moments import cache_file, compute_moments, content_key, moments_of
from patchhub.editing.statistics.summing import Checkpoint, batches, grouped, summed
from patchhub.loading import load_base
from tests.engine.editing.support import TEXTS, pico_base
from tests.pico import WIDTH, pico_directory

LONG = TEXTS * 3
BATCH = 512
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from patchhub.editing.statistics import corpus, summing
from patchhub.editing.isolation import isolated
from patchhub.editing.statistics.moments import moments_of
from patchhub.loading import load_base
from patchhub.textfile import read_texts

summing._EVERY = summing._SHARE = corpus._EVERY = 0.0
summing._ON_CPU, corpus.SAMPLE_BATCH = 512, 4
directory, cache, phase, after, source = sys.argv[1:]
torch.set_num_threads(1)
base = load_base(Path(directory))
told = 0

def tell(name, done, total):
    global told
    told += name == phase
    if told > int(after):
        os.kill(os.getpid(), signal.SIGKILL)

texts = None if source == "own" else read_texts(Path(source))
with isolated(base.model):
    text = corpus.corpus_for(base, 0, texts)
    found = moments_of(base, text, (0, 1), cache=Path(cache), progress=tell)
print(found.digest((0, 1)))
"""


def killed(directory: Path, cache: Path, phase: str, after: int, source: Path | str) -> str:
    """Statistics computed by a process that is killed at some point; again until one ends."""
    kills = 0
    while True:
        command = [sys.executable, "-c", KILLED, directory, cache, phase, str(after), source]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            assert kills > 0
            return done.stdout.strip()
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "after", "own"),
    [("statistics, texts", 6, False), ("own texts", 2, True)],
)
def test_a_killed_computation_is_taken_up_and_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, after: int, own: bool
) -> None:
    monkeypatch.setattr(summing, "_ON_CPU", BATCH)
    monkeypatch.setattr(corpora, "SAMPLE_BATCH", 4)
    directory, cache = pico_directory(tmp_path, "gpt2"), tmp_path / "cache"
    source: Path | str = "own"
    if not own:
        source = tmp_path / "texts.jsonl"
        source.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        base = load_base(directory)
        texts = None if own else TEXTS
        whole = moments_of(base, corpus_for(base, 0, texts), (0, 1)).digest((0, 1))
    finally:
        torch.set_num_threads(threads)
    assert killed(directory, cache, phase, after, source) == whole
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]


def test_a_pass_is_taken_up_at_any_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summing, "_EVERY", 0.0)
    monkeypatch.setattr(summing, "_SHARE", 0.0)
    monkeypatch.setattr(summing, "_ON_CPU", BATCH)
    base, file = pico_base("llama"), tmp_path / "part"
    whole = summed(base, TEXTS, (0, 1), Checkpoint(None, {}))
    assert whole.batches > 3

    class Stopped(Exception):  # noqa: N818
        pass

    for stop in (1, 2, whole.batches - 1):
        seen: list[int] = []

        def tell(done: int, total: int, seen: list[int] = seen, stop: int = stop) -> None:
            seen.append(done)
            if len(seen) == stop:
                raise Stopped

        with pytest.raises(Stopped):
            summed(base, TEXTS, (0, 1), Checkpoint(file, {"pass": stop}), progress=tell)
        again = summed(base, TEXTS, (0, 1), Checkpoint(file, {"pass": stop}), progress=tell)
        assert len(seen) == again.batches == whole.batches
        assert seen == sorted(set(seen))
        assert again.count == whole.count
        assert all(torch.equal(again.sums[n], whole.sums[n]) for n in (0, 1))


def test_a_checkpoint_of_another_pass_or_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_EVERY", 0.0)
    base, file = pico_base("gpt2"), tmp_path / "part"
    summed(base, TEXTS, (0,), Checkpoint(file, {"pass": 1}))
    device = base.model.device
    assert Checkpoint(file, {"pass": 1}).load(device).batches > 0
    assert Checkpoint(file, {"pass": 2}).load(device).batches == 0
    for damage in (b"", b"no tensors", file.read_bytes()[:-5]):
        file.write_bytes(damage)
        assert Checkpoint(file, {"pass": 1}).load(device).batches == 0
    Checkpoint(file, {}).done()
    Checkpoint(file, {}).done()
    assert not file.exists()


def test_little_memory_means_more_passes_and_the_same_bits(tmp_path: Path) -> None:
    base = pico_base("gpt2")
    each = 12 * (4 * WIDTH) ** 2
    assert grouped(base, (1, 0), None) == [(0, 1)]
    assert grouped(base, (0, 1), 2 * each) == [(0, 1)]
    assert grouped(base, (0, 1), 2 * each - 1) == [(0,), (1,)]
    assert grouped(base, (0, 1), 1) == [(0,), (1,)]
    text = corpus_for(base, 0, TEXTS)
    much, little = (moments_of(base, text, (0, 1), memory=m) for m in (None, 1))
    assert much.digest((0, 1)) == little.digest((0, 1))
    assert moments_of(base, text, (0, 1), cache=tmp_path, memory=1).layers == (0, 1)
    assert [p.name for p in tmp_path.iterdir()] == [
        cache_file(tmp_path, content_key(base, text.record)).name
    ]


def test_tokens_are_counted_to_the_last() -> None:
    base = pico_base("gpt2")
    rows = [len(row) for batch in batches(base, LONG, None) for row in batch]
    for limit in (1, 7, rows[0], 500, sum(rows), sum(rows) + 9):
        cut = [len(row) for batch in batches(base, LONG, limit) for row in batch]
        assert sum(cut) == min(limit, sum(rows))
    fast = corpus_for(base, 0, LONG, Amount.of("fast"))
    told: list[tuple[str, int, int]] = []
    found = moments_of(base, fast, (0,), progress=lambda *at: told.append(at))
    assert found.count == 10 * 4 * WIDTH
    assert told[-1] == ("statistics, tokens", found.count, found.count)


def test_padding_counts_for_nothing() -> None:
    base = pico_base("llama", torch.float64)
    alone = [compute_moments(base, [text], (1,)) for text in ("Oslo is", "Mira speaks French.")]
    both = compute_moments(base, ["Oslo is", "Mira speaks French."], (1,))
    total = alone[0].sums[1] + alone[1].sums[1]
    assert torch.allclose(both.sums[1], total, rtol=1e-12, atol=1e-12)


def test_own_samples_go_on_where_they_were_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "_EVERY", 0.0)
    monkeypatch.setattr(corpora, "SAMPLE_BATCH", 1)
    base, file = pico_base("gpt2"), tmp_path / "own"
    text: Corpus = corpus_for(base, 0, None, Amount.of("2"))
    whole = text.texts(None, None)
    assert len(set(whole)) == 2

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text.texts(file, stop)
    left: list[int] = []
    assert text.texts(file, lambda done, total: left.append(done)) == whole
    assert left == [2]
    for damage in ("", "{}", '{"texts": ["x"], "state": "00"}'):
        file.write_text(damage)
        with pytest.raises(KeyboardInterrupt):
            text.texts(file, lambda done, total: stop(done + 1, total))
    assert [kept.name for kept in tmp_path.iterdir()] == ["own"]
