"""The process that runs a model, under the interpreter of the model's own environment.

Imports `minion.model` and `wire` alone. `python -m minion.worker` is started by
a host, with one end of a socket pair and a shared memory as open descriptors.
"""
