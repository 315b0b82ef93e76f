"""Stores in a bucket.

An object appears as a whole or not at all, so nothing here renames; a key is created
exclusively by a create-only put, and replaced only if unchanged by a put on its entity tag.
Credentials come from the environment or the standard files (``~/.aws/credentials``,
``~/.aws/config``), and are neither stored nor logged nor sent to other processes.
"""

from __future__ import annotations

import configparser
import functools
import os
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from avqa.errors import ConfigError, EnvironmentFailure, StorageFailure
from avqa.store.places.path import StorePath

SCHEME = "s3://"
RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=120)}
"""Overloaded servers ask to come back later; one that is not there is given up in half a minute."""
_BLOCK = 8 << 20
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""The later one wins."""
_OF_USERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
}
"""Variables of which one is set where somebody has given credentials, or wants none."""
_OF_MACHINE = ("169.254.169.254", 80)
"""Where a machine in Amazon's cloud asks for its own; elsewhere nobody answers, for minutes."""
T = TypeVar("T")


class ObjectPath(StorePath):
    """A key of a bucket, ``s3://bucket/key``.

    Every method that talks to the server raises `StorageFailure` if it refuses or is not there.
    """

    def __init__(self, url: str) -> None:
        """Take ``s3://bucket/prefix``.

        Raises:
            ConfigError: it names no bucket, or no prefix in it.
        """
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        parts = [part for part in key.split("/") if part]
        plain = _BUCKET.fullmatch(bucket) and parts and not {".", ".."} & set(parts)
        if not url.startswith(SCHEME) or not plain:
            raise ConfigError(
                f"store {url!r}; expected s3://bucket/prefix with a bucket and a plain prefix;"
                " check the address"
            )
        self.bucket = bucket
        self.key = "/".join(parts)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: ObjectPath) -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: str, /) -> ObjectPath:
        return ObjectPath(f"{self}/{name}")

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """`name` without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPath:
        """The key without its last part."""
        return ObjectPath(str(self).rpartition("/")[0])

    @property
    def local(self) -> None:
        """None: what a bucket has acknowledged is safe, and nobody knows its room."""

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    def exists(self) -> bool:
        """Whether there is an object with this key."""
        import obstore

        try:
            self._ask(obstore.head)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """The object's content.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        return bytes(self._ask(obstore.get).bytes())

    def tail(self, count: int) -> tuple[int, bytes]:
        """Size of the object and its last ``count`` bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        found = self._ask(obstore.get, options={"range": {"suffix": count}})
        return found.meta["size"], bytes(found.bytes())

    def read_range(self, start: int, length: int) -> bytes:
        """``length`` bytes of the object from byte ``start`` on.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        return bytes(self._ask(obstore.get_range, start=start, length=length))

    def write(self, data: bytes, *, durable: bool = True) -> None:
        """Replace the object."""
        self._put(data)

    def create(self, data: bytes) -> bool:
        """Create the object; False, with nothing done, if there is one."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def replace_if(self, old: bytes, new: bytes) -> bool:
        """Replace the object if its content is ``old``; False, with nothing done, if not."""
        import obstore
        from obstore.exceptions import PreconditionError

        try:
            found = self._ask(obstore.get)
            if bytes(found.bytes()) != old:
                return False
            self._put(new, mode={"e_tag": found.meta["e_tag"]})
        except (FileNotFoundError, PreconditionError):
            return False
        return True

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; S3 does not tell whether there was one."""
        import obstore

        try:
            self._ask(obstore.delete)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def move(self, target: ObjectPath) -> None:
        """Copy within the bucket, then remove: a crash in between leaves both.

        Raises:
            FileNotFoundError: there is no such object.
        """
        import obstore

        if target.bucket != self.bucket:
            raise ValueError(f"{self} and {target} lie in two buckets; expected one")
        self._ask(obstore.copy, target.key)
        self._ask(obstore.delete)

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects below this key whose further parts fit ``pattern``, part by part."""
        parts = pattern.split("/")
        for entry in self.listed():
            names = entry["path"].removeprefix(self.key + "/").split("/")
            if len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
                yield ObjectPath(f"{SCHEME}{self.bucket}/{entry['path']}")

    def listed(self) -> list[dict[str, Any]]:
        """``path``, ``size`` and ``last_modified`` of every object below this key."""
        import obstore

        found = self._translated(lambda: obstore.list(client(self.bucket), self.key).collect())
        return [dict(entry) for entry in found]

    def modified(self) -> float:
        """Time of the last change, in seconds since the epoch."""
        import obstore

        return float(self._ask(obstore.head)["last_modified"].timestamp())

    def facts(self) -> tuple[int, int]:
        """Bytes of the object, and the time of its last change in nanoseconds since the epoch.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        found = self._ask(obstore.head)
        return int(found["size"]), round(found["last_modified"].timestamp() * 1e6) * 1000

    def download(self, to: str) -> None:
        """Write the object's content into a new file on a disk.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        found = self._ask(obstore.get)
        with open(to, "wb") as file:
            for block in self._translated(lambda: found.stream(min_chunk_size=_BLOCK)):
                file.write(block)

    def make_folder(self) -> None:
        """Nothing: buckets know no folders."""

    def remove_folder(self, *, last: str = "") -> None:
        """Remove everything below this key, the object ``last`` after all others."""
        names = [entry["path"].removeprefix(f"{self.key}/") for entry in self.listed()]
        for name in sorted(names, key=lambda name: name == last):
            (self / name).unlink(missing_ok=True)

    def sizes(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, int]:
        """Name → size of every ``wanted`` object right below this key: one listing."""
        start = len(self.key) + 1
        names = ((entry["path"][start:], entry["size"]) for entry in self.listed())
        return {name: size for name, size in names if "/" not in name and wanted(name)}

    def all_sizes(self) -> list[int]:
        """Sizes of all objects below this key."""
        return [entry["size"] for entry in self.listed()]

    def sync(self) -> None:
        """Nothing: what a bucket has acknowledged is safe."""

    def zarr(self) -> tuple[Any, str]:
        """The bucket, and the key in it."""
        return _zarr_store(self), self.key

    def _put(self, data: bytes, **options: Any) -> None:
        import obstore

        try:
            self._ask(obstore.put, data, **options)
        except FileNotFoundError as error:
            raise refusal(str(self), error) from error

    def _ask(self, operation: Callable[..., Any], *values: Any, **options: Any) -> Any:
        return self._translated(
            lambda: operation(client(self.bucket), self.key, *values, **options)
        )

    def _translated(self, action: Callable[[], T]) -> T:
        import obstore.exceptions

        try:
            return action()
        except (
            obstore.exceptions.AlreadyExistsError,
            obstore.exceptions.PreconditionError,
        ):
            raise
        except FileNotFoundError:
            _require_bucket(self.bucket, os.getpid())
            raise
        except obstore.exceptions.BaseError as error:
            raise refusal(str(self), error) from error


@functools.cache
def _require_bucket(bucket: str, pid: int) -> None:
    """Tell a bucket that is not there from an object that is not.

    Raises:
        StorageFailure: there is no such bucket.
    """
    import obstore
    from obstore.exceptions import BaseError

    try:
        next(iter(obstore.list(client(bucket), chunk_size=1)), None)
    except FileNotFoundError as error:
        raise refusal(f"{SCHEME}{bucket}", error) from error
    except BaseError as error:
        if "NoSuchBucket" in str(error):
            raise refusal(f"{SCHEME}{bucket}", error) from error


def _zarr_store(path: ObjectPath) -> Any:
    """The bucket as zarr sees it; arrays are opened in it by their keys."""
    from obstore.exceptions import BaseError
    from zarr.storage import ObjectStore

    class Bucket(ObjectStore[Any]):
        """zarr's store, whose refusals become ours."""

        async def get(self, key: str, *values: Any, **options: Any) -> Any:
            try:
                return await super().get(key, *values, **options)
            except BaseError as error:
                raise refusal(f"{SCHEME}{path.bucket}/{key}", error) from error

        async def set(self, key: str, value: Any) -> None:
            try:
                await super().set(key, value)
            except (BaseError, FileNotFoundError) as error:
                raise refusal(f"{SCHEME}{path.bucket}/{key}", error) from error

    return Bucket(client(path.bucket))


def refusal(what: str, error: BaseException) -> StorageFailure:
    """What a server's answer means for the user."""
    text = " ".join(str(error).split("\n\nDebug source")[0].split())
    kind = type(error).__name__
    if "169.254.16" in text or re.search("Missing (AccessKeyId|SecretAccessKey)", text):
        return _no_credentials(what)
    if re.search(r"quota|InsufficientStorage|\b507\b", text, re.IGNORECASE):
        wanted, advice = "room", "free space or raise the quota, then run the same command again"
    elif kind in ("PermissionDeniedError", "UnauthenticatedError"):
        wanted = "credentials that may read, write and list"
        advice = "check AWS_ACCESS_KEY_ID or ~/.aws/credentials, and the bucket's policy"
    elif "NoSuchBucket" in text:
        wanted, advice = "an existing bucket", "create it, or correct the address"
    else:
        wanted = "an answer"
        advice = (
            "check AWS_ENDPOINT_URL, AWS_REGION and the network, then run the same command again"
        )
    return StorageFailure(
        f"{what}: refused ({_in_short(text)}); expected {wanted}; {advice}; nothing stored is lost"
    )


def _no_credentials(what: str) -> StorageFailure:
    return StorageFailure(
        f"{what}: no credentials; expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a"
        " profile of ~/.aws/credentials (AWS_PROFILE); set them, then run the same command again;"
        " nothing stored is lost"
    )


def _in_short(text: str) -> str:
    """What a server said, without the request and the page around it."""
    if code := re.search(r"<Code>(\w+)</Code>", text):
        return code[1]
    if status := re.search(r"status code: (\d{3}(?: [A-Z]\w+)*)", text):
        return status[1]
    if "error sending request" in text and (asked := re.search(r"https?://[^/\s]+", text)):
        return f"no answer from {asked[0]}"
    return text[:300]


def client(bucket: str) -> Any:
    """The connection to a bucket, one per process.

    Raises:
        EnvironmentFailure: obstore is not installed, or there are no credentials.
        ConfigError: the address of the server is none.
    """
    return _client(bucket, os.getpid())


@functools.cache
def _client(bucket: str, pid: int) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise EnvironmentFailure(
            f"store in bucket={bucket}: obstore is not installed; expected the extra s3;"
            " install it with: pip install obstore"
        ) from error
    options: Any = _from_files()
    for name in _ENDPOINTS:
        options |= {"endpoint": os.environ[name]} if name in os.environ else {}
    _check_endpoint(options.get("endpoint"))
    if not (_OF_USERS & os.environ.keys() or "access_key_id" in options or _in_cloud()):
        raise _no_credentials(f"{SCHEME}{bucket}")
    plain = options.get("endpoint", "").startswith("http://")
    return S3Store(
        bucket,
        retry_config=RETRIES,
        client_options={"allow_http": plain, "connect_timeout": "10 seconds"},
        **options,
    )


def _in_cloud() -> bool:
    """Whether this machine may have credentials of its own, as those in Amazon's cloud."""
    try:
        socket.create_connection(_OF_MACHINE, timeout=2).close()
    except OSError:
        return False
    return True


def _check_endpoint(endpoint: str | None) -> None:
    """Refuse what is no address: the library would panic.

    Raises:
        ConfigError: it is none.
    """
    if endpoint is not None and not re.fullmatch(r"https?://[\w.:\[\]-]+(/\S*)?", endpoint):
        raise ConfigError(
            f"endpoint={endpoint!r} of the S3 server; expected http://host:port or https://host;"
            f" correct or unset {' and '.join(_ENDPOINTS)}, or endpoint_url in ~/.aws/config"
        )


def _user_file(variable: str, name: str) -> list[Path]:
    """The file that a variable names, else that of the user; none where the user has no home."""
    if variable in os.environ:
        return [Path(os.environ[variable])]
    try:
        return [Path.home() / ".aws" / name]
    except RuntimeError:
        return []


def _from_files() -> dict[str, str]:
    """What the standard files say and the environment does not: the environment wins."""
    profile = os.environ.get("AWS_PROFILE", "default")
    keys = configparser.RawConfigParser()
    keys.read(_user_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    config = configparser.RawConfigParser()
    config.read(_user_file("AWS_CONFIG_FILE", "config"))
    section = profile if profile == "default" else f"profile {profile}"
    found: dict[str, str] = {}
    if "AWS_ACCESS_KEY_ID" not in os.environ and keys.has_section(profile):
        names = {
            "aws_access_key_id": "access_key_id",
            "aws_secret_access_key": "secret_access_key",
            "aws_session_token": "session_token",
        }
        found |= {
            ours: keys[profile][name] for name, ours in names.items() if name in keys[profile]
        }
    if config.has_section(section):
        if not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
            found |= {"region": config[section]["region"]} if "region" in config[section] else {}
        if "endpoint_url" in config[section]:
            found["endpoint"] = config[section]["endpoint_url"]
    return found
