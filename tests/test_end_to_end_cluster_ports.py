"""What a host of a cluster lets others see: exactly what SECURITY.md lists, and nothing useful without the token."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hosts import HEAD, PORT, Hosts, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

SECURITY = Path(__file__).parents[1] / "SECURITY.md"
WORKER = "10.99.0.11"

SCAN = """
import asyncio, json, sys

async def is_open(host, port, some):
    async with some:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 5)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

async def scan(host):
    some = asyncio.Semaphore(500)
    found = await asyncio.gather(*(is_open(host, port, some) for port in range(1, 65536)))
    return [port for port, there in enumerate(found, 1) if there]

print(json.dumps({host: asyncio.run(scan(host)) for host in sys.argv[1:]}))
"""

# Each with nobody's token, then with a wrong one.
ASK = """
import json, sys
import grpc, requests

def http(address, path, token):
    return requests.get(f"http://{address}{path}", headers=token, timeout=10).status_code

def rpc(address, method, token):
    call = grpc.insecure_channel(address).unary_unary(
        method, request_serializer=bytes, response_deserializer=bytes
    )
    try:
        call(b"", timeout=10, metadata=tuple((name.lower(), value) for name, value in token.items()))
    except grpc.RpcError as error:
        return error.code().name
    return "answered"

said = []
for address, what in json.loads(sys.argv[1]):
    ask = rpc if "/ray.rpc." in what else http
    tokens = {}, {"Authorization": "Bearer " + "f" * 32}
    said.append([address, what, *(ask(address, what, token) for token in tokens)])
print(json.dumps(said))
"""

# By its address: "auto" may find another test's Ray, whose processes are seen here too.
ACTOR = """
import ray, sys, time

@ray.remote(num_cpus=1)
class Waiting:
    def node(self):
        return ray.util.get_node_ip_address()

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
waiting = Waiting.remote()
print("runs on", ray.get(waiting.node.remote()), flush=True)
time.sleep(600)
"""


def listed() -> dict[str, set[int]]:
    """Host -> ports that others may see, by the table; a range whole."""
    ports: dict[str, set[int]] = {HEAD: set(), WORKER: set()}
    for first, last, where, local in re.findall(
        r"^\| (\d+)(?:-(\d+))? \| (head|all) \|(.*)\|.*\|$", SECURITY.read_text(), re.MULTILINE
    ):
        if "127.0.0.1 only" not in local:
            for host in (HEAD, WORKER) if where == "all" else (HEAD,):
                ports[host] |= set(range(int(first), int(last or first) + 1))
    return ports


def start_arguments() -> tuple[list[str], list[str]]:
    """Of the head and of a worker, as SECURITY.md gives them."""
    text = SECURITY.read_text()
    (given,) = re.findall(r"with PORTS being\n\n((?:    .*\n)+)", text)
    (head,) = re.findall(r"ray start --head --port=6379 (.*) PORTS\n", text)
    return shlex.split(head) + shlex.split(given), shlex.split(given)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    head, worker = start_arguments()
    with Hosts() as hosts:
        hosts.add("client", 100)
        hosts.start_head("--dashboard", *head)
        hosts.start_worker(1, "--num-cpus=1", *worker)
        hosts.log("head").write_text("")
        actor = hosts.start("head", [sys.executable, "-c", ACTOR, f"{HEAD}:{PORT}"])
        hosts.wait_for_line("head", f"runs on {WORKER}", actor)
        yield hosts


def test_exactly_the_listed_ports_are_open_to_others(hosts: Hosts) -> None:
    scanned = hosts.run("client", [sys.executable, "-c", SCAN, HEAD, WORKER])
    assert scanned.returncode == 0, scanned.stderr
    found = {host: set(ports) for host, ports in json.loads(scanned.stdout).items()}
    workers = set(range(20000, 20100))
    for host, ports in listed().items():
        assert found[host] - workers == ports - workers
        # A driver on the head, an actor on the worker.
        assert found[host] & workers
        assert workers <= ports


def test_whoever_has_no_token_gets_nothing_done(hosts: Hosts) -> None:
    scanned = hosts.run("client", [sys.executable, "-c", SCAN, WORKER])
    actor = max(json.loads(scanned.stdout)[WORKER])
    assert actor >= 20000
    asked = [
        (f"{HEAD}:6379", "/ray.rpc.InternalKVGcsService/InternalKVGet"),
        (f"{HEAD}:6379", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
        (f"{HEAD}:6379", "/ray.rpc.ActorInfoGcsService/CreateActor"),
        (f"{HEAD}:10001", "/ray.rpc.RayletDriver/ClusterInfo"),
        (f"{WORKER}:{actor}", "/ray.rpc.CoreWorkerService/PushTask"),
        *(
            (f"{host}:{port}", what)
            for host in (HEAD, WORKER)
            for port, what in (
                (6380, "/ray.rpc.NodeManagerService/RequestWorkerLease"),
                (6381, "/ray.rpc.ObjectManagerService/Pull"),
                (6382, "/get_or_create_runtime_env"),
                (6383, "/ray.rpc.LogService/ListLogs"),
                (6384, "/api/job_agent/jobs/"),
                (6384, "/api/jobs/"),
            )
        ),
    ]
    answers = hosts.run("client", [sys.executable, "-c", ASK, json.dumps(asked)])
    assert answers.returncode == 0, answers.stderr
    said = json.loads(answers.stdout)
    assert len(said) == len(asked)
    for address, what, without, wrong in said:
        assert without in ("UNAUTHENTICATED", 401), (address, what, without)
        assert wrong in ("UNAUTHENTICATED", 403), (address, what, wrong)


def test_the_job_server_is_the_heads_own_and_wants_the_token_too(hosts: Hosts) -> None:
    for host in ("head", "client"):
        address = "127.0.0.1:8265" if host == "head" else f"{HEAD}:8265"
        answers = hosts.run(host, [sys.executable, "-c", ASK, json.dumps([(address, "/api/jobs/")])])
        if host == "client":
            assert "Connection refused" in answers.stderr
        else:
            assert json.loads(answers.stdout) == [[address, "/api/jobs/", 401, 403]]
