"""Who starts the processes: this machine's supervisor today, others beside it later.

A deployment starts coordinators and hosts and keeps the hosts' leases in the
registry; coordinators find the hosts there, whoever started them.
"""
