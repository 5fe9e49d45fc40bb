"""One model version, served: the author's contract, the worker that runs it, the host that queues.

`model`, `worker` and `frameworks` live in the model's own environment and need
numpy and msgpack; `host` lives in the platform's.
"""
