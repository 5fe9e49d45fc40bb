"""The half of a minion that lives in the platform's environment: HTTP, link, queue, keeper.

Never imports a model. Whatever a worker does to itself, the queue is here.
"""
