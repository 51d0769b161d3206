"""The steps of an archive run, one module each. ``pages.archive`` decides which is shown."""
