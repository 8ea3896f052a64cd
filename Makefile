# The two commands a newcomer needs are `make demo` and `make test`; both set up what they need.
# `make demo MODEL=glif` and `MODEL=poisson` do the same with the other two models.

PY := .venv/bin/python
STAMP := .venv/.installed
MODEL := fsvae
RUN := runs/demo$(if $(filter-out fsvae,$(MODEL)),-$(MODEL))

.PHONY: setup lock demo test test-all fuzz kills equality gpu-check lint clean

setup: $(STAMP)

# uv sets up in half a minute; without it, pip does the same in a few. requirements.lock has every
# package with its hash; `make lock` makes it of pyproject.toml and the versions in constraints.txt.
$(STAMP): pyproject.toml requirements.lock
	@if uv --version >/dev/null 2>&1; then \
	  echo "setting up .venv with uv (about 5.5 GB)"; \
	  test -x $(PY) || uv venv --quiet --python 3.10 .venv; \
	  uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .; \
	else \
	  echo "setting up .venv with pip (about 5.5 GB, a few minutes)"; \
	  python=$$(command -v python3.10 || command -v python3); \
	  $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null || \
	    { echo "error: Python 3.10 not found (Lava runs on no other); install it and try again"; exit 1; }; \
	  test -x $(PY) || $$python -m venv .venv; \
	  $(PY) -m pip install --quiet --require-hashes -r requirements.lock && \
	  $(PY) -m pip install --quiet --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

lock:
	uv pip compile pyproject.toml --extra dev -c constraints.txt --generate-hashes --universal \
	  --python-version 3.10 --no-header --no-annotate --quiet -o requirements.lock

demo: setup
	.venv/bin/train-fsvae --dataset digits --model $(MODEL) --run-dir $(RUN) --force
	.venv/bin/export-netx $(RUN)/model.pt
	.venv/bin/run-lava $(RUN)/model.net --mode reconstruct --samples 16 --force
	.venv/bin/run-lava $(RUN)/model.net --mode generate --samples 16 --force
	@echo
	@echo "digits in and out:   $(RUN)/reconstruct/images.png"
	@echo "generated digits:    $(RUN)/generate/images.png"
	@echo "latent spikes:       $(RUN)/reconstruct/latents.png $(RUN)/generate/latents.png"
	@echo "reports:             $(RUN)/reconstruct/report/report.html $(RUN)/generate/report/report.html"

# By file: what the tests of a file share is made once.
test: lint
	$(PY) -m pytest -q -n 2 --dist loadfile

test-all: lint
	$(PY) -m pytest -q -n 2 --dist loadfile -m ""

# Damaged files of every kind, each given to the command that reads it: ten minutes.
fuzz: setup
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 $(PY) -m fuzz

# Commands killed at random moments, 20 times each.
kills: setup
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 $(PY) -m kills

# Random networks through the reference and Lava's graphs, value by value: an hour.
equality: setup
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 $(PY) -m equality

# For a machine with a CUDA card: all backends on it, then the time of a training step.
gpu-check: setup
	$(PY) -m pytest -q tests/train/backends/test_on_a_card.py
	$(PY) benchmarks/train.py --device cuda --sizes mnist celeba --batch 250

# Style, and which folder may import which (contracts in pyproject.toml).
lint: setup
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-logo

clean:
	rm -rf runs build *.egg-info .pytest_cache .ruff_cache .import_linter_cache
