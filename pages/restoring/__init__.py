"""The parts of ``/restore``: a checked list, the open restores, one restore, placing."""
