"""Is this text that answer: where a generated text stops, and normalised exact match with aliases.

A generated text is right when what it says up to its natural stop *begins* with an accepted answer
at a word boundary. Substring matching, as some benchmarks use it, counts answers that are only
mentioned (arXiv:2507.05937); equality of the whole would punish "Oslo, the capital of Norway".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_ARTICLES = frozenset({"a", "an", "the"})
_APOSTROPHES = frozenset("'’‘ʼ`´")
_HYPHENS = frozenset("-−–")
_WORD_SIGNS = frozenset("+#%&@")
_LINE_ENDS = frozenset("\n\r\v\f\x85\u2028\u2029")
_SENTENCE_ENDS = frozenset("!?。！？")
_THOUSAND = re.compile(r"\d{3}(?!\d)")
_CLOSERS = frozenset("\"'”’)]»")
_ABBREVIATIONS = frozenset(
    {
        "bros",
        "capt",
        "co",
        "corp",
        "dr",
        "gen",
        "gov",
        "inc",
        "jr",
        "lt",
        "ltd",
        "mr",
        "mrs",
        "ms",
        "mt",
        "no",
        "prof",
        "rep",
        "rev",
        "sen",
        "sgt",
        "sr",
        "st",
        "vs",
    }
)


def stop(text: str, *, final: bool = True) -> int | None:
    """Index at which a continuation ends by itself: a line break or the end of a sentence.

    Leading white space is no stop. A full stop ends a sentence unless it belongs to a number (3.5),
    an abbreviation (St., Dr.) or initials (J. R., U.S.).

    Args:
        text: The continuation generated so far.
        final: Whether nothing follows. While decoding, a full stop at the very end may still turn
            out to be part of "3.5" or "Node.js"; then the answer is None, "not yet".

    Returns:
        Length of the text before the stop, or None.
    """
    begin = len(text) - len(text.lstrip())
    for i in range(begin, len(text)):
        sign = text[i]
        if sign in _LINE_ENDS or sign in _SENTENCE_ENDS:
            return i
        if sign == "." and _ends_sentence(text, begin, i, final=final):
            return i
    return None


def said(text: str) -> str:
    """What a continuation says: the text before its natural stop, without surrounding space."""
    return text[: stop(text)].strip()


def matches(text: str, answers: Iterable[str]) -> bool:
    """Whether ``text`` begins with one of ``answers`` at a word boundary, both normalised.

    Normalised: NFKC, case folded, without punctuation, runs of white space and a leading article.
    """
    return any(_begins_with(text, answer) for answer in answers)


def same(one: str, other: str) -> bool:
    """Whether two texts are equal once normalised."""
    a, b = words(one), words(other)
    if not a or not b:
        return _fold(one).strip() == _fold(other).strip()
    return _without_article(a) == _without_article(b)


def words(text: str) -> tuple[str, ...]:
    """Normalised words of a text.

    Apostrophes and the dots of initials vanish (``U.S.`` is ``us``), signs that tell words apart
    stay (``C++``, ``-5``, ``3.5``), other punctuation separates. Characters of scripts written
    without spaces are words of their own.
    """
    return tuple("".join(_pieces(_fold(text))).split())


def _begins_with(text: str, answer: str) -> bool:
    wanted, found = words(answer), words(text)
    if not wanted:
        plain = _fold(answer).strip()
        return bool(plain) and _fold(text).strip().startswith(plain)
    if found[: len(wanted)] == wanted:
        return True
    wanted, found = _without_article(wanted), _without_article(found)
    return found[: len(wanted)] == wanted


def _without_article(found: tuple[str, ...]) -> tuple[str, ...]:
    # Only the leading one: "Vitamin A" without its article would match "Vitamin C".
    leads = len(found) > 1 and found[0] in _ARTICLES and found[1] not in _ARTICLES
    return found[1:] if leads else found


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in folded if unicodedata.category(c) != "Cf")


def _pieces(text: str) -> Iterator[str]:
    for i, sign in enumerate(text):
        before = text[i - 1] if i else " "
        after = text[i + 1] if i + 1 < len(text) else " "
        category = unicodedata.category(sign)
        if category[0] in "LMN":
            yield f" {sign} " if _is_word_alone(sign, category) else sign
        elif sign in _APOSTROPHES:
            continue
        elif sign in _WORD_SIGNS or category in ("Sc", "So"):
            yield sign
        elif sign in ".," and before.isdigit() and after.isdigit():
            # 3.5 and 3,5 are not 35; 3,000 is 3000.
            yield "" if sign == "," and _THOUSAND.match(text, i + 1) else "."
        elif sign == "." and before.isalpha() and after.isalpha():
            continue
        elif sign in _HYPHENS and after.isdigit() and not before.isalnum():
            yield "-"
        else:
            yield " "


def _is_word_alone(sign: str, category: str) -> bool:
    return category == "Lo" and unicodedata.east_asian_width(sign) in "WF"


def _ends_sentence(text: str, begin: int, dot: int, *, final: bool) -> bool:
    after = text[dot + 1 : dot + 2]
    if not after:
        return final
    if not (after.isspace() or after in _CLOSERS):
        return False
    before = text[begin:dot].split()
    word = before[-1].strip("\"'“‘([«").casefold() if before else ""
    initials = word.isalpha() and len(word) == 1
    initials = initials or ("." in word and all(len(part) == 1 for part in word.split(".")))
    return not (initials or word in _ABBREVIATIONS)
