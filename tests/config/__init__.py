"""Settings, the database's URL, log lines."""
