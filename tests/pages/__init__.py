"""The pages without a browser, by Streamlit's own test client, and the routes beside them."""
