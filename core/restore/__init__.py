"""Restores, which take days: copies are requested from S3, and files placed once they are readable.

Begin with ``run.py``, a restore from the uploaded bytes to its requests and to each later step;
``step.py`` is one of those. ``check.py`` finds what a list means, ``requester.py`` asks for
copies, ``place_collector.py`` and ``placer.py`` bring files back.
"""
