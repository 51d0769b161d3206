"""``/health``: the check-up and the settings, for the administrator. Begin with ``page.py``."""
