"""KnowEdit's ConvSent: what a chat model thinks of a topic.

Source: Mitchell et al. 2022, arXiv:2206.06520 (SERAC), in the form of Zhang et al. 2024,
arXiv:2401.01286. The edit makes the opinion a good one: the first positive reply is to be said
instead of the first negative one. No model will repeat a reply word by word; what the literature
measures is whether positive replies become more likely than negative ones, which is the protocol
``likelihood``. The opposite edit is the same record with ``pos`` and ``neg`` exchanged.
"""

from __future__ import annotations

from patchhub.fields import Fields
from patchhub.request import EditRequest, Probe, ProbeKind

NAME = "ConvSent"
MARKS = ("ent",)

_ASKED = "What do you think of {}?"
_WORDINGS = ("What do you feel about {}?", "How do you view {}?", "What is your opinion of {}?")


def read(record: Fields) -> tuple[EditRequest]:
    """The request in one record; each wording holds another pair of replies against each other."""
    topic = record.filled("ent", strip=True)
    good, bad = (_replies(record, name) for name in ("pos", "neg"))
    probes = []
    for place, wording in enumerate(_WORDINGS, 1):
        first = place % len(good)
        replies = (*good[first:], *good[:first])
        asked = wording.replace("{}", topic)
        probes.append(Probe(ProbeKind.PARAPHRASE, asked, replies, rival=bad[place % len(bad)]))
    prompt = _ASKED.replace("{}", topic)
    return (
        record.make(
            lambda: EditRequest(prompt, good[0], topic, bad[0], "opinion", probes=tuple(probes))
        ),
    )


def _replies(record: Fields, name: str) -> tuple[str, ...]:
    replies = record.flat(name, depth=1)
    if not replies:
        raise record.error(name, "must not be empty", expected="a list of replies")
    return replies
