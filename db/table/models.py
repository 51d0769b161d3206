"""Table ``archive_list``: Japanese columns, English attributes (``docs/contract.md``, "Table
archive_list").

Nothing here changes alone: every difference needs a revision in ``db/migrations/versions``,
and a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    DateTime,
    Dialect,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from core.model import MAX_TYPED


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, exact to the microsecond: aware on the way in, aware and in UTC on the way out.

    SQLite has no time zones; there UTC is stored without saying so.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the driver stores; raises ``ValueError`` without a time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without time zone: {value}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Now(FunctionElement[datetime]):
    """The server's clock, in the form in which ``UtcDateTime`` stores."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(_Now)
def _now(_element: _Now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "now()"


@compiles(_Now, "sqlite")
def _now_sqlite(_element: _Now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


class Base(DeclarativeBase):
    """Owner of the metadata that migrations are compared with."""


class ArchivedFile(Base):
    """One object in the bucket. Rows are added and never changed or deleted."""

    __tablename__ = "archive_list"

    id: Mapped[int] = mapped_column("id", Integer, primary_key=True)
    directory: Mapped[str] = mapped_column("ディレクトリパス", Text)
    archived_name: Mapped[str] = mapped_column("アーカイブファイル名", Text)
    bucket: Mapped[str] = mapped_column("S3バケット名", Text)
    key: Mapped[str] = mapped_column("S3キー", Text)
    archived_at: Mapped[datetime] = mapped_column(
        "アーカイブ日時", UtcDateTime, server_default=_Now()
    )
    request_id: Mapped[str | None] = mapped_column("依頼ID", String(MAX_TYPED))
    comment: Mapped[str | None] = mapped_column("コメント", Text)
    requester: Mapped[str | None] = mapped_column("依頼者", String(MAX_TYPED))
    size: Mapped[int] = mapped_column("ファイルサイズ", BigInteger)
    sha256: Mapped[str] = mapped_column("SHA256", CHAR(64))
    modified_at: Mapped[datetime] = mapped_column("更新日時", UtcDateTime)
    search_key: Mapped[str] = mapped_column("検索キー", Text)

    __table_args__ = (
        UniqueConstraint("S3バケット名", "S3キー", name="uq_archive_list_object"),
        Index("ix_archive_list_archived_at", "アーカイブ日時", "id"),
        # On PostgreSQL a hash index (migration 0001): a b-tree entry ends at about 2,700 bytes
        # and a search key may be longer; only equality is asked. To say so here would load
        # all of SQLAlchemy's PostgreSQL drivers at every start.
        Index("ix_archive_list_search_key", "検索キー"),
    )
