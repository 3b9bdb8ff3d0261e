"""The command line: arguments in, one call to a stage, words and an exit status out. No logic.

Exit status: 0 done; 2 bad arguments or input, with one line on stderr; 130 interrupted; 1 anything else.
Stages are imported when their command runs: help and mistakes answer at once.
"""

import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from hybridtune.data.schema import (
    InputError,
)
from hybridtune.search.cli.bundle_commands import export, predict
from hybridtune.search.cli.console import out
from hybridtune.search.cli.data_commands import prepare, synth
from hybridtune.search.cli.demo_command import demo
from hybridtune.search.cli.job_command import JobCommand
from hybridtune.search.cli.run_commands import compare, dashboard, doctor, launch, replay, report, resume, status, stop
from hybridtune.search.cli.space_commands import show

if TYPE_CHECKING:
    from pydantic import ValidationError


AGAIN_SECONDS = 0.1
COMMANDS = (
    *(demo, synth, prepare, launch, resume, stop, status, dashboard, replay, report, compare),
    *(export, predict, doctor),
)
ANYWHERE = (prepare, launch, resume, stop, status, replay, report, export)
"""Those that a cluster can run for somebody who is none of its hosts."""
INTERRUPTED = 130

app = typer.Typer(
    help="Hyperparameter search for models of many short price series.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command(cls=JobCommand if command in ANYWHERE else None)(command)
spaces_app = typer.Typer(help="Search spaces.", rich_markup_mode=None)
spaces_app.command()(show)
app.add_typer(spaces_app, name="space")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"hybridtune {version('hybridtune')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hyperparameter search for models of many short price series."""


def main() -> None:
    """Entry point of `hybridtune`."""
    # --debug is taken out here, so that it may stand before or after the command.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # A polite kill ends a command as Ctrl-C does: what is half-written is taken away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again
    sys.exit(_run(arguments, debug))


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """A Ctrl-C that came while Python ran a finalizer is printed and forgotten otherwise, and the command goes on."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    # Raised right here it would be lost again.
    threading.Timer(AGAIN_SECONDS, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()


def _run(arguments: list[str], debug: bool) -> int:
    from pydantic import ValidationError

    try:
        # Typer's non-standalone mode returns the status of a help page or an interrupt instead of leaving.
        code = app(arguments or ["--help"], prog_name="hybridtune", standalone_mode=False)
    except typer.TyperException as error:
        command = next((name for name in arguments if name in {known.__name__ for known in COMMANDS}), "")
        return _fail(f"{error.format_message()} (`hybridtune {command} --help` lists what it takes)", 2, debug)
    except (InputError, ValidationError) as error:
        return _fail(str(error) if isinstance(error, InputError) else _problem(error), 2, debug)
    except Exception as error:
        from hybridtune.search.doctor import EXTRAS

        missing = str(error.name).partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if extra := next((extra for extra, modules in EXTRAS.items() if missing in modules), None):
            remedy = f"pip install 'hybridtune[{extra}]'"
            return _fail(f"this command needs {missing}, which is not installed: {remedy}", 2, debug)
        return _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)
    if code == INTERRUPTED:
        resumable = {"demo", "launch", "resume"} & set(arguments)
        return _fail("interrupted" + (": `hybridtune resume RUN` goes on with a run" if resumable else ""), INTERRUPTED)
    return int(code or 0)


def _fail(text: str, status: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"hybridtune: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    return status


def _problem(error: "ValidationError") -> str:
    from hybridtune.data.document import first_problem

    return first_problem(error)
