# Everything a developer types. `make demo` and `make test` need nothing but python3 (3.10 or newer, with venv) and a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `pip install .` copies into the environment; a change to any of them installs again.
SOURCES := setup.py pyproject.toml $(shell find src include -name '*.py' -o -name '*.py[xid]*' -o -name '*.px[id]' -o -name '*.[ch]' -o -name '*.hpp' -o -name build.json)

.PHONY: demo test test-slow check lint ctest build lib docs onnx-nodes bench bench-streams bench-modules bench-decoding bench-cells bench-onnx bench-quick format clean

# ---- The two commands of the README --------------------------------------------------------------

demo: $(VENV)/demo
	$(BIN)/python examples/classify_domains.py microsoft.com wikipedia.com vlurgpeddygdy.com
	$(BIN)/python examples/spell_words.py activationist
	$(BIN)/python examples/normalise_dates.py "3 May 1979" "the 27th of January, 2052"

# A file of tests on each core: most of them have one thread, and none measures time.
test: $(VENV)/test
	$(BIN)/python -m pytest -n 2 --dist loadfile

# ---- Environments: each stamp file stands for what is installed -----------------------------------

$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/installed: $(VENV)/made $(SOURCES)
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps .
	touch $@

# Data packages are installed without what they ask for: their weights and series are read, and two of them are run in NumPy alone.
$(VENV)/demo: $(VENV)/made requirements/demo.txt requirements/data.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/data.txt
	touch $@

$(VENV)/test: $(VENV)/demo requirements/test.txt
	$(BIN)/python -m pip install --quiet -r requirements/test.txt
	touch $@

$(VENV)/bench: $(VENV)/test requirements/bench.txt
	$(BIN)/python -m pip install --quiet -r requirements/bench.txt
	touch $@

$(VENV)/lint: $(VENV)/test requirements/lint.txt
	$(BIN)/python -m pip install --quiet -r requirements/lint.txt
	touch $@

# ---- Developing --------------------------------------------------------------------------------

# The extension in place, for PYTHONPATH=src
build: $(VENV)/test
	$(BIN)/python setup.py --quiet build_ext --inplace

# libseqcore, static and shared, in build/lib; cmake --install build/lib --prefix DIR installs it
lib:
	cmake -S . -B build/lib
	cmake --build build/lib --parallel

check: lint test

# The C core without a warning, under cc and clang, is part of the two tests
lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(abspath $(BIN)):$$PATH cython-lint src/seqcore/_binding.pyx src/seqcore/_binding.pxd src/seqcore/_streams.pxi src/seqcore/_decoding.pxi
	$(BIN)/python -m pytest -q tests/test_c.py -k "build or bounds"

ctest: $(VENV)/test
	$(BIN)/python -m pytest tests/test_c.py tests/attacks/test_modelfile.py

# Minutes long: every float32 through the vector math
test-slow: $(VENV)/test
	$(BIN)/python -m pytest -m slow -s

format: $(VENV)/lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tables of docs/keras.md, pytorch.md and onnx.md, from those of the importers; torch writes files for the second
docs: $(VENV)/test
	$(BIN)/python docs/keras_page.py
	$(BIN)/python docs/pytorch_page.py
	$(BIN)/python docs/onnx_page.py

# The onnx package's node tests of every operator: which pass, which are refused, and why
onnx-nodes: $(VENV)/test
	$(BIN)/python tests/importers/onnx_node_tests.py

# The probe of the machine's limits runs behind the measurements; page and plots go to build/
bench: $(VENV)/bench
	mkdir -p build
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-json=build/bench.json -q
	SEQCORE_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest bench --table avx2 --benchmark-only \
		--benchmark-json=build/bench-avx2.json -q
	$(BIN)/python bench/profile_models.py --output build/benchmarks/real-models.md
	$(BIN)/python bench/report.py build/bench.json build/bench-avx2.json --output build/benchmarks
	$(BIN)/python bench/streaming.py --output build/benchmarks

# Steps, pools, several callers, cold starts: a page of its own
bench-streams: $(VENV)/bench
	$(BIN)/python bench/streaming.py --output build/benchmarks

# Whole modules of PyTorch, imported, beside PyTorch: a table on the screen
bench-modules: $(VENV)/bench
	OMP_NUM_THREADS=1 $(BIN)/python bench/modules.py

# Tokens of greedy decoding and beam search beside PyTorch's loops: a table on the screen
bench-decoding: $(VENV)/bench
	OMP_NUM_THREADS=1 $(BIN)/python bench/decoding.py

# Cells in full beside the plain ones: a table on the screen
bench-cells: $(VENV)/bench
	$(BIN)/python bench/cells.py

# ONNX graphs, whole sequences and chunk by chunk, beside ONNX Runtime: a table on the screen
bench-onnx: $(VENV)/bench
	OMP_NUM_THREADS=1 $(BIN)/python bench/onnx_graphs.py

bench-quick: $(VENV)/bench
	mkdir -p build
	$(BIN)/python -m pytest bench --quick --benchmark-only --benchmark-json=build/bench-quick.json -q
	$(BIN)/python bench/report.py build/bench-quick.json --output build/benchmarks-quick
	$(BIN)/python bench/streaming.py --quick --output build/benchmarks-quick

clean:
	rm -rf build dist $(VENV) src/*.egg-info src/seqcore/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
