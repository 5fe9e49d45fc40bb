"""Questions that the design depends on, each answered by one table.

Ratios within one run are what to trust: the machine is shared. `make bench`
compares ours with floors and limits; `make peers` with other servers.
"""
