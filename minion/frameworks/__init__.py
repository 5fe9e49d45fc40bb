"""Ready-made bases on `minion.model.Model`, one module per framework.

A base loads weights, keeps to the threads and the device of the LoadContext and
turns a batch into a call of the network; an author overrides `preprocess` and
`postprocess` at most. Runs in the model's environment, from Python 3.9. A module
imports its framework and nobody else's; which one is in the environment is for
the package's requirements to say.
"""
