# make demo   record a training script and look at the recording
# make test   run the tests, ruff and mypy
# make test-slow   run the tests that take long
# make bench  measure what recording and reading cost, beside what people use now (12 minutes, a quiet machine)
# make lint   ruff and mypy alone
# make clean  remove the environment and everything that was built
#
# Each makes its own environment first. Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN    := $(VENV)/bin
DEMO   ?= demos/digits_cnn_sum_losses.py
TORCH  := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)

.PHONY: demo test test-slow bench lint clean

demo: $(VENV)/.installed
	$(BIN)/optrace run -f -o demo.optrace $(DEMO)
	@if [ -t 0 ] && [ -t 1 ]; then \
	    $(BIN)/optrace view demo.optrace; \
	else \
	    $(BIN)/optrace info demo.optrace && $(BIN)/optrace show demo.optrace 3:2; \
	fi

# All three run, whichever fails: one run tells everything that is wrong. The slow tests (kill -9 over and over,
# tens of thousands of damaged files) have a target of their own. One torch thread to a test: the tests use the cores.
test: $(VENV)/.installed-test
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/mypy --strict optrace || status=1; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow" || status=1; \
	exit $$status

test-slow: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow

# BENCH chooses: make bench BENCH='tiny mlp-100k'. Without it everything is measured, and the page put into RESULTS.md.
bench: $(VENV)/.installed-benchmarks
	$(BIN)/python -m benchmarks $(or $(BENCH),--out benchmarks/RESULTS.md)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy --strict optrace

# torch comes first and by its exact version, so that no other package's looser wish chooses a build of it.
# hatchling comes with it, so that the project's own build uses the pinned one as well.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH) hatchling
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[test,frameworks]'
	@touch $@

$(VENV)/.installed-benchmarks: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[benchmarks]'
	@touch $@

clean:
	rm -rf .venv .venv-* build dist demo.optrace .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
