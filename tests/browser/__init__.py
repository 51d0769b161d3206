"""The console in a real browser. These tests need Chromium and take the guides' pictures."""
