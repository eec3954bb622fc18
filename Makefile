# make demo   venv, install, embedded data, training, evaluation, one prediction: a few minutes on two CPU cores
# make test   venv, install, ruff, mypy, pytest
#
# ICT=path/to/FaceXModel make demo   also tests on ICT-FaceKit's scanned faces, a topology that the model never saw

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo
DATA := data/demo
PROCESSES := 2
RECIPE := --intensity 0.7 1 --captions_per_row 1
export TOKENIZERS_PARALLELISM := false
export OMP_NUM_THREADS := 1

.PHONY: demo test clean

demo: $(VENV)/demo
	$(BIN)/python -m dataset_scripts.build_anny --out $(DATA)/anny $(RECIPE) --num_proc $(PROCESSES) --meshes
ifdef ICT
	$(BIN)/python -m dataset_scripts.build_ict_facekit --source "$(ICT)" --out $(DATA)/ict $(RECIPE) --subjects 20 10 60 --num_proc $(PROCESSES)
endif
	ACCELERATE_USE_CPU=true $(BIN)/torchrun --nproc_per_node $(PROCESSES) train.py \
	    --dataset $(DATA)/anny $(if $(ICT),--also_test $(DATA)/ict) --output_dir $(RUN) --overwrite --steps 550 --view_dropout 0.6 --num_workers 0
	$(BIN)/mvfer predict $(DATA)/anny/meshes/*.obj --model $(RUN) --picture views.png

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -c constraints.txt -e ".[train,demo,fast]"
	touch $@

$(VENV)/test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) data runs report views.png
