"""Who sits before the screen: sessions, sign-in forms, and the guard that pages ask for a role.

Begin with ``guard.py``. ``session.py`` finds out who a request comes from; what signing in means
is in ``core/auth``.
"""
