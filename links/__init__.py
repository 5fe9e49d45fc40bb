"""What both ends of a link do alike with their connection.

Not in `wire`, which does no I/O and is copied into authors' environments. Called by the
coordinator's end and the host's.
"""
