"""How a link begins: a coordinator says who it is, and a host who serves there.

Messages of a link; `messages` knows them all. With the first, a coordinator may
offer memory to hosts on its machine.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from wire.frames import Frame, encode_frame
from wire.heads import Kind, count, flag, mapped, pack, positive, text, unpack
from wire.tensor import Buffer


class Memory(NamedTuple):
    """Memory that a coordinator shares with hosts on its machine."""

    descriptor: int
    """Its number in the coordinator's process."""
    size_bytes: int


class Hello(NamedTuple):
    """Coordinator to host, first on a link."""

    name: str
    memory: Optional[Memory] = None
    proof: str = ""
    """That it knows the secret of links over TCP: see `credentials`."""

    def encode(self) -> List[Buffer]:
        head: Dict[str, Any] = {"name": self.name}
        if self.proof:
            head["proof"] = self.proof
        if self.memory is not None:
            head["memory"] = self.memory._asdict()
        return encode_frame(Kind.HELLO, 0, pack(head))

    @classmethod
    def decode(cls, frame: Frame) -> Hello:
        head = unpack(frame)
        memory = None
        if "memory" in head:
            offered = mapped(head, "memory")
            memory = Memory(count(offered, "descriptor"), positive(offered, "size_bytes"))
        proof = text(head, "proof") if "proof" in head else ""
        return cls(text(head, "name"), memory, proof)


class Ready(NamedTuple):
    """Host to coordinator, in answer to Hello: who serves here, and since which start."""

    model: str
    version: str
    replica: str
    epoch: int
    shares: bool = False
    """Whether it sees the memory that Hello offered."""

    def encode(self) -> List[Buffer]:
        return encode_frame(Kind.READY, 0, pack(self._asdict()))

    @classmethod
    def decode(cls, frame: Frame) -> Ready:
        head = unpack(frame)
        return cls(
            text(head, "model"),
            text(head, "version"),
            text(head, "replica"),
            count(head, "epoch"),
            flag(head, "shares") if "shares" in head else False,
        )
