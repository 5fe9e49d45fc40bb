"""What becomes of a batch that did not run to its end.

Puts together what is known of its members: what is held against each (`poison`), which
inputs were convicted lately (`killers`), and how large a batch the memory allows
(`headroom`). Says who fails, and with what; everybody else runs again, in smaller
batches. Decides from facts and the time; `lane` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minion.host.batch import halve
from minion.host.examples import Example, Failed, Refused
from minion.host.headroom import Headroom
from minion.host.killers import Killers
from minion.host.poison import DETAILS, Loss, Suspicion, parts
from wire.batches import BatchFailure
from wire.errors import Code
from wire.tensor import Tensor

#: So soon before a deadline nobody may wait any more, and this process not know it yet.
UNSURE_SECONDS = 0.1

#: What those are told who must not be run again, and may have been to blame or not.
_ONCE = "the model's process ended while it worked on this, or on others with it: not run again"

#: The batches in which the members run again; or what each of them is told.
Judgement = list[list[Example]] | Failed


class Trial:
    """Judges the batches of one lane."""

    def __init__(self, *, pure: bool = True) -> None:
        """
        Args:
            pure: whether an example may be run twice. If not, whoever may have been is told so.
        """
        self._pure = pure
        self.killers = Killers()
        self.headroom = Headroom()

    def refuse_if_known(
        self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Any], now: float
    ) -> None:
        """At the door. To be asked while there are `killers`.

        Raises:
            Refused: these were convicted lately.
        """
        code = self.killers.recall(inputs, parameters, now)
        if code is not None:
            self.killers.refused[code] += 1
            raise Refused(code, f"{DETAILS[code]}: it is not tried again for a while")

    def known(self, example: Example, now: float) -> Failed | None:
        """What one is told, about to run, whose like was convicted after it had come."""
        if example.submitted > self.killers.latest:
            return None
        code = self.killers.recall(example.inputs, example.parameters, now)
        return None if code is None else Failed(code.value, DETAILS[code])

    def failed(self, members: list[Example], failure: BatchFailure, now: float) -> Judgement:
        """The model said that it failed."""
        if failure.code == Code.OUT_OF_MEMORY:
            if self._pure and len(members) == 1 and not members[0].lacked_memory:
                members[0].lacked_memory = True  # or somebody else had taken it
                return [members]
            self.headroom.ran_out(members)
        told = Failed(failure.code, failure.detail)
        if len(members) > 1:
            return halve(members) if self._pure else told
        return self._convicted(members[0], told, now)

    def lost(self, members: list[Example], loss: Loss, now: float) -> Judgement:
        """The process ended that ran them."""
        alone = len(members) == 1
        verdicts = [_suspicion(each).lost(loss, alone=alone) for each in members]
        code = verdicts[0]  # of one alone: in company there is none
        if code is None:
            return parts(members, loss) if self._pure else Failed(loss.code.value, _ONCE)
        return self._convicted(members[0], Failed(code.value, DETAILS[code]), now)

    def _convicted(self, example: Example, told: Failed, now: float) -> Failed:
        # Where nobody waits any more, the inputs may have been overwritten (docs/adr/0007).
        late = example.deadline is not None and now > example.deadline - UNSURE_SECONDS
        if told.code in DETAILS and example.settle is not None and not late:
            self.killers.remember(example.inputs, example.parameters, Code(told.code), now)
        return told


def _suspicion(example: Example) -> Suspicion:
    if example.suspicion is None:
        example.suspicion = Suspicion()
    return example.suspicion
