"""The parts of the archive list's page."""
