"""A process is asked to end by a signal that it hears."""

import signal
import subprocess
import sys

import pytest

from hybridtune.search.run.interrupt import interrupt

WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(2))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("hearing", "status"), [("deaf", signal.SIGTERM), ("hears", signal.SIGINT)])
def test_a_background_job_of_a_script_hears_the_other_one(hearing: str, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS, hearing], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        interrupt(process.pid)
        assert process.wait(10) == status


def test_a_process_that_is_gone_is_said() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        interrupt(process.pid)
