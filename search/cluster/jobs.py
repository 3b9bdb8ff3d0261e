"""Commands as jobs of a Ray cluster: what goes along, and which job works on a run already."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.search.cluster.job_log import follow
from hybridtune.search.cluster.job_server import Job, JobServer
from hybridtune.search.cluster.package import package
from hybridtune.search.run.datasets import is_url, keep_of_run
from hybridtune.search.run.location import locate, name_digest
from hybridtune.search.run.opening import exists, refuse_existing_run
from hybridtune.search.run.s3_place import S3Place
from hybridtune.search.run.say import Progress, Say


@dataclass(frozen=True)
class Command:
    """Of `hybridtune`, for a cluster."""

    name: str
    arguments: Sequence[str]
    run: str | None = None
    """The run that it works on, as its one driver."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """What lies in the folder where it runs, by name."""

    @property
    def line(self) -> list[str]:
        return ["python", "-m", "hybridtune", self.name, *self.arguments]


def submit(server: JobServer, command: Command) -> str:
    """Starts it; returns the job's id. Raises InputError if a job works on its run already."""
    with package(command.files) as code:
        job_id = f"ht-{command.name}-{secrets.token_hex(4)}"
        if command.run is not None:
            refuse_worked_on(server, command.run)
            # Two that are submitted at once get one id, of which the server takes but one.
            job_id = f"ht-{name_digest(command.run)}-{len(server.jobs_of(command.run)) + 1}"
        if not server.submit(job_id, command.line, code, command.run):
            raise InputError(f"{job_id} has just begun to work on {command.run}: `hybridtune resume` follows it")
    return job_id


def working_on(server: JobServer, run: str) -> Job | None:
    return next((job for job in server.jobs_of(run) if job.exit_status is None), None)


def refuse_worked_on(server: JobServer, run: str) -> None:
    job = working_on(server, run)
    if job is not None:
        raise InputError(
            f"{job.id} works on {run}: `hybridtune resume {run} --address {server.url}` follows it, `hybridtune stop` "
            "with the same stops it"
        )


def name_there(run: str) -> str:
    """What the cluster calls a run. Raises InputError for a path that is this process's alone."""
    # A path's name is what was typed: written in two ways it would be two runs.
    return locate(absolute_there(run) if is_url(run) else str(Path(absolute_there(run)))).name


def absolute_there(path: str) -> str:
    """Raises InputError for a relative path: the cluster's hosts have other folders."""
    if not is_url(path) and not Path(path).is_absolute():
        raise InputError(f"{path} would be a path of the cluster's hosts: make it absolute, or use s3://bucket/prefix")
    return path


def dataset_there(dataset: str, run: str, progress: Progress, *, or_resume: bool) -> str:
    """What the cluster calls the dataset: one of this host is kept beside its run first, if that is in a bucket.

    Raises InputError if there is no such dataset, or if the run exists; nothing is kept then.
    """
    location = locate(run)
    if is_url(dataset) or not isinstance(location.place, S3Place):
        return absolute_there(dataset)
    if or_resume and exists(location):
        return dataset
    refuse_existing_run(location)
    opened = Dataset(Path(dataset))
    opened.verify()
    return f"{location.place}/{keep_of_run(location.place, opened, progress)}"


def run_to_end(server: JobServer, command: Command, write: Callable[[str], None], say: Say) -> int:
    """A command that does not work on a run, which ends with whoever asked; returns its exit status."""
    job_id = submit(server, command)
    try:
        return follow(server, job_id, write, say)
    except KeyboardInterrupt:
        server.stop(server.job(job_id))
        raise
