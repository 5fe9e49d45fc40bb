"""The image tier: a photo's bytes in, the RGB arrays that models want out.

`decode` reads hostile bytes, `transforms` makes arrays of what was read, `model`
wears the author's contract around both, so that a minion serves them like any
other model. Knows Pillow, numpy, `minion.model` and `wire`; no queue, no socket,
no HTTP. Called by a worker process, one example at a time; the time that a
decode may take is the worker's keeper's to enforce.
"""
