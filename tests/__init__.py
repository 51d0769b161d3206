"""Tests of Himuro, in folders named like the packages they test.

They need nothing but what requirements-dev.txt installs. Fakes and arrangements are in
``tests/support``, servers in ``tests/support/servers``.
"""
