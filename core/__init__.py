"""Himuro's work, without a user interface and without a database driver.

``model.py`` holds the values that travel between the packages and ``errors.py`` everything that
can go wrong; ``ports.py`` says what an archive list has to be able to do. ``__main__.py`` wires
the commands. docs/architecture.md shows all packages on one page.
"""
