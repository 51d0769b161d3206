"""S3 as Himuro uses it: the stores of archive and restore, credentials, errors, health.

Begin with ``archive_store.py`` or ``restore_store.py``; ``connection.py`` holds the clients that
both use, and ``error_codes.py`` what S3's errors mean for a run.
"""
