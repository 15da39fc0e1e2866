# Two commands do everything on a machine with Python 3.11 and make:
#   make demo    installs qsmprep into .venv and runs it on a real scan and on two simulated ones
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
	rm -rf demo
	$(BIN)/qsmprep tests/data/philips demo/real participant --work-dir demo/work/real
	$(BIN)/qsmprep-simulate demo/dataset --subjects 2 --voxel 2
	$(BIN)/qsmprep demo/dataset demo/simulated participant --work-dir demo/work/simulated \
	    --derivatives truth=demo/dataset/derivatives/simulation
	@echo "A real scan:               $(CURDIR)/demo/real/sub-01.html"
	@echo "Simulated, beside truth:   $(CURDIR)/demo/simulated/sub-01.html and sub-02.html"

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m numpydoc lint $$(find qsmprep -name '*.py')
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist *.egg-info
