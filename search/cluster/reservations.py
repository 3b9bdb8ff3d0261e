"""Room for trainings that the cluster does not have yet, asked of its autoscaler.

It is asked by placement groups that wait, not by Ray's `request_resources`: what that asks for outlives a killed
driver, and the hosts would be paid for though nobody uses them.
"""

from collections.abc import Sequence

import ray
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from hybridtune.search.cluster.hosts import not_on

ANSWER_SECONDS = 10


class Reservations:
    """Each is room for one training on a host that is not known yet. When Ray has started such a host, they hold it
    until it is known, so that no training comes there before it has been asked.
    """

    def __init__(self, head: str, gpus_per_trial: float) -> None:
        """head: HOST:PORT."""
        self._head = head
        self._bundle = {"CPU": 1.0, "GPU": gpus_per_trial} if gpus_per_trial > 0 else {"CPU": 1.0}
        self._known: frozenset[str] = frozenset()
        self._held: list[PlacementGroup] = []

    def hold(self, count: int, known: frozenset[str]) -> None:
        """From now on, so many wait for hosts, beside those that hold one already. known: Ray's names of the hosts that
        none is for.
        """
        holding = [group for group in self._held if (node := _node_of(group)) is not None and node not in known]
        waiting = [group for group in self._held if group not in holding]
        # The hosts that one must not wait for are fixed when it is made.
        keep = 0 if known != self._known else min(count, len(waiting))
        _remove(waiting[keep:])
        new = [placement_group([self._bundle], bundle_label_selector=[not_on(known)]) for _ in range(count - keep)]
        self._known, self._held = known, holding + waiting[:keep] + new

    def release(self) -> None:
        _remove(self._held)
        self._held = []

    def cannot_be_met(self) -> bool:
        """Whether the autoscaler says that no host of its can ever fit one that waits."""
        refused = {request.details.partition(":")[0] for request in self._state().infeasible_gang_resource_requests}
        return not refused.isdisjoint(group.id.hex() for group in self._held)

    def failures(self) -> list[str]:
        """Why hosts that were asked for have not been started, for people."""
        return [
            f"{failed.ray_node_type_name}: {' '.join(failed.reason.split())}"
            for failed in self._state().failed_instance_requests
        ]

    def autoscaler_runs(self) -> bool:
        """Ray's second one, which is what `ray up` and KubeRay start."""
        return bool(self._state().autoscaler_state_version > 0)

    def _state(self) -> AutoscalingState:
        reply = GetClusterStatusReply()
        reply.ParseFromString(ray._raylet.GcsClient(address=self._head).get_cluster_status(timeout_s=ANSWER_SECONDS))
        return reply.autoscaling_state


def _node_of(group: PlacementGroup) -> str | None:
    """Ray's name of the host that it holds; None while it waits."""
    found = placement_group_table(group)
    return str(found["bundles_to_node_id"][0]) if found.get("state") == "CREATED" else None


def _remove(groups: Sequence[PlacementGroup]) -> None:
    for group in groups:
        remove_placement_group(group)
