"""Everything people see. The only part that knows Streamlit and Starlette."""
