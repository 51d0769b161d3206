"""What stands between the network and Streamlit: how much comes in, how fast, and what it says."""
