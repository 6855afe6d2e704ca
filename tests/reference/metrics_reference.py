"""Every metric once more, in exact fractions where that is possible and in the plainest way.

Nothing here knows the program or a tensor library. Models are tables: what follows a text, word by
word, as fractions; the words that a table leaves out share what is left over.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, getcontext
from fractions import Fraction
from typing import Any

getcontext().prec = 40

World = Mapping[str, Any]
"""``vocabulary`` and ``table``."""


def _after(world: World, prefix: str) -> dict[str, Fraction]:
    known = {word: Fraction(p) for word, p in world["table"].get(prefix, {}).items()}
    left = Fraction(1) - sum(known.values(), Fraction(0))
    rest = left / max(1, len(world["vocabulary"]) - len(known))
    return {word: known.get(word, rest) for word in world["vocabulary"]}


def _steps(world: World, prompt: str, answer: str) -> list[tuple[str, dict[str, Fraction]]]:
    """The answer's words, each with the distribution it is drawn from."""
    found = []
    text = prompt
    for word in re.findall(" ?[^ ]+", f" {answer}" if prompt else answer):
        found.append((word, _after(world, text)))
        text += word
    return found


def _mean_nats(world: World, prompt: str, answer: str) -> float:
    steps = _steps(world, prompt, answer)
    product = math.prod(row[word] for word, row in steps)
    return -math.log(product) / len(steps) if product else math.inf


def forced(world: World, prompt: str, answer: str) -> list[str]:
    return [max(row, key=lambda word: row[word]) for _, row in _steps(world, prompt, answer)]


def token_accuracy(world: World, prompt: str, answer: str) -> Fraction:
    wanted = [word for word, _ in _steps(world, prompt, answer)]
    hits = sum(a == b for a, b in zip(forced(world, prompt, answer), wanted, strict=True))
    return Fraction(hits, len(wanted))


def comparison(world: World, prompt: str, answer: str, rival: str) -> tuple[int, float]:
    """Success and magnitude of ROME: lower mean loss; difference of exp(-mean loss)."""
    good, bad = (_mean_nats(world, prompt, text) for text in (answer, rival))
    return int(good < bad), math.exp(-good) - math.exp(-bad)


def rome(world: World, case: Mapping[str, Any]) -> dict[str, float]:
    """ES, EM, PS, PM, NS, NM and S of one case."""
    new, true = case["new"], case["true"]
    edited = [comparison(world, case["prompt"], new, true)]
    said_otherwise = [comparison(world, p, new, true) for p in case["paraphrases"]]
    kept = [comparison(world, p, true, new) for p in case["neighbours"]]
    found = {}
    for name, some in (("E", edited), ("P", said_otherwise), ("N", kept)):
        found[name + "S"] = sum(one for one, _ in some) / len(some)
        found[name + "M"] = sum(size for _, size in some) / len(some)
    shares = [found[name] for name in ("ES", "PS", "NS")]
    found["S"] = 3 / sum(1 / share for share in shares) if all(shares) else 0.0
    return found


def entropy(text: str) -> float:
    words = re.findall(r"\w+|[^\w\s]", text)
    parts = []
    for n, weight in ((2, Fraction(2, 3)), (3, Fraction(4, 3))):
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        total = sum(grams.values())
        bits = sum(Decimal(-c) / total * (Decimal(c) / total).ln() for c in grams.values())
        parts.append(float(weight) * float(bits / Decimal(2).ln()) if grams else 0.0)
    return 100 * sum(parts) / 2


def repetition(text: str) -> Fraction:
    words = re.findall(r"\w+|[^\w\s]", text)
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    again = sum(gram in grams[:i] for i, gram in enumerate(grams))
    return Fraction(again, len(grams)) if grams else Fraction(0)


def consistency(
    corpus: Sequence[str], generations: Sequence[str], references: Sequence[str]
) -> float:
    documents = [re.findall(r"\b\w\w+\b", text.lower()) for text in corpus]
    words = sorted({word for document in documents for word in document})
    vectors = []
    for texts in (generations, references):
        said = re.findall(r"\b\w\w+\b", " ".join(texts).lower())
        vector = []
        for word in words:
            holding = sum(word in document for document in documents)
            vector.append(said.count(word) * (math.log((1 + len(corpus)) / (1 + holding)) + 1))
        vectors.append(vector)
    one, other = vectors
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = [math.sqrt(sum(a * a for a in vector)) for vector in vectors]
    return product / (lengths[0] * lengths[1]) if all(lengths) else 0.0


def perplexity(world: World, texts: Sequence[str]) -> float:
    total, count = 0.0, 0
    for text in texts:
        first, *rest = re.findall(" ?[^ ]+", text)
        prefix = first
        for word in rest:
            total -= math.log(_after(world, prefix)[word])
            count += 1
            prefix += word
    return math.exp(total / count)


def divergence(before: World, after: World, text: str) -> float:
    """Mean over the predicted words of KL(before ‖ after), in nats."""
    first, *rest = re.findall(" ?[^ ]+", text)
    prefix, parts = first, []
    for word in rest:
        old, new = _after(before, prefix), _after(after, prefix)
        parts.append(sum(float(old[w]) * math.log(old[w] / new[w]) for w in old if old[w]))
        prefix += word
    return sum(parts) / len(parts)


def choice(world: World, prompt: str, choices: Sequence[str]) -> dict[str, int]:
    means = [_mean_nats(world, prompt, text) for text in choices]
    counts = [len(_steps(world, prompt, text)) for text in choices]
    totals = [mean * n for mean, n in zip(means, counts, strict=True)]
    return {"per_token": means.index(min(means)), "total": totals.index(min(totals))}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The roots of (p - share)² = z² p (1 - p) / n."""
    z2, share = Decimal("1.959963984540054") ** 2, Decimal(successes) / n
    a, b, c = 1 + z2 / n, -(2 * share + z2 / n), share * share
    root = (b * b - 4 * a * c).sqrt()
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))


def bootstrap(values: Sequence[Fraction]) -> tuple[float, float, float]:
    """Mean and the 2.5 % and 97.5 % points of the mean of *all* samples with replacement."""
    n = len(values)
    means = sorted(sum(sample) / n for sample in itertools.product(values, repeat=n))
    low = means[math.ceil(Fraction(25, 1000) * len(means)) - 1]
    high = means[math.ceil(Fraction(975, 1000) * len(means)) - 1]
    return float(sum(values) / n), float(low), float(high)
