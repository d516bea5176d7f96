# make demo                     the whole path from raw data to a submission on synthetic cells: ten minutes on two cores
# make try                      finds the nuclei in three example images with the model that mmcell brings: a minute
# make test                     lint and the fast tests
# make test-slow                lint and all tests
# make fuzz                     thousands of damaged and odd files for all readers; FUZZ="--inputs 100000 --jobs 2"
# make fuzz-guided              the same, with inputs that are kept if they reach new lines (Linux, x86-64);
#                               FUZZ_GUIDED="--targets QuPath ImageJ --seconds 300"
# make soak                     kills and disturbs commands at random for 20 minutes; SOAK="--seed 7 --minutes 5"
# make test-lowest              the fast tests with the lowest versions that requirements.txt allows, in .venv-lowest
# make sbom                     the installed packages with their licences, in the format CycloneDX: work_dirs/sbom.json
# make wheels                   keeps the packages onedl-* in the folder wheels/, from which they are then installed
# make challenge DATA=folder    from the challenge's raw folders to submission.zip. A stopped training is continued.
#                               CONFIG=file names another experiment, and OPTIONS="--cfg-options …" changes its settings
# The first call of make with any of these targets also installs everything into the folder $(VENV). VENV=folder and
# PYTHON=interpreter name another folder and another interpreter.

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
WHEELS := wheels
LOWEST := build/lowest.txt
ATHERIS := build/atheris
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
READY := $(VENV)/.installed-for-mmcell
DEMO := work_dirs/demo
DEMO_CONFIG := configs/cell/mask-rcnn_r18_demo.py
CONFIG ?= configs/cell/mask-rcnn_r50.py
ANNOTATIONS ?= annotations
WORK_DIR ?= work_dirs/$(patsubst configs/%,%,$(basename $(CONFIG)))
SUBMISSION ?= submission.zip
OPTIONS ?=
FUZZ ?=
FUZZ_GUIDED ?=
SOAK ?=
# The configs read annotations/. Another folder is named to them.
FILES = $(if $(filter-out annotations,$(ANNOTATIONS)),--cfg-options $(foreach part,train val test,\
	$(part)_dataloader.dataset.ann_file=$(ANNOTATIONS)/$(part).json))
# Red and blue are swapped in the images of the challenge.
CHANNEL_ORDER ?= bgr

.PHONY: challenge demo fast-tests fuzz fuzz-guided lint sbom soak test test-lowest test-slow try wheels

# opencv-python and opencv-python-headless are both dependencies of other packages, and they write to the same folder.
# The headless package is installed again at the end and overwrites the other's files, because it does not need the
# graphics libraries of the system.
$(READY): requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 was found: name one with make PYTHON=INTERPRETER" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(addprefix --find-links=,$(wildcard $(WHEELS))) -r requirements.txt -r requirements-dev.txt \
		-c $(CONSTRAINTS)
	$(BIN)/pip install --force-reinstall --no-deps $$(grep '^opencv-python-headless==' $(CONSTRAINTS))
	touch $(READY)

# Each test file runs in one of up to four processes. A process takes about 1 GB of memory and one thread.
test: lint fast-tests

fast-tests: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow"

test-slow: lint
	MMCELL_ALL_EXAMPLES=1 $(BIN)/python -m pytest

fuzz: $(READY)
	$(BIN)/python tests/fuzzing/run.py $(FUZZ)

# atheris (Apache-2.0) is installed into a folder of its own, because nothing else needs it.
fuzz-guided: $(READY)
	test -d $(ATHERIS) || $(BIN)/pip install --no-deps --target $(ATHERIS) atheris==3.0.0
	PYTHONPATH=$(ATHERIS) $(BIN)/python tests/fuzzing/guided.py $(FUZZ_GUIDED)

# The figures of the run replace those in the document.
soak: $(READY)
	$(BIN)/python tests/soak/run.py --report docs/reference/reliability.md $(SOAK)

# Each package of requirements.txt is pinned to the version after its >=.
test-lowest:
	mkdir -p $(dir $(LOWEST))
	sed -n 's/^\([A-Za-z0-9-]*\)>=\([^,]*\).*/\1==\2/p' requirements.txt > $(LOWEST)
	$(MAKE) fast-tests VENV=.venv-lowest CONSTRAINTS=$(LOWEST)

sbom: $(READY)
	PYTHONPATH=tests $(BIN)/python -m support.sbom work_dirs/sbom.json

wheels: $(READY)
	$(BIN)/pip wheel --no-deps --wheel-dir $(WHEELS) -c constraints.txt $$(grep -o '^onedl-[a-z]*' requirements.txt)

# Experiments that users add to configs/ are not looked at.
lint: $(READY)
	files=$$(git ls-files 'configs/*.py' 2>/dev/null); \
		$(BIN)/ruff check benchmarks data_prep mmcell tests tools $$files && \
		$(BIN)/flake8 benchmarks data_prep mmcell tests tools $$files

try: $(READY)
	$(BIN)/python tools/predict.py nuclei examples/nuclei --out work_dirs/try --formats labels rois geojson csv overlay
	@echo "look at work_dirs/try/tissue_overlay.png and work_dirs/try/cells.csv; docs/guides/analyst.md says what the others are"

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/python data_prep/make_demo_data.py $(DEMO)/data
	$(BIN)/python data_prep/to_coco.py $(DEMO)/data --out $(DEMO)/annotations \
		--class-names epithelial lymphocyte neutrophil macrophage --channel-order bgr
	$(BIN)/python tools/train.py $(DEMO_CONFIG)
	$(BIN)/python tools/test.py $(DEMO_CONFIG) $(DEMO)/run --split val --out $(DEMO)/val.pkl
	$(BIN)/python tools/evaluate.py $(DEMO)/val.pkl $(DEMO)/annotations/val.json --out $(DEMO)/metrics.json
	$(BIN)/python tools/test.py $(DEMO_CONFIG) $(DEMO)/run --out $(DEMO)/test.pkl
	$(BIN)/python tools/submit.py $(DEMO)/test.pkl --annotations $(DEMO)/annotations/test.json --out $(DEMO)/submission.zip
	$(BIN)/python tools/submit.py --check $(DEMO)/submission.zip --annotations $(DEMO)/annotations/test.json
	$(BIN)/python tools/overlay.py $(DEMO)/val.pkl --annotations $(DEMO)/annotations/val.json --out $(DEMO)/overlays
	$(BIN)/python tools/report.py $(DEMO)/run $(DEMO)/val.pkl --title "Demo" --out $(DEMO)/report.html
	@echo
	@printf 'validation images: '
	@grep -h 'Epoch(test)' $(DEMO)/run/*/*.log | grep -o 'AP: .*AP50@100: [0-9.]*' | tail -n 1 | grep .
	@echo "submission: $(DEMO)/submission.zip    pictures: $(DEMO)/overlays"
	@echo "report, to be opened in a browser: $(DEMO)/report.html"

challenge: $(READY)
	@test -n "$(DATA)" || { echo "name the folder with train/ and test_release/: make challenge DATA=folder" >&2; exit 1; }
	$(BIN)/python data_prep/to_coco.py "$(DATA)" --out $(ANNOTATIONS) --channel-order $(CHANNEL_ORDER)
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(WORK_DIR) --resume $(FILES) $(OPTIONS)
	$(BIN)/python tools/test.py $(CONFIG) $(WORK_DIR) --work-dir $(WORK_DIR) --out $(WORK_DIR)/results.pkl $(FILES) \
		$(OPTIONS)
	$(BIN)/python tools/submit.py $(WORK_DIR)/results.pkl --annotations $(ANNOTATIONS)/test.json --out $(SUBMISSION)
