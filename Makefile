# Every target sets up what it needs by itself; only Python 3.11+ is expected.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check unit bench pictures run lock sbom clean

# Every file is named by its SHA-256 and nothing is built, so that no code runs while installing.
# --no-deps: the files name all that is needed, and not requirements-left-out.in.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:

demo: .venv/dev
	$(BIN)/python -m tests.demo

test: check unit

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# In three processes, on two cores too: the tests in browsers mostly wait. A module stays together,
# with its servers.
unit: .venv/dev
	$(BIN)/python -m pytest -n 3 --dist loadfile

bench: .venv/bench
	$(BIN)/python -m tests.bench

# The guides' pictures, taken anew by the browser tests.
pictures: .venv/dev
	HIMURO_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser/test_archive.py tests/browser/test_restore.py tests/browser/test_signin.py tests/browser/test_oidc.py tests/browser/test_search.py tests/browser/test_takeaway.py
	$(BIN)/python -m tests.deploy.pictures

run: .venv/dev
	$(BIN)/streamlit run app.py

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit("Himuro needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/dev: .venv/pip requirements.txt requirements-oidc.txt requirements-dev.txt
	@echo "Installing Python packages into .venv (about 1 GB, a minute or more) ..."
	$(BIN)/python $(INSTALL) -r requirements-dev.txt
	touch $@

.venv/bench: .venv/dev requirements-bench.txt
	$(BIN)/python $(INSTALL) -r requirements-bench.txt
	touch $@

# Tools that no test needs, apart from what is tested.
.tools/ready: requirements-tools.txt
	$(PYTHON) -m venv .tools
	.tools/bin/python $(INSTALL) -r requirements-tools.txt
	touch $@

# The requirements*.txt from the requirements*.in, each without what the one before it names.
# Versions stay unless UPGRADE says otherwise: make lock UPGRADE="--upgrade-package boto3".
UPGRADE ?=
NAMES = sed --quiet 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p'
LOCK = .tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header $(UPGRADE)

lock: .tools/ready
	$(LOCK) --excludes requirements-left-out.in requirements.in --output-file requirements.txt
	$(LOCK) --constraint requirements.txt $$($(NAMES) requirements.txt) \
		requirements-oidc.in --output-file requirements-oidc.txt
	sed --in-place '1i -r requirements.txt' requirements-oidc.txt
	$(LOCK) --constraint requirements-oidc.txt $$($(NAMES) requirements.txt requirements-oidc.txt) \
		requirements-dev.in --output-file requirements-dev.txt
	sed --in-place '1i -r requirements-oidc.txt' requirements-dev.txt
	$(LOCK) --constraint requirements-dev.txt \
		$$($(NAMES) requirements.txt requirements-oidc.txt requirements-dev.txt) \
		requirements-bench.in --output-file requirements-bench.txt
	sed --in-place '1i -r requirements-dev.txt' requirements-bench.txt
	$(LOCK) requirements-tools.in --output-file requirements-tools.txt

# What an installation is made of, as CycloneDX.
sbom: .tools/ready
	.tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.json requirements.txt
	$(PYTHON) -m tests.deploy.sbom requirements.txt sbom.json

clean:
	rm -rf .venv .tools .demo .pytest_cache .mypy_cache .ruff_cache sbom.json
