"""``/account``: who is signed in, and where else. Begin with ``page.py``."""
