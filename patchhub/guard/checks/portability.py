"""Does what follows from the edit follow?

``alias``: the subject by another name. ``reversed``: the inverse relation, asked of the new answer.
``one_hop``, ``two_hop``: questions whose answer passes through the edit and one, or several, other
facts (Yao et al. 2023, arXiv:2305.13172; MQuAKE, Zhong et al. 2023, arXiv:2305.14795).
``logical``: what the relation's own rules add (RippleEdits, Cohen et al. 2024, arXiv:2307.12976).
A probe counts only where the unedited model knows the other facts that it names as given.
"""

from __future__ import annotations

from patchhub.guard.check import QuestionCheck, becomes
from patchhub.guard.questions import probes_of

CHECK = QuestionCheck(
    name="portability",
    version=2,
    summary="aliases, the reversed question, chains and logic follow the edit",
    measures=("alias", "reversed", "one_hop", "two_hop", "logical"),
    asked=probes_of,
    trial=becomes,
)
