"""Who may do what: accounts, passwords, signing in, sessions.

Begin with ``sign_in.py``, which brings all of it together and knows neither pages nor routes.
``accounts.py`` reads the file that an administrator edits.
"""
