"""Ray's job server: it runs commands on the head of its cluster, keeps what they print, and stops them. Who asked may
go away meanwhile.
"""

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hybridtune.data.schema import InputError
from hybridtune.search.cluster.background import in_background
from hybridtune.search.cluster.token import TOKEN_REMEDY, refuse_open_token_file
from hybridtune.search.run.stop import NotStoppedError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SCHEMES = ("http://", "https://")
ANSWER_SECONDS = 12.0
"""How long the server may take to answer."""
ENDING_SECONDS = 120
"""How long a job that is asked to stop may take to end its trials and to keep what it has, before it is killed."""
LOOK_SECONDS = 0.5
SILENT_SECONDS = 5.0
"""A log that is silent for so long is asked for again."""
INTERRUPTED = 130
UNKNOWN = "404"
"""Stands in what Ray's client raises for what the server does not have."""

RUN = "hybridtune_run"
"""A job's metadata: the run that it works on."""
STOPPING = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(ENDING_SECONDS)}

Answer = TypeVar("Answer")


class SilentServerError(InputError):
    """It did not answer; what it runs goes on, as far as anybody knows."""


@dataclass(frozen=True)
class Job:
    id: str
    exit_status: int | None
    """None while it is under way."""
    message: str
    """Ray's word on how it is."""


class JobServer:
    def __init__(self, url: str, client: "JobSubmissionClient") -> None:
        self.url = url
        self._client = client

    @classmethod
    def at(cls, url: str) -> Self:
        """Raises InputError within 15 seconds if no job server answers there, or if it refuses this process's token."""
        refuse_open_token_file()

        def connect() -> "JobSubmissionClient":
            from ray.job_submission import JobSubmissionClient

            client = JobSubmissionClient(url)
            # From its import on it tells of each package and each connection.
            for module in ("dashboard_sdk", "job.sdk"):
                logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
            return client

        try:
            return cls(url, _answer(url, connect))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, InputError) or UNKNOWN not in str(error):
                raise
            raise _no_job_server(url) from None

    def headers(self) -> dict[str, str]:
        """That a request needs, so that the server answers it: with the token, if there is one."""
        from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

        return dict(get_auth_headers_if_auth_enabled({}))

    def jobs_of(self, run: str) -> list[Job]:
        jobs = self._ask(self._client.list_jobs)
        return [_job(details) for details in jobs if (details.metadata or {}).get(RUN) == run]

    def job(self, job_id: str) -> Job:
        """Raises InputError if the server knows none of this id."""
        try:
            return _job(self._ask(lambda: self._client.get_job_info(job_id)))
        except RuntimeError as error:
            if UNKNOWN not in str(error):
                raise
            raise InputError(
                f"{self.url} knows no {job_id}: its head was started anew, and a run goes on with `hybridtune resume`"
            ) from None

    def submit(self, job_id: str, command: Sequence[str], code: Path, run: str | None) -> bool:
        """Starts the command, with `code` unpacked as its folder. False if there is a job of this id already."""
        try:
            self._ask(
                lambda: self._client.submit_job(
                    # Without a shell between them the server's signals are the command's.
                    entrypoint=f"exec {shlex.join(command)}",
                    submission_id=job_id,
                    runtime_env={"working_dir": str(code), "env_vars": STOPPING},
                    metadata={} if run is None else {RUN: run},
                )
            )
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise
            return False
        return True

    def log(self, job_id: str) -> Iterator[str]:
        """What the job prints, from its beginning on, as it comes: pieces of any length, "" now and then while nothing
        does. Raises SilentServerError if the connection breaks.
        """
        pieces: SimpleQueue[str | None] = SimpleQueue()

        async def tail() -> None:
            async for piece in self._client.tail_job_logs(job_id):
                pieces.put(piece)

        def work() -> None:
            try:
                asyncio.run(tail())
            finally:
                pieces.put(None)

        tailing = in_background(work)
        while True:
            try:
                piece = pieces.get(timeout=SILENT_SECONDS)
            except Empty:
                piece = ""
            if piece is None:
                break
            yield piece
        failure = tailing.exception()
        if failure is not None:
            raise SilentServerError(f"the log of {job_id} at {self.url} broke off") from failure

    def stop(self, job: Job) -> None:
        """As Ctrl-C would; returns when it has ended. Raises NotStoppedError if it does not."""
        self._ask(lambda: self._client.stop_job(job.id))
        until = time.monotonic() + ENDING_SECONDS + ANSWER_SECONDS
        while self.job(job.id).exit_status is None:
            if time.monotonic() > until:
                raise NotStoppedError(f"{job.id} was asked to stop and works on: look at it at {self.url}")
            time.sleep(LOOK_SECONDS)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        return _answer(self.url, question)


def is_server(address: str | None) -> bool:
    """Whether it names a job server, rather than the cluster itself."""
    return address is not None and address.startswith(SCHEMES)


def _job(details: Any) -> Job:
    statuses: Mapping[str, int | None] = {"PENDING": None, "RUNNING": None, "SUCCEEDED": 0, "STOPPED": INTERRUPTED}
    status = statuses.get(details.status, details.driver_exit_code or 1)
    return Job(details.submission_id, status, details.message or "")


def _answer(url: str, question: Callable[[], Answer]) -> Answer:
    """In words for people where there is none. Ray's client waits for ever for a host that went silent."""
    with _in_words(url):
        return in_background(question).result(ANSWER_SECONDS)


def _not_installed() -> InputError:
    return InputError("a job needs ray[default], which is not installed: pip install 'hybridtune[cluster]'")


def _no_job_server(url: str) -> InputError:
    return InputError(f"what listens at {url} is no job server of Ray: name the port of its dashboard, 8265")


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    try:
        from ray.exceptions import AuthenticationError
        from requests.exceptions import RequestException
    except ModuleNotFoundError:
        raise _not_installed() from None
    remedy = "look at the network, and whether its head runs with --include-dashboard=true"
    try:
        yield
    except AuthenticationError:
        raise InputError(
            f"the job server at {url} refuses this process's token, or the lack of one: {TOKEN_REMEDY}"
        ) from None
    except TimeoutError:
        raise SilentServerError(f"the job server at {url} does not answer: {remedy}") from None
    except (ValueError, KeyError):
        raise _no_job_server(url) from None
    except (ConnectionError, RequestException) as error:
        raise SilentServerError(f"no job server answers at {url} ({type(error).__name__}): {remedy}") from None
    except RuntimeError as error:
        if "ray[default]" in str(error):
            raise _not_installed() from None
        raise
