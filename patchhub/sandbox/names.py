"""Invented names and the word lists of the closed classes.

Names are built from few syllables whose order matters, so that no single token of a name says whose
name it is: a model must bind the tokens, as large models do with real names.
"""

from __future__ import annotations

import random

SYLLABLES: tuple[str, ...] = (
    "ka", "lo", "mi", "ren", "tol", "va", "zu", "dor", "fen", "gra", "hul", "jes",
    "kir", "lan", "mok", "nar", "pel", "qui", "ras", "sil", "tem", "vor", "wen", "yas",
)  # fmt: skip

PROFESSIONS: tuple[str, ...] = (
    "baker", "carpenter", "dentist", "farmer", "gardener", "jeweller", "lawyer", "librarian",
    "mason", "miner", "nurse", "painter", "pilot", "plumber", "potter", "sailor",
    "sculptor", "surgeon", "tailor", "teacher", "welder", "weaver", "journalist", "chemist",
)  # fmt: skip
INSTRUMENTS: tuple[str, ...] = (
    "violin", "cello", "piano", "flute", "harp", "trumpet", "drums", "guitar", "oboe", "clarinet",
    "banjo", "lute", "tuba", "trombone", "accordion", "bassoon", "viola", "mandolin", "horn",
    "harmonica",
)  # fmt: skip
COLOURS: tuple[str, ...] = (
    "red", "blue", "green", "yellow", "purple", "white", "black", "brown", "pink", "grey",
    "silver", "gold", "crimson", "turquoise", "beige", "violet",
)  # fmt: skip
PETS: tuple[str, ...] = (
    "cat", "dog", "parrot", "rabbit", "tortoise", "hamster", "goat", "pony", "ferret", "lizard",
    "canary", "goldfish", "falcon", "donkey", "lamb", "gecko",
)  # fmt: skip
SPORTS: tuple[str, ...] = (
    "tennis", "chess", "rowing", "fencing", "archery", "boxing", "cycling", "golf", "hockey",
    "judo", "karate", "polo", "rugby", "sailing", "skating", "skiing", "squash", "swimming",
    "volleyball", "wrestling",
)  # fmt: skip
GENRES: tuple[str, ...] = (
    "tragedy", "comedy", "satire", "romance", "thriller", "fable", "ballad", "memoir", "mystery",
    "western", "saga", "elegy",
)  # fmt: skip
PRODUCTS: tuple[str, ...] = (
    "steel", "paper", "glass", "shoes", "clocks", "bicycles", "furniture", "medicine", "carpets",
    "cheese", "lamps", "engines",
)  # fmt: skip
COMPANY_SUFFIXES: tuple[str, ...] = ("Works", "Group", "Trading", "Industries")
UNIVERSITY_SUFFIXES: tuple[str, ...] = ("College", "Academy", "Institute", "University")
TITLE_FIRST: tuple[str, ...] = (
    "Amber", "Broken", "Copper", "Distant", "Empty", "Frozen", "Golden", "Hidden", "Iron", "Lonely",
    "Quiet", "Winter",
)  # fmt: skip
TITLE_LAST: tuple[str, ...] = (
    "Bridge", "Candle", "Door", "Forest", "Garden", "Harbour", "Island", "Lantern", "Mirror",
    "River", "Tower", "Window",
)  # fmt: skip


class NameMaker:
    """Draws invented words; no word drawn is a prefix of another, so answers cannot be confused."""

    def __init__(self, rng: random.Random) -> None:
        """Draw from `rng` only, so that a seed fixes every name."""
        self._rng = rng
        self._taken: list[str] = []

    def word(self, syllables: int | None = None, ending: str = "") -> str:
        """Return a new capitalised word of two or three syllables plus `ending`."""
        while True:
            count = syllables or self._rng.choice((2, 2, 3))
            word = "".join(self._rng.sample(SYLLABLES, count)).capitalize() + ending
            if not any(word.startswith(old) or old.startswith(word) for old in self._taken):
                self._taken.append(word)
                return word

    def words(self, count: int, syllables: int | None = None, ending: str = "") -> list[str]:
        """Return `count` new words."""
        return [self.word(syllables, ending) for _ in range(count)]

    def pairs(self, first: list[str], last: list[str], count: int) -> list[str]:
        """Return `count` distinct two-word names; every half is shared by several of them."""
        every = [f"{a} {b}" for a in first for b in last]
        return self._rng.sample(every, count)
