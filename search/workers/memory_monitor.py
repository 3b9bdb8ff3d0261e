"""Ray's own memory monitor, which ends a worker before the kernel does where nobody has turned it off: on clusters of
others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError


@contextmanager
def ended_workers_are_lost() -> Iterator[None]:
    """In the block a worker that the monitor has ended counts as lost, like every other. The error of Ray's is no
    RayActorError, and Tune 2.60 ends the whole search for it.
    """
    original = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=f"out of memory: {exception}")
        original(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original
