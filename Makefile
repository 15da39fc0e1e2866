# Two commands do everything on a machine with Python 3.11 and make:
#   make demo    installs qsmprep into .venv and runs it on a real scan
#   make test    installs qsmprep into .venv and runs every test
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test lint clean

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/qsmprep tests/data/philips demo/derivatives participant --work-dir demo/work
	@echo "The report: $(CURDIR)/demo/derivatives/sub-01.html"

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist *.egg-info
