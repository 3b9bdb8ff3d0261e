"""The cluster's token: where Ray looks for it, and who else may read it."""

import os
import stat
from pathlib import Path

from hybridtune.data.schema import InputError

TOKEN_REMEDY = "put the cluster's token into ~/.ray/auth_token (or RAY_AUTH_TOKEN) and set RAY_AUTH_MODE=token"  # noqa: S105


def refuse_open_token_file() -> None:
    """Raises InputError if others of this machine may read the file from which Ray would take the token: who has it
    runs what they like on every host.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"others may read the cluster's token in {path}: `chmod 600 {path}`")
