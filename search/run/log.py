"""A run's log: all that it says to people, and what Ray, Optuna and Python's warnings say, which people need only when
something is wrong.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hybridtune.search.run.say import Say

OWN = "hybridtune"
OTHERS = ("ray", "optuna", "py.warnings")
LINE = "%(asctime)s %(name)s: %(message)s"


class _File(logging.FileHandler):
    """Where nothing can be written, the run ends because of files that matter, and says so in one line."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logged(path: Path, say: Say) -> Iterator[Say]:
    """Yields a `say` that writes each line to the log too. The log of an earlier process is gone on with."""
    # Ray changes how the handlers of its logger write.
    files = [_File(path, encoding="utf-8") for _ in range(2)]
    for file in files:
        file.setFormatter(logging.Formatter(LINE))
    own = logging.Logger(OWN, logging.INFO)
    own.addHandler(files[0])

    def say_and_log(text: str) -> None:
        say(text)
        own.info(text)

    loggers = [logging.getLogger(name) for name in OTHERS]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.handlers, logger.propagate = [files[1]], False
    try:
        yield say_and_log
    finally:
        logging.captureWarnings(False)
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        for file in files:
            file.close()
