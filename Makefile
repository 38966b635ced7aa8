# On a machine with only Python >= 3.11: `make demo` installs and runs the main job, `make test` installs and tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FIGURES ?=
DEMO ?= demo

.PHONY: demo test torchquantum minimal check install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "riverone_hf needs Python >= 3.11, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# Reads six simulated figures and those in FIGURES=<folder> with the model inside the package.
demo: install
	$(BIN)/riverone data show --plots 6 --seed 1 --out $(DEMO)/figures
	$(BIN)/riverone read $(DEMO)/figures $(if $(FIGURES),"$(FIGURES)")

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Other simulators beside ours: installs torchquantum (without its dependencies) and PennyLane, and compares.
torchquantum: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/torchquantum.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/pennylane.txt
	RIVERONE_REFERENCE_BACKENDS=1 $(BIN)/python -m pytest tests/circuits/reference

# A second environment with the core dependencies only: importing, loading and reading need nothing else.
minimal: install
	$(PYTHON) -m venv $(VENV)-core
	$(VENV)-core/bin/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/riverone build --recipe smoke --out $(VENV)-core/model warmup.steps=2 sft.steps=2 evaluate.plots=6
	$(BIN)/riverone data show --plots 1 --seed 1 --out $(VENV)-core/figures
	$(VENV)-core/bin/riverone read $(VENV)-core/figures --model $(VENV)-core/model --json
	$(VENV)-core/bin/riverone read $(VENV)-core/figures --json

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-core $(DEMO) .pytest_cache .ruff_cache .mypy_cache
