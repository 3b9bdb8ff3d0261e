"""The search and what comes of it.

Whatever imports a part of it passes here, so this is where Ray is told how to behave: it reads some of these variables
when it is imported.
"""

import logging
import os

RAY_ENVIRONMENT = {
    # Tune's snapshots are never restored (see search.tuning.searcher); once a day is never.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # Our own callbacks write what is needed.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # An interrupt ends the search at once; nothing is lost by it, the study is on disk.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # It advises to write those snapshots less often.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # The new output ignores verbose=0.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray's coming default, of which it warns until one takes a side.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A lost worker is a line of our own, not a traceback of Tune's and a paragraph of Ray's.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Nor that of a trial which fails while the search is ending already.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
"""What a user has set already stays."""

for _name, _value in RAY_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
# It lists the trials that failed, each of which had its line.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
# Whoever reads a study holds it in memory, and Optuna would announce that as a new one.
logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)
