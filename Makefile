# Two commands do everything on a machine with Python 3.11 and make:
#   make demo    installs qsmprep into .venv and runs it on a real scan and on two simulated ones
#   make test    installs qsmprep into .venv and checks everything
# Debian's packages that they need are installed on the way, or named.
PYTHON ?= $(or $(shell command -v python3.11 2>/dev/null),python3)
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --use-pep517 --constraint constraints.txt
INSTALLED := .venv/.installed
FOR_TESTS := .venv/.installed-for-tests

.PHONY: demo test docs package lint clean

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	.ci/need '$(PYTHON) -c "import ensurepip"' python3-venv
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

$(FOR_TESTS): $(INSTALLED)
	.ci/need 'command -v chromium' chromium 'command -v chromium' fonts-dejavu-core \
	    'command -v bwrap' bubblewrap 'command -v dot' graphviz \
	    'command -v slurmctld' slurm-wlm 'command -v munged' munge
	$(PIP) --editable '.[docs,test]'
	touch $@

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/qsmprep tests/data/philips demo/real participant --work-dir demo/work/real
	$(BIN)/qsmprep-simulate demo/dataset --subjects 2 --voxel 2
	$(BIN)/qsmprep demo/dataset demo/simulated participant --work-dir demo/work/simulated \
	    --derivatives truth=demo/dataset/derivatives/simulation
	@echo "A real scan:               $(CURDIR)/demo/real/sub-01.html"
	@echo "Simulated, beside truth:   $(CURDIR)/demo/simulated/sub-01.html and sub-02.html"

test: $(FOR_TESTS) docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m numpydoc lint $$(find qsmprep -name '*.py')
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
	    --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

docs: $(FOR_TESTS)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site
	$(BIN)/python docs/check.py build/site

package: $(FOR_TESTS)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

lint: $(FOR_TESTS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist docs/api *.egg-info
