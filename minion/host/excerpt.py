"""What is kept of all that a worker prints: so many bytes a second, in lines that do no harm.

Pure: bytes and the time in, lines out. What is too much is counted, and one line
says how much it was. Asked by `output`, which reads the pipe.
"""

from __future__ import annotations

#: Tracebacks come whole, a progress bar goes on, and a day of prints without end is 1.4 GB
#: that the log's own limit cuts.
BURST_BYTES = 64 * 1024
BYTES_PER_SECOND = 16 * 1024
#: Of a line's time and level in the log: what empty lines cost, too.
LINE_BYTES = 64
MAX_LINE_BYTES = 2000
#: For so long nothing is kept once it was too much, so that few lines tell of that.
SHUT_SECONDS = 1.0


def harmless(line: bytes) -> str:
    """A line for a log: nothing in it moves a cursor, hides text or begins another line."""
    text = line.decode("utf-8", "backslashreplace").expandtabs(4)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Excerpt:
    """The lines of one worker that are worth keeping."""

    def __init__(self, now: float) -> None:
        self.dropped_bytes = 0
        """That nobody was told of yet."""
        self._allowance = float(BURST_BYTES)
        self._filled = now
        self._shut_until = now
        self._line = bytearray()
        self._beyond = 0  # what its end was longer

    def shut(self, now: float) -> bool:
        """Whether nothing is kept now: the bytes need not even be looked at."""
        return now < self._shut_until

    def feed(self, data: bytes, now: float) -> list[str]:
        """The next bytes; the lines that they complete, as far as they are kept."""
        if self.shut(now):
            self.drop(len(data))
            return []
        self._fill(now)
        lines = self.told(now)
        pieces = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for number, piece in enumerate(pieces):
            if self._allowance <= 0:
                self._shut_until = now + SHUT_SECONDS
                self.drop(sum(map(len, pieces[number:])) + len(pieces) - number - 1)
                break
            self._append(piece)
            if number < len(pieces) - 1:
                lines += self._completed()
        return lines

    def drop(self, count: int) -> None:
        """So many bytes more came, and were thrown away."""
        self.dropped_bytes += count + len(self._line) + self._beyond
        self._line.clear()
        self._beyond = 0

    def told(self, now: float) -> list[str]:
        """A line on what was dropped, if there is something to tell by now."""
        if not self.dropped_bytes or self.shut(now):
            return []
        dropped, self.dropped_bytes = self.dropped_bytes, 0
        return [f"({dropped} bytes that it printed were dropped)"]

    def end(self) -> list[str]:
        """Nothing more will come: the last line, which has no end, and what was dropped."""
        return self._completed() + self.told(self._shut_until)

    def _fill(self, now: float) -> None:
        earned = (now - self._filled) * BYTES_PER_SECOND
        self._allowance = min(self._allowance + earned, float(BURST_BYTES))
        self._filled = now

    def _append(self, piece: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._line)
        self._line += piece[:room]
        self._beyond += max(len(piece) - room, 0)
        self._allowance -= len(piece)  # what is cut costs, too: it has to be read

    def _completed(self) -> list[str]:
        self._allowance -= LINE_BYTES
        line, beyond = bytes(self._line), self._beyond
        self._line.clear()
        self._beyond = 0
        if not line:
            return []
        return [harmless(line) + (f" ({beyond} bytes more)" if beyond else "")]
