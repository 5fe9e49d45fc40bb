"""Demitasse beside the servers that its users would pick instead, in the same run.

`python -m benchmarks.peers` starts each server in an environment of its own,
sends all of them the same bodies in interleaved rounds, and prints the tables
of docs/benchmarks.md. A folder per peer holds its server and its pinned
requirements. The modules that run in the peers' own environments are `task`,
`work`, `photo` and `resnet`, and the folders; they import nothing else of ours
but what a peer may be lent: the decoder of `preprocess`, and how `minion.frameworks` compiles.
"""
