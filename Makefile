# Everything sets itself up: a venv in .venv with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VIDEOS ?= build/sample
STORE ?= build/features
DEMO ?= build/demo
DIST ?= dist
WEIGHTS ?=
ANNOTATIONS ?=
OUT ?= build/reproduced
TORCH ?=
TORCH_INDEX ?=
ONLY ?=
ARGS ?=
BUNDLE ?= build/gpu-bundle
THERE ?=
# A Python that somebody named has to be the environment's; else that of an environment that is there.
NAMED := $(if $(filter file default undefined,$(origin PYTHON)),,$(PYTHON))
SETUP_PYTHON := $(if $(shell test -x "$(BIN)/python" && echo there),$(BIN)/python,$(PYTHON))

.PHONY: help setup features demo reproduce test soak portability walks lowest check bench gpu-bundle gpu-check release clean
help:
	@echo "make setup [PYTHON=python3.11] [VENV=.venv] [TORCH=cpu TORCH_INDEX=address]  the environment"
	@echo "make features [VIDEOS=dir] [STORE=out] [WEIGHTS=random:0]  extract features (sample clips by default)"
	@echo "make demo [DEMO=dir] [WEIGHTS=random:0]  from nothing to trained heads and an explained answer"
	@echo "make reproduce VIDEOS=dir ANNOTATIONS=dir [OUT=dir] [WEIGHTS=random:0] [ARGS='pstp --ablations']  papers' tables"
	@echo "make test      run the tests"
	@echo "make soak      all tries of docs/reliability.md: kills, damage, full disks, lost files, clocks"
	@echo "make portability [ONLY=name]  the main path on other Pythons, without a home, on one core, ..."
	@echo "make walks [ONLY=name]  what people come to do, each from start to end"
	@echo "make lowest    the main path with the lowest versions of every dependency"
	@echo "make check     formatting, lint, types"
	@echo "make release [DIST=dist]  build wheel and sdist, try the wheel in an empty environment"
	@echo "make bench     measure on this machine, write docs/benchmarks.md"
	@echo "make gpu-bundle [BUNDLE=dir] [THERE=file]  wheels and clips for a machine with a GPU and no network"
	@echo "make gpu-check [BUNDLE=dir] [OUT=dir] [PYTHON=python3]  on that machine: does the GPU do what the CPU does, and how fast"

setup:
	@command -v "$(SETUP_PYTHON)" > /dev/null || { echo "avqa: PYTHON=$(PYTHON): there is no such program; expected Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@"$(SETUP_PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "avqa: PYTHON=$(PYTHON) is $$("$(SETUP_PYTHON)" --version 2>&1); expected Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@"$(SETUP_PYTHON)" portability/venv.py "$(VENV)" --python "$(NAMED)" --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)" --goal "$(MAKECMDGOALS)"

features: setup
ifeq ($(VIDEOS),build/sample)
	@$(BIN)/python -m avqa.demo.sample "$(VIDEOS)" "$(STORE)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)
else
	@$(BIN)/avqa extract --videos "$(VIDEOS)" --out "$(STORE)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)
endif

demo: setup
	@$(BIN)/python -m avqa.demo.demo "$(DEMO)" $(if $(WEIGHTS),--weights "$(WEIGHTS)")

reproduce: setup
	@$(BIN)/avqa reproduce $(ARGS) --videos "$(VIDEOS)" --annotations "$(ANNOTATIONS)" --out "$(OUT)" $(if $(WEIGHTS),--weights "$(WEIGHTS)")

test: setup
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: setup
	$(BIN)/python -m pytest -n 3 -m soak $(ARGS)

portability: setup
	$(BIN)/python -m portability $(ONLY)

walks: setup
	$(BIN)/python -m portability.walks $(ONLY)

lowest: setup
	$(BIN)/python -m portability lowest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.beside
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.questions
	$(BIN)/python -m benchmarks.networks
	$(BIN)/python -m benchmarks.heads
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.scale_array

gpu-bundle: setup
	@$(BIN)/python -m benchmarks.gpu.bundle "$(BUNDLE)" $(if $(THERE),--there $(THERE)) $(ARGS)

# Without setup: what is there, and the folder's wheels, are all that it uses.
gpu-check:
	@"$(PYTHON)" benchmarks/gpu/prepare.py "$(BUNDLE)" $(ARGS)

release: setup
	@$(BIN)/python -m portability.release "$(DIST)"

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
