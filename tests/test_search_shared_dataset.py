"""A dataset reaches workers by its path on one machine, through the object store on several."""

from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from hybridtune.data.store import Dataset, DatasetBytes
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.shared_dataset import SharedDataset, share_dataset


def test_a_dataset_from_bytes_is_the_dataset_from_its_folder(dataset: Dataset) -> None:
    assert isinstance(dataset.source, Path)
    other = Dataset(DatasetBytes.map(dataset.source))
    assert other.info == dataset.info
    assert len(other) == len(dataset)
    for index in range(len(dataset)):
        np.testing.assert_array_equal(other.x_TF(index), dataset.x_TF(index))
        np.testing.assert_array_equal(other.y_TH(index), dataset.y_TH(index))
    np.testing.assert_array_equal(other.frozen_anchors("test").minute_A, dataset.frozen_anchors("test").minute_A)


@pytest.mark.slow
def test_on_several_nodes_it_goes_through_the_object_store_once(dataset: Dataset) -> None:
    assert isinstance(dataset.source, Path)

    def seen(shared: SharedDataset) -> tuple[bool, bool, float]:
        """In a worker: came it through the store, is it a view of the store's memory, and a checksum."""
        opened = shared.open()
        total = float(np.sum([opened.x_TF(i).sum() for i in range(len(opened))]))
        return shared.info is not None, not opened.x_TF(0).flags.owndata, total

    with local_ray(1):
        """As in a notebook: it wants tokens, and for a cluster that has none this process then counted as dead."""
    expected = float(np.sum([dataset.x_TF(i).sum() for i in range(len(dataset))]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1, resources={"second": 1})
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        shared = share_dataset(dataset, other_hosts=True)
        assert set(shared.files) == {"series.arrow", "bars.arrow", "anchors.arrow"}
        remote = ray.remote(seen)
        results = ray.get([remote.options(resources={"second": 0.1}).remote(shared), remote.remote(shared)])
        assert results == [(True, True, expected)] * 2
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_on_one_machine_it_is_the_path(dataset: Dataset) -> None:
    assert isinstance(dataset.source, Path)
    assert share_dataset(dataset, other_hosts=False) == SharedDataset(dataset.source, dataset.info.horizons)
