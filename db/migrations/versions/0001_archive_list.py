"""The archive list.

A migration is frozen once it is released: it repeats the model's columns instead of using
them. There is no downgrade (``db.schema`` says why).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    now = "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))" if on_sqlite else "now()"
    op.create_table(
        "archive_list",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ディレクトリパス", sa.Text, nullable=False),
        sa.Column("アーカイブファイル名", sa.Text, nullable=False),
        sa.Column("S3バケット名", sa.Text, nullable=False),
        sa.Column("S3キー", sa.Text, nullable=False),
        sa.Column(
            "アーカイブ日時",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text(now),
        ),
        sa.Column("依頼ID", sa.String(255)),
        sa.Column("コメント", sa.Text),
        sa.Column("依頼者", sa.String(255)),
        sa.Column("ファイルサイズ", sa.BigInteger, nullable=False),
        sa.Column("SHA256", sa.CHAR(64), nullable=False),
        sa.Column("更新日時", sa.DateTime(timezone=True), nullable=False),
        sa.Column("検索キー", sa.Text, nullable=False),
        sa.UniqueConstraint("S3バケット名", "S3キー", name="uq_archive_list_object"),
    )
    op.create_index("ix_archive_list_archived_at", "archive_list", ["アーカイブ日時"])
    op.create_index(
        "ix_archive_list_search_key", "archive_list", ["検索キー"], postgresql_using="hash"
    )
