# Every target sets up what it needs by itself; only Python 3.11+ is expected.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check unit bench pictures run clean

demo: .venv/dev
	$(BIN)/python -m tests.demo

test: check unit

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# In two processes: the tests in browsers mostly wait. A module stays together, with its servers.
unit: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: .venv/bench
	$(BIN)/python -m tests.bench

# The guides' pictures, taken anew by the browser tests.
pictures: .venv/dev
	HIMURO_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/test_browser.py tests/test_restore_browser.py tests/test_signin_browser.py tests/test_oidc.py tests/test_search_browser.py tests/test_takeaway_browser.py
	$(BIN)/python -m tests.pictures

run: .venv/dev
	$(BIN)/streamlit run app.py

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit("Himuro needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/dev: .venv/pip requirements.txt requirements-dev.txt
	@echo "Installing Python packages into .venv (about 1 GB, a minute or more) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv/bench: .venv/dev requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

clean:
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache
