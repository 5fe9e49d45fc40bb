"""What crosses a process border, and what ends a process with another; nothing else.

Frames, messages and tensors as plain values: no socket, no clock, no await.
Needs the standard library, numpy and msgpack, and runs on every Python that a
model may bring (3.9 and later). Imports nobody. `docs/wire.md` describes the
bytes well enough to write a minion in another language; `tests/wire/golden`
pins them.
"""
