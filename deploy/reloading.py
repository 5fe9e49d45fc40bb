"""Which settings a platform that runs can take over, as a pure comparison.

All or nothing: where one of those that have changed is fixed, none is taken over.
"""

from __future__ import annotations

from coordinator.config import SETTINGS, Settings

#: What processes other than coordinators were started with, or what sockets and files hang on.
FIXED = frozenset(
    {
        *("home", "host", "port", "admin_host", "admin_port", "processes", "database_url"),
        *("decoder_workers", "decode_timeout", "decode_cpu", "max_image_pixels"),
        *("worker_starts", "templates"),
    }
)


class NotReloaded(Exception):
    """The platform goes on with the settings of before; the text says why."""


def changed(before: Settings, after: Settings) -> list[str]:
    """The names of the settings that are not what they were.

    Raises:
        NotReloaded: some of them are fixed.
    """
    names = [name for name in SETTINGS if getattr(before, name) != getattr(after, name)]
    fixed = [name for name in names if name in FIXED]
    if fixed:
        raise NotReloaded(
            f"{', '.join(fixed)} cannot change while the platform runs; nothing was taken over. "
            "Stop `demitasse up` and start it again, or put back what it was"
        )
    return names
