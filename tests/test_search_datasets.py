"""Datasets in a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from conftest import Workplace
from s3_server import BUCKET, S3Server, s3_server

from hybridtune.data.info import DatasetInfo
from hybridtune.data.schema import InputError
from hybridtune.data.store import BARS, Dataset
from hybridtune.search.run import s3_place
from hybridtune.search.run.datasets import find_dataset, keep_at
from hybridtune.search.run.s3_place import S3Place

URL = f"s3://{BUCKET}/team/dataset"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(autouse=True)
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**server.environment, "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    s3_place._client.cache_clear()


def copy_of(dataset: Dataset, folder: Path) -> DatasetInfo:
    assert isinstance(dataset.source, Path)
    copytree(dataset.source, folder)
    return dataset.info


def test_a_dataset_is_put_into_a_bucket_and_found_there(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{URL} holds no dataset: `hybridtune prepare RAW {URL}` makes one"):
        find_dataset(URL)
    assert keep_at(URL, lambda folder: copy_of(dataset, folder)) == dataset.info
    found = find_dataset(URL)
    assert found.is_relative_to(tmp_path / "home")
    Dataset(found).verify()
    assert Dataset(found).info == dataset.info
    # It is here now: the bars are not read again.
    S3Place.at(URL).remove(BARS)
    assert find_dataset(URL) == found
    with pytest.raises(InputError, match="exists already: remove it or name another"):
        keep_at(URL, lambda folder: pytest.fail("nothing is made"))


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert find_dataset(tmp_path) == tmp_path


def test_prepare_makes_one_in_a_bucket(server: S3Server, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.succeed("synth", "raw", "--tokens", "40")
    url = f"s3://{BUCKET}/prepared"
    assert f"dataset in {url}, fingerprint" in place.succeed("prepare", "raw/launches", url)
    Dataset(find_dataset(url)).verify()
