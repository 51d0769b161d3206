"""Everything people see. The only part that knows Streamlit and Starlette.

``router.py`` is the script that Streamlit runs: it lists the pages, each a package with a
``page.py``. ``services.py`` wires them to ``core`` and ``db``.
"""
