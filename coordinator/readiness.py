"""Whether this coordinator can do what is expected of it, and what it waits for.

`/readyz` says it to load balancers; a coordinator that was just started asks
before it takes its first connection.
"""

from __future__ import annotations

import asyncio

from coordinator.analysis import Analysis
from coordinator.fleet import Fleet

_LOOK_SECONDS = 0.01


class Readiness:
    """Of one process."""

    def __init__(self, analysis: Analysis, fleet: Fleet) -> None:
        self._analysis = analysis
        self._fleet = fleet

    def models(self) -> dict[str, bool]:
        """Those that `/analyze` asks, and whether they answer."""
        return {
            name: self._fleet.ready(version.model, version.version)
            for name, version in self._analysis.marked().items()
        }

    def missing(self) -> list[str]:
        """What would have to answer for this process to be ready; nothing where it is.

        The image tier, and at least one of those models.
        """
        decoder, models = self._analysis.decoder_ready(), self.models()
        if decoder and (not models or any(models.values())):
            return []
        return [name for name, ready in {"decoder": decoder, **models}.items() if not ready]

    async def linked(self, within_seconds: float) -> None:
        """Until every replica that is listed has said how it is, or the time is over.

        Requests that came before would be told that models are not served which are.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_seconds
        while loop.time() < until:
            if all(replica.status is not None for replica in self._fleet.all()):
                return
            await asyncio.sleep(_LOOK_SECONDS)
