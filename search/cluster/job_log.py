"""What a job prints, followed to its end."""

import time
from collections.abc import Callable

from hybridtune.search.cluster.job_server import INTERRUPTED, LOOK_SECONDS, JobServer, SilentServerError
from hybridtune.search.run.say import Say

BEGIN = "Running entrypoint for job "
"""What stands before it in the log is the job server's own."""
AGAIN_SECONDS = 3.0
LOST_SECONDS = 600.0
"""How long a server may be out of reach while somebody follows."""


def follow(server: JobServer, job_id: str, write: Callable[[str], None], say: Say) -> int:
    """Every line of the job once, from its first; returns its exit status. A connection that is lost is made again,
    and goes on where it was.

    write: takes a line without its end. Raises SilentServerError if the server stays out of reach for ten minutes.
    """
    lines = OwnLines(write)
    lost_since: float | None = None
    while True:
        try:
            lines.begin_again()
            for piece in server.log(job_id):
                lines.take(piece)
                if not piece:
                    # A connection that was cut is silent too.
                    server.job(job_id)
                lost_since = None
            job = server.job(job_id)
        except SilentServerError as error:
            if lost_since is None:
                lost_since = time.monotonic()
                say(f"{error}; {job_id} goes on there, and this tries again")
            if time.monotonic() - lost_since > LOST_SECONDS:
                raise
            time.sleep(AGAIN_SECONDS)
            continue
        if job.exit_status is not None:
            lines.end()
            if job.exit_status not in (0, INTERRUPTED) and not lines.begun:
                write(f"hybridtune: {job_id} did not begin: {' '.join(job.message.split())}")
            return job.exit_status
        time.sleep(LOOK_SECONDS)


class OwnLines:
    """The job's own lines, put together from pieces of its log, which may be read from its beginning again."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.begun = False
        self._rest = ""
        self._seen = self._to_skip = 0

    def begin_again(self) -> None:
        self._to_skip = self._seen

    def take(self, piece: str) -> None:
        new = piece[self._to_skip :]
        self._to_skip = max(0, self._to_skip - len(piece))
        self._seen += len(new)
        *whole, self._rest = (self._rest + new).split("\n")
        for line in whole:
            if self.begun:
                self._write(line)
            self.begun = self.begun or line.startswith(BEGIN)

    def end(self) -> None:
        if self.begun and self._rest:
            self._write(self._rest)
