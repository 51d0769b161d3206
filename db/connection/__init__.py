"""Connections to SQLite and PostgreSQL: how they are made, how long is waited, what errors mean.

Begin with ``engine.py``. ``patience.py`` and ``patient_connection.py`` end every wait, also for a
server that is frozen; ``errors.py`` turns a driver's errors into what an operator can do.
"""
