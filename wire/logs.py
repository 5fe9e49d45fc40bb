"""A log line as one JSON object, whatever is in it.

What callers send gets into logs: in JSON no line ends early, nothing is taken
for another line, and no terminal obeys it. Long texts are cut. For every
process of the platform; the standard library alone.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Dict

#: Characters of a message, and of one fact beside it.
MAX_MESSAGE = 2000
MAX_FACT = 500
#: Of a traceback, its end is what matters.
MAX_TRACEBACK = 8000


def log_as_json(level: str) -> None:
    """Has this process log one JSON object per line, on stderr.

    Args:
        level: the least that is logged, such as `info`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)


class JsonLines(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`; `error` has a traceback.

    What is logged with `extra={"facts": {...}}` stands beside these, by its own names.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: Dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(_message(record), MAX_MESSAGE),
        }
        for name, value in getattr(record, "facts", {}).items():
            line.setdefault(name, _cut(value, MAX_FACT) if isinstance(value, str) else value)
        if record.exc_info:
            text = self.formatException(record.exc_info)
            line["error"] = text if len(text) <= MAX_TRACEBACK else "... " + text[-MAX_TRACEBACK:]
        return json.dumps(line, default=str)  # ASCII: lone surrogates and line separators too


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a wrong number of arguments is no reason to lose the line
        return str(record.msg)


def _utc(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + f"... ({len(text)} characters)"
