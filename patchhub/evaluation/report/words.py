"""Names of numbers as the survey has them, and what each means in one line."""

from __future__ import annotations

from patchhub.evaluation.records import ACCURACY, COLLAPSED, MAGNITUDE, UNEDITED
from patchhub.evaluation.summary.lines import OLD, WRONG, S
from patchhub.scoring.protocols import Protocol

_HEADINGS = {
    "reliability.target": "reliability",
    "generalization.paraphrase": "generalization",
    "generalization.made": "made paraphrase",
    "locality.base": "base questions",
    S: "S",
}

ROME = {
    "ES": ("reliability.target", ACCURACY),
    "EM": ("reliability.target", MAGNITUDE),
    "PS": ("generalization.paraphrase", ACCURACY),
    "PM": ("generalization.paraphrase", MAGNITUDE),
    "NS": ("locality.neighbourhood", ACCURACY),
    "NM": ("locality.neighbourhood", MAGNITUDE),
}
"""ROME's names for what is compared by likelihood."""

PROTOCOLS = {
    Protocol.TEACHER_FORCED: "teacher-forced",
    Protocol.LIKELIHOOD: "likelihood",
    Protocol.GENERATION: "generation",
    Protocol.INSTRUCTION: "generation + instruction",
}

LEGEND = (
    ("[low, high]", "95 % interval: Wilson's where every case is right or wrong, else a bootstrap "
     "over the edits. Shares are in hundredths."),
    ("teacher-forced", "share of the answer's tokens that are the most likely ones when the true "
     "tokens before them are given; it flatters, since the model never has to go on by itself."),
    ("likelihood", "whether the right answer is more likely than one rival; a coin gets 50, so "
     "here 50 is failure, not half of success."),
    ("generation", "greedy decoding to a natural stop, normalised exact match with any accepted "
     "answer: what a user sees."),
    ("generation + instruction", "the same behind an instruction to answer briefly."),
    ("reliability", "the edit's own prompt gets the new answer."),
    ("generalization", "so do paraphrases of it; a “made paraphrase” is the prompt behind neutral "
     "sentences."),
    ("locality (agreement)", "the answer is the unedited model's, right or wrong; near to far: "
     "other relation (same subject), neighbourhood (the same relation, other subjects), distractor "
     "(a neighbour behind the edited statement), unrelated and base questions."),
    ("locality (gold)", "of what the unedited model knew, the share that the edited one says."),
    ("portability", "what follows from the edit: the subject by an alias, the reversed question, "
     "one hop, two hops; where a precondition is given, only if the unedited model meets it."),
    ("ES, PS, NS", "by likelihood: the edit, its paraphrases, its neighbours; EM, PM, NM are the "
     "differences of probability, S the harmonic mean of ES, PS and NS (ROME)."),
    (WRONG, "only edits that the unedited model got wrong, by the same protocol."),
    (OLD, "only edits whose old fact the unedited model knew, by the same protocol."),
    (UNEDITED, "the model as it is: what an edit has to beat, and what locality starts from."),
    (COLLAPSED, "random next tokens: about 50 by likelihood, nothing otherwise; a method near it "
     "has destroyed the model."),
    ("(joint)", "every edit is solved together with all before it, on the bare model, and one "
     "patch stands for all of them; otherwise each edit is a patch upon those before."),
    ("refused", "edits that a method declined, by the code of its error; the model was then asked "
     "as it was, so they count as failures."),
)  # fmt: skip
"""What the words in the tables mean."""


def heading(measure: str) -> str:
    """A measure as the head of a column."""
    return _HEADINGS.get(measure, measure.partition(".")[2].replace("_", " "))


def said(protocol: str) -> str:
    """A protocol in words."""
    return {key.value: word for key, word in PROTOCOLS.items()}.get(protocol, protocol)
