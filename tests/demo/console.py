"""The demo's console: ``streamlit`` itself, and a line on the page of restores."""

from __future__ import annotations

from streamlit.web.cli import main

from pages.widgets import words

words.rehearsal = (
    "これはデモです。取り出しの準備は、最長48時間の代わりに約1分で終わります。"
    "画面に出る予定の時刻は、本物のS3のときのものです。"
)

if __name__ == "__main__":
    main(prog_name="streamlit")
