"""This checkout, a free port, and an environment that reaches no real account."""

from __future__ import annotations

import os
import socket
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


HOST = "127.0.0.1"


ACCESS_KEY, SECRET_KEY = "himurokey1", "himurosecret123"


REGION = "ap-northeast-1"


APP = CHECKOUT / "app.py"


def free_port(preferred: int = 0) -> int:
    """Return the first free port from ``preferred`` on; 0 stands for any.

    Another process may still take it first: callers try again when their server fails.
    """
    for port in range(preferred, preferred + 100 if preferred else 1):
        with socket.socket() as probe:
            # As servers do it: a port whose last connection is still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port from {preferred} on")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without anything that reaches a real account."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("AWS_", "HIMURO_", "RCLONE_", "S3_", "STREAMLIT_"))
    }


def aws_environment(endpoint: str) -> dict[str, str]:
    """Return the ``AWS_*`` variables for a local endpoint; no file of the user is read."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": HOST,
        "no_proxy": HOST,
    }
