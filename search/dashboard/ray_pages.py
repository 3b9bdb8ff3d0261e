"""Ray's own dashboard of the cluster on which a run is."""

from collections.abc import Mapping
from dataclasses import dataclass

from hybridtune.search.dashboard.proxy import Behind

INTO_PROCESSES = ("_profile", "traceback")
"""Addresses that end so attach a profiler to a process of the cluster: more than to look."""


@dataclass(frozen=True)
class RayAddress:
    url: str
    headers: Mapping[str, str]
    """With the cluster's token, which so stays with this process: no browser has it."""


def ray_pages(ray: RayAddress) -> Behind:
    async def base() -> str:
        return ray.url.rstrip("/")

    return Behind("Ray", base, ray.headers, lambda path: path.endswith(INTO_PROCESSES))
