"""``kill -9`` at twenty moments: the retry always ends as one clean run would."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from core.__main__ import WIRING
from core.cli.main import main
from core.config.settings import load_settings
from core.jobs.recovery import recover
from core.model import RunState, SearchQuery
from core.s3.archive_store import PART_BYTES
from db import open_catalogue
from db.schema import upgrade
from tests.support import crashing
from tests.support.arrange import UNC
from tests.support.servers.buckets import Bucket


class Installation:
    """A share, a data directory and a bucket, used by processes of their own."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.share, self.data, self.bucket = root / "share", root / "data", bucket
        self.prefix = ""
        self.list = root / "一覧.txt"
        self.list.write_text(f"{UNC}\n")
        self.files = 0

    def fill(self, *, small: int, large: int = 0) -> None:
        (self.share / "営業部").mkdir(parents=True)
        for number in range(small):
            (self.share / "営業部" / f"見積書～{number}.txt").write_text(f"{number}" * number)
        for number in range(large):
            (self.share / f"大きい{number}.bin").write_bytes(b"\x01" * (PART_BYTES + 1))
        self.files = small + large

    def begin_again(self, prefix: str) -> None:
        """Forget everything; ``prefix`` makes the bucket look empty."""
        self.prefix = prefix
        shutil.rmtree(self.data, ignore_errors=True)
        for marker in self.share.rglob("*_archived.txt"):
            marker.unlink()
        upgrade(load_settings(self.environ).database_url)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HIMURO_DATA_DIR": str(self.data),
            "HIMURO_BUCKET": self.bucket.name,
            "HIMURO_KEY_PREFIX": self.prefix,
            "HIMURO_SHARES": f"{UNC}={self.share}",
        }

    def archive(self, moment: int, path: Path) -> subprocess.CompletedProcess[str]:
        who = ("--request-id", "R", "--requester", "山田")
        argv = ("archive", str(path), *who)
        return crashing.run(str(moment), *argv, environ=self.environ, cwd=self.share.parent)

    def retry(self, path: Path) -> int:
        """Run a list in this process, which costs no start; returns the exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            return main(
                ["archive", str(path), "--request-id", "R", "--requester", "山田"],
                WIRING,
            )

    def state(self) -> tuple[set[str], set[str], set[str]]:
        """Return keys in the bucket, keys in the archive list, and markers."""
        catalogue = open_catalogue(load_settings(self.environ).database_url)
        entries = catalogue.search(SearchQuery(), per_page=1000).entries
        catalogue.close()
        keys = [key for key in self.bucket.object_keys() if key.startswith(self.prefix)]
        return (
            {key.removeprefix(self.prefix) for key in keys},
            {e.key.removeprefix(self.prefix) for e in entries},
            {str(p.relative_to(self.share)) for p in self.share.rglob("*_archived.txt")},
        )

    def created_twice(self) -> list[str]:
        """Return keys of this prefix for which the bucket took more than one object."""
        versions = self.bucket.client.list_object_versions(
            Bucket=self.bucket.name, Prefix=self.prefix
        ).get("Versions", [])
        keys = [version["Key"] for version in versions]
        return sorted({key for key in keys if keys.count(key) > 1})


@pytest.fixture
def installation(tmp_path: Path, bucket: Bucket) -> Installation:
    bucket.client.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    return Installation(tmp_path, bucket)


def kill_and_retry(installation: Installation, count: int) -> None:
    """Run once cleanly, then kill at ``count`` moments and retry; compare every time."""
    installation.begin_again("clean/")
    clean = installation.archive(0, installation.list)
    assert clean.returncode == 0, clean.stderr
    expected = installation.state()
    assert len(expected[0]) == len(expected[1]) == len(expected[2]) == installation.files
    total = int(re.findall(r"moments: (\d+)", clean.stderr)[0])
    assert total > 2 * count

    for number in range(count):
        moment = 1 + number * (total - 1) // (count - 1)
        installation.begin_again(f"{number}-{moment}/")
        while (killed := installation.archive(moment, installation.list)).returncode == 0:
            # It came to its end in fewer steps: rows and outcome lines go in groups.
            moment -= 2
            assert moment > 0
            installation.begin_again(f"{number}-{moment}/")
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
        found = recover(load_settings(installation.environ))
        assert [record.state for record in found] in ([], [RunState.INTERRUPTED])
        failed = list((installation.data / "runs").glob("*/failed_uploads.txt"))
        assert installation.retry(failed[0] if failed else installation.list) == 0, moment
        assert installation.state() == expected, moment
        assert installation.created_twice() == [], moment
        assert installation.bucket.unfinished() == [], moment


def test_kill_9_at_twenty_moments_ends_as_one_clean_run(installation: Installation) -> None:
    installation.fill(small=11)
    kill_and_retry(installation, 20)


def test_kill_9_during_a_file_in_parts_leaves_no_part_behind(installation: Installation) -> None:
    installation.fill(small=0, large=1)
    kill_and_retry(installation, 5)
