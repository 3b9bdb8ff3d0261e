"""A search that a notebook's kernel runs, seen through the messages that its page would get."""

import os
from collections.abc import Iterator

import pytest
from conftest import SMALL_SPACE, Workplace
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow

CELL = """
import hybridtune
run = hybridtune.launch(
    "dataset", "noted", space="space.yaml", trials=4, iterations=3, samples_per_iteration=512, grace_period=1,
    top_k=1, seeds=1, concurrent=1,
)
"""


@pytest.fixture
def kernel(finished: Workplace) -> Iterator[BlockingKernelClient]:
    (finished.path / "space.yaml").write_text(SMALL_SPACE)
    manager, client = start_new_kernel(cwd=str(finished.path), env=os.environ | finished.environment)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_search_is_one_table_that_is_changed_in_place(kernel: BlockingKernelClient) -> None:
    messages = []
    reply = kernel.execute_interactive(CELL, timeout=240, output_hook=messages.append)
    assert reply["content"]["status"] == "ok", reply["content"]
    kinds = [message["msg_type"] for message in messages]
    assert kinds.count("display_data") == 1
    # On stderr Ray and tqdm miss packages that draw.
    assert not [m for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == "stdout"]
    updates = [message["content"] for message in messages if message["msg_type"] == "update_display_data"]
    assert len(updates) > 5
    assert len({update["transient"]["display_id"] for update in updates}) == 1
    tables = [update["data"]["text/html"] for update in updates]
    assert "searching" in tables[0]
    assert any("4 of 4" in table and "best" in table for table in tables)
    assert any("retraining" in table for table in tables)
    assert ">done<" in tables[-1]
