"""The archive list in SQLite and in a real PostgreSQL."""
