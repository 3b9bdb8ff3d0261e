import pytest

from benchmarks.hosts import Hosts, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


def test_a_killed_head_starts_anew_beside_other_hosts() -> None:
    """Ray looks for heads among all processes of the machine, and their addresses are the same in all namespaces."""
    with Hosts() as hosts, Hosts() as others:
        others.start_head()
        hosts.start_head()
        hosts.kill_all("head")
        hosts.start_head()
