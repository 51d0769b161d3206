"""Servers, consoles and browsers that tests start, each on 127.0.0.1 and ended with its test.

Begin with ``processes.py``. ``browser.py`` is the only module that knows Chromium.
"""
