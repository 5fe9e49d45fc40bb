"""The HTTP edge: requests in, domain calls, answers and problem documents out.

Handlers translate and do nothing else. Whatever knows of `web.Request`, status
codes, headers or media types is in this room, and nothing else is: no routing
rules, no queues, no model's name. `coordinator.app` mounts it; nobody below
imports it.
"""
