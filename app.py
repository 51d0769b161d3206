"""The console: ``streamlit run app.py``."""

from pathlib import Path

import streamlit as st

from pages.http.routes import MIDDLEWARE, ROUTES, lifespan
from pages.widgets.view import unexpected

app = st.App(
    Path(__file__).with_name("pages") / "router.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=MIDDLEWARE,
    on_script_error=unexpected,
)
