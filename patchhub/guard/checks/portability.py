"""Does what follows from the edit follow?

``alias``: the subject by another name. ``reversed``: the inverse relation, asked of the new answer.
``one_hop``: a question whose answer passes through the edit (Yao et al. 2023, arXiv:2305.13172).
"""

from __future__ import annotations

from patchhub.guard.check import QuestionCheck, becomes, probes_of

CHECK = QuestionCheck(
    name="portability",
    version=1,
    summary="aliases, the reversed question and one-hop chains follow the edit",
    measures=("alias", "reversed", "one_hop"),
    asked=probes_of,
    trial=becomes,
)
