"""Commands that run on a Ray cluster, as jobs of it, where --address names its job server."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from hybridtune.data.schema import InputError
from hybridtune.search.cli.console import out, stopwatch_lines

if TYPE_CHECKING:
    import typer

    from hybridtune.search.cluster.job_server import JobServer
    from hybridtune.search.cluster.jobs import Command

JOINING = ("launch", "resume", "prepare")
"""Those that join the cluster where they run; the others read what a run has."""
DRIVING = ("launch", "resume")


class JobCommand(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        from hybridtune.search.cluster.job_server import JobServer, is_server

        address = ctx.params["address"]
        if not is_server(address):
            return super().invoke(ctx)
        # Both are of this terminal, and not of the job's: of a job there are plain lines.
        ctx.params.pop("quiet", None)
        if ctx.params.pop("dashboard", False):
            beside = f"hybridtune dashboard {ctx.params['run']} --address {address}"
            raise InputError(f"`{beside}` shows a job's run, in another terminal: leave --dashboard out")
        server = JobServer.at(address)
        if self.name == "stop":
            return _stop(server, ctx.params["run"])
        # The job's own last line has been printed: there is no more to say.
        raise SystemExit(_drive(server, self, ctx) if self.name in DRIVING else _run(server, _command(self, ctx)))


def _drive(server: "JobServer", command: TyperCommand, ctx: "typer.Context") -> int:
    """Submits what works on a run, or finds the job that does already, and follows it."""
    from hybridtune.search.cluster.job_log import follow
    from hybridtune.search.cluster.job_server import INTERRUPTED
    from hybridtune.search.cluster.jobs import name_there, refuse_worked_on, submit, working_on

    say = stopwatch_lines(out)
    run = name_there(ctx.params["run"])
    if _asks_for_more(command, ctx):
        refuse_worked_on(server, run)
    job = working_on(server, run)
    if job is not None:
        job_id = job.id
        say(f"{job_id} works on {run}: following it")
    else:
        job_id = submit(server, _command(command, ctx))
        say(f"{job_id} works on {run} now; Ctrl-C leaves it to itself")
    try:
        return follow(server, job_id, _write, say)
    except KeyboardInterrupt:
        _write(
            f"hybridtune: {job_id} goes on: `hybridtune resume {run} --address {server.url}` follows it, "
            "`hybridtune stop` with the same stops it"
        )
        return INTERRUPTED


def _run(server: "JobServer", command: "Command") -> int:
    from hybridtune.search.cluster.jobs import run_to_end

    return run_to_end(server, command, _write, stopwatch_lines(out))


def _stop(server: "JobServer", run: str) -> None:
    from hybridtune.search.cluster.jobs import name_there, working_on

    name = name_there(run)
    job = working_on(server, name)
    if job is None:
        raise InputError(f"no job of {server.url} works on {name}: `hybridtune resume` goes on with it")
    server.stop(job)
    out.print(f"stopped: {job.id}; `hybridtune resume {name} --address {server.url}` goes on")


def _command(command: TyperCommand, ctx: "typer.Context") -> "Command":
    """As it is to be run there: its paths are the cluster's, but for what goes along."""
    from hybridtune.search.cluster.jobs import Command, absolute_there, dataset_there, name_there
    from hybridtune.search.run.say import said

    assert command.name is not None
    values, files = dict(ctx.params), {}
    values["address"] = "auto" if command.name in JOINING else None
    if "run" in values:
        values["run"] = name_there(values["run"])
    if command.name == "launch":
        space = Path(values["space"])
        if space.is_file():
            files[space.name] = space
            values["space"] = space.name
        values["dataset"] = dataset_there(
            values["dataset"], values["run"], said(out.print, "the dataset"), or_resume=values["or_resume"]
        )
    elif "dataset" in values:
        absolute_there(values["dataset"])
    for value in values.values():
        if isinstance(value, Path):
            absolute_there(str(value))
    run = values["run"] if command.name in DRIVING else None
    return Command(command.name, _arguments(command, values), run, files)


def _asks_for_more(command: TyperCommand, ctx: "typer.Context") -> bool:
    """Than to go on with the run as it is: a job that works on it already would not do that."""
    if command.name == "launch":
        return not ctx.params["or_resume"]
    return _arguments(command, ctx.params | {"run": None, "address": None}) != []


def _arguments(command: TyperCommand, values: dict[str, Any]) -> list[str]:
    """As they would be typed; what has its default is left out."""
    options, positional = [], []
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if value is None or value is False:
            continue
        if parameter.param_type_name == "argument":
            positional.append(str(value))
        elif value is True:
            options.append(parameter.opts[0])
        elif value != parameter.default:
            options += [parameter.opts[0], str(value)]
    return [*options, *(["--", *positional] if positional else [])]


def _write(line: str) -> None:
    """Where the command that printed it would have."""
    print(line, file=sys.stderr if line.startswith("hybridtune: ") else sys.stdout, flush=True)
