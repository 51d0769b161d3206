"""Himuro's work: lists, checks, archive runs. Knows neither Streamlit nor SQLAlchemy."""
