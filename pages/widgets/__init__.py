"""What several pages show in the same way: widgets, and numbers, times and states in words.

Begin with ``view.py``; ``words.py`` knows no Streamlit. ``address.py`` is what stands in the
addresses of pages, ``confirmation.py`` the dialog that asks before something is done.
"""
