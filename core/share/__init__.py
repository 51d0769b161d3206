"""The file server's shares, mounted on this machine: what lies there and what a listed path means.

Begin with ``shares.py``: UNC path ↔ mounted directory, and every call to a share.
``resolver.py`` finds listed files, ``walk.py`` what lies below a listed folder.
"""
