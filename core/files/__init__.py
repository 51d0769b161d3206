"""Files of this machine, opened, written and named in the ways that are safe here.

Begin with ``nofollow.py`` (opening a path without following links) or ``private_file.py`` (files
that only Himuro's user may read). Each module knows one matter and none of them knows runs.
"""
