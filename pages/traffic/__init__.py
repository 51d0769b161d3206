"""What stands between the network and Streamlit: how much comes in, how fast, and what it says.

Begin with ``websocket.py`` (messages) or ``connections.py`` (connections); ``messages.py`` lists
what browsers may send.
"""
