"""Whom a check-up asks: a database and a bucket, as protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from core.health.findings import Finding


class DatabaseHealth(Protocol):
    """What a check-up asks the database."""

    def examine(self) -> Iterator[Finding]:
        """Yield the findings ``database…`` as they are known; changes nothing.

        Raises ``HimuroError`` when the database cannot be asked at all.
        """


class BucketHealth(Protocol):
    """What a check-up asks S3. Nothing is left behind in the bucket.

    Each raises ``HimuroError`` when S3 cannot be asked at all.
    """

    def reach(self) -> Iterator[Finding]:
        """Yield ``s3``, ``s3-region`` and ``clock``; the others are worth asking when ``s3``
        is not ``FAILED``."""

    def permissions(self) -> Iterator[Finding]:
        """Yield a finding for each action that jobs need, and ``s3-unfinished``."""

    def protection(self) -> Iterator[Finding]:
        """Yield what the bucket's settings mean for archived objects. A setting that may not
        be read is a warning: jobs do not need it."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whom a check-up asks outside of this machine's files."""

    database: DatabaseHealth
    bucket: BucketHealth
