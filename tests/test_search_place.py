"""Pieces of bytes that any host may write: in a folder, and in a bucket of a real S3 server."""

import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from s3_server import BUCKET, S3Server, client, free_port, s3_server

from hybridtune.data.schema import InputError
from hybridtune.search.run import s3_place
from hybridtune.search.run.place import FolderPlace, Place, PlaceError
from hybridtune.search.run.s3_place import S3Place

NAME = "tune/trial_00000/checkpoint.pt"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3_place._client.cache_clear()
    return server


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return FolderPlace(tmp_path)
    request.getfixturevalue("bucket")
    return S3Place.at(f"s3://{BUCKET}/{tmp_path.name}/run")


def test_what_is_written_is_read_by_its_name_on_any_host(place: Place) -> None:
    place.check()
    assert place.read(NAME) is None
    place.write(NAME, b"one")
    place.write(NAME, b"two")
    assert pickle.loads(pickle.dumps(place)).read(NAME) == b"two"
    place.remove(NAME)
    place.remove(NAME)
    assert place.read(NAME) is None


def test_names_are_all_below_a_folder(place: Place) -> None:
    for name in ("tune/trial_1/b", "tune/trial_1/deep/a", "tune/trial_10/c", "other"):
        place.write(name, b"")
    assert place.names("tune/trial_1") == ["tune/trial_1/b", "tune/trial_1/deep/a"]
    assert place.names("tune") == ["tune/trial_1/b", "tune/trial_1/deep/a", "tune/trial_10/c"]
    assert place.names("nothing") == []
    stamps = place.stamps("tune")
    assert sorted(stamps) == place.names("tune")
    place.write("tune/trial_1/b", b"more")
    changed = place.stamps("tune")
    assert {name for name in stamps if stamps[name] != changed[name]} == {"tune/trial_1/b"}


def test_a_file_of_several_pieces_travels_there_and_back_and_tells_how_far_it_is(place: Place, tmp_path: Path) -> None:
    content, moved = bytes(range(256)) * (20 << 12), list[int]()
    (tmp_path / "big").write_bytes(content)
    place.upload("datasets/big", tmp_path / "big", moved.append)
    assert place.read("datasets/big") == content
    assert sum(moved) == len(content)
    moved.clear()
    assert place.download("datasets/big", tmp_path / "back", moved.append)
    assert (tmp_path / "back").read_bytes() == content
    assert sum(moved) == len(content)


def test_what_is_not_there_leaves_no_file(place: Place, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    assert not place.download("nothing", tmp_path / "new", lambda moved: None)
    assert not place.download("nothing", tmp_path / "old", lambda moved: None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_of_many_that_create_a_name_at_once_one_succeeds(place: Place) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return place.create("lease/1", f"of {number}".encode())

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, range(8)))
    assert sum(created) == 1
    winner = created.index(True)
    assert place.read("lease/1") == f"of {winner}".encode()
    # Repeated after its answer was lost, it has succeeded all the same.
    assert place.create("lease/1", f"of {winner}".encode())
    assert place.names("lease") == ["lease/1"]


def test_a_folder_that_is_not_there_is_never_made(tmp_path: Path) -> None:
    """What a worker wrote to it would be lost with its host, and the training begun anew in silence."""
    place = FolderPlace(tmp_path / "mount" / "run")
    for work in (
        place.check,
        lambda: place.read("a"),
        lambda: place.write("a", b""),
        lambda: place.create("a", b""),
        lambda: place.remove("a"),
    ):
        with pytest.raises(PlaceError, match="is not on this host: every host of the cluster has to see it"):
            work()
    assert not (tmp_path / "mount").exists()


def test_a_listing_longer_than_a_page_is_whole(bucket: S3Server) -> None:
    place = S3Place.at(f"s3://{BUCKET}/long")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: place.write(f"many/{number:04d}", b""), range(1100)))
    assert place.names("many") == [f"many/{number:04d}" for number in range(1100)]


@pytest.mark.parametrize("url", ["s3://", "s3://runs", "s3://runs/", "s3:///run", "s3://runs/a//b", "s3://runs/../b"])
def test_a_url_without_bucket_or_prefix_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="what lies in a bucket is named as s3://bucket/prefix"):
        S3Place.at(url)


def test_objects_lie_under_the_prefix(bucket: S3Server) -> None:
    place = S3Place.at(f"s3://{BUCKET}/team/run/")
    assert str(place) == f"s3://{BUCKET}/team/run"
    place.write("run.json", b"{}")
    there = client(bucket).list_objects_v2(Bucket=BUCKET, Prefix="team/")["Contents"]
    assert [entry["Key"] for entry in there] == ["team/run/run.json"]


def test_a_bucket_that_is_not_there_is_said_at_once(bucket: S3Server) -> None:
    place = S3Place.at("s3://nobodys/run")
    for work in (place.check, lambda: place.read("a"), lambda: place.write("a", b""), lambda: place.names("a")):
        began = time.monotonic()
        with pytest.raises(PlaceError, match="the bucket of s3://nobodys/run does not exist at http"):
            work()
        assert time.monotonic() - began < 5


def test_without_credentials_that_is_what_is_said(
    bucket: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PlaceError, match="needs credentials, and none are here: give the host an instance profile"):
        S3Place.at(f"s3://{BUCKET}/run").check()


@pytest.mark.usefixtures("bucket")
def test_credentials_that_were_renewed_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon's store says of old ones that they have expired, with status 400; moto never does."""
    from botocore.exceptions import ClientError

    place = S3Place.at(f"s3://{BUCKET}/{tmp_path.name}")
    made: list[object] = []

    class Old:
        def put_object(self, **given: object) -> None:  # noqa: ARG002
            answer = {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "PutObject")

    def make(endpoint: str | None, quick: bool = False) -> object:
        made.append(Old() if always or not made else renewed)
        return made[-1]

    renewed, always = s3_place._client(place.endpoint), False
    monkeypatch.setattr(s3_place, "_client", cache(make))
    place.write("x", b"1")
    assert place.read("x") == b"1"
    always = True
    s3_place._client.cache_clear()
    with pytest.raises(PlaceError, match=r"refuses this host \(ExpiredToken\): it needs credentials"):
        place.write("x", b"2")


def test_unknown_credentials_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path, strict=True) as strict:
        for name, value in strict.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(PlaceError, match=r"refuses this host \(InvalidAccessKeyId\): it needs credentials"):
            S3Place.at(f"s3://{BUCKET}/run").check()


def test_nobody_listens_is_said_within_15_seconds(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(PlaceError, match="does not answer at http://127"):
        S3Place.at(f"s3://{BUCKET}/run").check()
    assert time.monotonic() - began < 15


@pytest.mark.slow
def test_a_store_that_is_silent_is_said_within_15_seconds_and_waited_for_by_a_write(bucket: S3Server) -> None:
    place = S3Place.at(f"s3://{BUCKET}/silent")
    bucket.pause()
    resumed = threading.Timer(20, bucket.go_on)
    resumed.start()
    try:
        began = time.monotonic()
        with pytest.raises(PlaceError, match="does not answer at http"):
            place.check()
        assert time.monotonic() - began < 15
        place.write("a", b"there")
    finally:
        resumed.join()
    assert place.read("a") == b"there"
