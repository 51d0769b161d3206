# Every target sets up what it needs by itself; only Python 3.11+ is expected.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo run test machine check fmt unit bench pictures lock sbom clean

help: ## this list
	@sed --quiet 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand --tabs=18

# Every file is named by its SHA-256 and nothing is built, so that no code runs while installing.
# --no-deps: the files name all that is needed, and not requirements-left-out.in.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:

demo: .venv/dev ## the console with a share and an S3 of its own; Ctrl-C removes it all
	$(BIN)/python -m tests.demo

test: machine check unit ## everything that has to hold before a commit

# With the machine's own Python: it is asked before anything is installed.
machine: ## say what the tests need and this machine does not have
	@$(PYTHON) -m tests.support.machine

check: .venv/dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: .venv/dev ## bring the code into form, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# In three processes, on two cores too: the tests in browsers mostly wait. A module stays together,
# with its servers; the order is that of tests/conftest.py, the longest first.
unit: machine .venv/dev ## all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

bench: .venv/bench ## measure against aws, s5cmd and rclone (docs/performance.md)
	$(BIN)/python -m tests.bench

# The guides' pictures, taken anew by the browser tests.
pictures: .venv/dev ## take the guides' pictures anew
	HIMURO_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser/test_archive.py tests/browser/test_restore.py tests/browser/test_signin.py tests/browser/test_oidc.py tests/browser/test_search.py tests/browser/test_takeaway.py
	$(BIN)/python -m tests.deploy.pictures

run: .venv/dev ## the console with the settings of the environment or of .env
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

lock: .tools/ready ## requirements*.txt from requirements*.in
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
sbom: .tools/ready ## write a software bill of materials, sbom.json
	.tools/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.json requirements.txt
	$(PYTHON) -m tests.deploy.sbom requirements.txt sbom.json

clean: ## remove what make has made
	rm -rf .venv .tools .demo .pytest_cache .mypy_cache .ruff_cache sbom.json
