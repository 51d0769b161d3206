"""What is served beside Streamlit: downloads, health, closed doors, start and end of the console.

Begin with ``routes.py``, which lists all routes and middleware. ``doors.py`` is what every request
passes.
"""
