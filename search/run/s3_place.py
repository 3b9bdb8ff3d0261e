"""A place in a bucket of S3, or of any store that speaks its protocol."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from hybridtune.data.document import new_file
from hybridtune.data.schema import InputError
from hybridtune.search.run.place import Moved, PlaceError

SCHEME = "s3://"

ATTEMPTS, CONNECT_SECONDS, READ_SECONDS = 6, 5.0, 10.0
"""A store that is silent for less than a minute interrupts nobody."""
CHECK_ATTEMPTS, CHECK_SECONDS = 2, 3.0
"""The same where somebody waits for a word about it."""

REFUSED = (401, 403)
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
"""What Amazon's store says with status 400 of credentials that are over."""
ABSENT = 404

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class S3Place:
    """Objects below a prefix of a bucket. Credentials are those of the process: they never travel with the place."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    """URL of the store where it is not Amazon's."""

    @classmethod
    def at(cls, url: str) -> Self:
        """s3://bucket/prefix at the endpoint that the environment names. Raises InputError for another URL."""
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        parts = prefix.strip("/").split("/")
        if not bucket or not all(parts) or {".", ".."} & set(parts):
            raise InputError(f"what lies in a bucket is named as s3://bucket/prefix, got {url!r}")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return cls(bucket, "/".join(parts), endpoint)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def check(self) -> None:
        with self._in_words():
            self._list(_client(self.endpoint, quick=True), "", limit=1)

    def read(self, name: str) -> bytes | None:
        def get(client: Any) -> bytes | None:
            try:
                content: bytes = client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()
            except client.exceptions.NoSuchKey:
                return None
            return content

        return self._do(get)

    def write(self, name: str, content: bytes) -> None:
        self._do(lambda client: client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content))

    def upload(self, name: str, path: Path, moved: Moved) -> None:
        def put(client: Any) -> None:
            with path.open("rb") as file:
                client.upload_fileobj(file, self.bucket, self._key(name), Callback=moved)

        self._do(put)

    def download(self, name: str, path: Path, moved: Moved) -> bool:
        def get(client: Any) -> bool:
            from botocore.exceptions import ClientError

            try:
                with new_file(path) as temporary, temporary.open("wb") as file:
                    client.download_fileobj(self.bucket, self._key(name), file, Callback=moved)
            except ClientError as error:
                if _status(error) != ABSENT:
                    raise
                return False
            return True

        return self._do(get)

    def create(self, name: str, content: bytes) -> bool:
        def put(client: Any) -> bool:
            from botocore.exceptions import ClientError

            try:
                client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                # An answer may have been lost, and the attempt repeated: then the name is taken by this very content.
                return self.read(name) == content
            return True

        return self._do(put)

    def names(self, folder: str) -> list[str]:
        return self._do(lambda client: self._list(client, f"{folder}/"))

    def stamps(self, folder: str) -> dict[str, str]:
        return self._do(lambda client: self._stamps(client, f"{folder}/"))

    def remove(self, name: str) -> None:
        self._do(lambda client: client.delete_object(Bucket=self.bucket, Key=self._key(name)))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _list(self, client: Any, start: str, limit: int | None = None) -> list[str]:
        return sorted(self._stamps(client, start, limit))

    def _stamps(self, client: Any, start: str, limit: int | None = None) -> dict[str, str]:
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(start), PaginationConfig={"MaxItems": limit}
        )
        found = [entry for page in pages for entry in page.get("Contents", ())]
        return {entry["Key"].removeprefix(f"{self.prefix}/"): entry["ETag"] for entry in found}

    def _do(self, work: Callable[[Any], Answer]) -> Answer:
        with self._in_words():
            from botocore.exceptions import ClientError

            try:
                return work(_client(self.endpoint))
            except ClientError as error:
                if not _refuses(error):
                    raise
                # Credentials for a limited time may have been renewed since the client was made.
                _client.cache_clear()
                return work(_client(self.endpoint))

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import (
                BotoCoreError,
                ClientError,
                CredentialRetrievalError,
                HTTPClientError,
                NoCredentialsError,
                PartialCredentialsError,
            )
        except ModuleNotFoundError:
            raise PlaceError(f"{self} needs boto3, which is not installed here: pip install 'hybridtune[s3]'") from None
        at = f" at {self.endpoint}" if self.endpoint else ""
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError):
            raise PlaceError(
                f"{self} needs credentials, and none are here: give the host an instance profile, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                raise PlaceError(f"the bucket of {self} does not exist{at}: make it, or name another") from None
            if _refuses(error):
                raise PlaceError(
                    f"{self} refuses this host ({code}): it needs credentials that may list, read, write and delete "
                    "below it"
                ) from None
            raise PlaceError(f"{self} cannot be used{at} ({code}): look at the store, then try again") from None
        except (HTTPClientError, BotoCoreError, Boto3Error, ValueError) as error:
            raise PlaceError(f"{self} does not answer{at} ({error}): look at the network and the store") from None


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _refuses(error: Any) -> bool:
    """Whether it is the credentials that the store does not take."""
    return _status(error) in REFUSED or error.response["Error"]["Code"] in EXPIRED


@cache
def _client(endpoint: str | None, quick: bool = False) -> Any:
    """Made once in a process, of a session of its own: the default one is not for several threads."""
    import boto3
    from botocore.config import Config

    attempts, connect, read = (
        (CHECK_ATTEMPTS, CHECK_SECONDS, CHECK_SECONDS) if quick else (ATTEMPTS, CONNECT_SECONDS, READ_SECONDS)
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=connect, read_timeout=read, retries={"mode": "standard", "total_max_attempts": attempts}
        ),
    )
