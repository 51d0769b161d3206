"""Tests of Himuro. They need nothing but what requirements-dev.txt installs."""
