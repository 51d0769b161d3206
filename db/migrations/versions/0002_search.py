"""What searching needs: one order for the newest rows, and on PostgreSQL an index of terms.

``himuro_terms`` returns everything a row can be found by as numbers, and ``db/search/terms.py``
asks for the same ones: a change on either side needs a new revision that builds the index anew. It
uses built-in functions alone, because an index is built with nothing else in the search path.

2.4 million rows take some minutes, in which nothing can be archived.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_FUNCTION = r"""
CREATE FUNCTION himuro_terms(
  id integer, directory text, search_key text, request_id text, requester text, size bigint)
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
DECLARE
  terms bigint[] := ARRAY[
    (1::bigint << 60) | (id >> 15),
    (1::bigint << 61) | length(ltrim(size::bit(64)::text, '0')),
    hashtextextended(lower(request_id), 1)];
  depth integer := length(directory) - length(translate(directory, E'\\\u00a5\uff3c\ufe68', ''));
  place integer := 1;
  above text := '';
  parts text[] := string_to_array(search_key, '\');
  part text;
  earlier bigint := 0;
  before bigint := 0;
  letter bigint;
  sign text;
BEGIN
  -- The directory and those above it, then what the name ends with.
  FOREACH part IN ARRAY parts[3:cardinality(parts) - 1] LOOP
    place := place + 1;
    above := above || '\' || part;
    terms := terms || hashtextextended(above, 2);
    IF place = depth THEN
      terms := terms || hashtextextended(above, 3);
    END IF;
  END LOOP;
  terms := terms || hashtextextended(substring(parts[cardinality(parts)] from '[^.]*$'), 4);
  -- Every letter, every two, and three digits: numbers have few pairs, and all of them often.
  -- One value at a time: an array grows in place only so.
  FOREACH sign IN ARRAY string_to_array(search_key, NULL) LOOP
    letter := ascii(sign);
    terms := terms || letter;
    terms := terms || ((before << 21) | letter);
    IF letter < 58 AND letter > 47 AND before < 58 AND before > 47
       AND earlier < 58 AND earlier > 47 THEN
      terms := terms || ((earlier << 42) | (before << 21) | letter);
    END IF;
    earlier := before;
    before := letter;
  END LOOP;
  IF requester <> '' THEN
    before := 0;
    FOREACH sign IN ARRAY string_to_array(lower(requester), NULL) LOOP
      letter := ascii(sign);
      terms := terms || ((1::bigint << 42) | letter);
      terms := terms || ((1::bigint << 42) | (before << 21) | letter);
      before := letter;
    END LOOP;
  END IF;
  RETURN terms;
END $$
"""

_TERMS = """
CREATE INDEX ix_archive_list_terms ON archive_list USING gin (
  himuro_terms(id, "ディレクトリパス", "検索キー", "依頼ID", "依頼者", "ファイルサイズ")
) WITH (gin_pending_list_limit = 1024)
"""


def upgrade() -> None:
    op.drop_index("ix_archive_list_archived_at", "archive_list")
    op.create_index("ix_archive_list_archived_at", "archive_list", ["アーカイブ日時", "id"])
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(_FUNCTION)
    op.execute("SET LOCAL maintenance_work_mem = '256MB'")
    op.execute(_TERMS)
    # No plan depends on what ANALYZE could learn of it, and learning that takes seconds.
    op.execute("ALTER INDEX ix_archive_list_terms ALTER COLUMN 1 SET STATISTICS 0")
    op.execute('CREATE INDEX ix_archive_list_block ON archive_list ((id >> 15), "アーカイブ日時")')
