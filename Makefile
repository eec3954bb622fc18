# make demo   venv, install, embedded data, training, evaluation, one prediction: a few minutes on two CPU cores
# make test   venv, install, ruff, mypy, pytest
#
# ICT=path/to/FaceXModel VALID=path/to/heads make small   trains the model that comes with the package: hours
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

# Three families of heads; of VALID's 28 training people 16 each are made. Held-out people: clean scans of other people.
FAMILIES := data/small
VARIED := --vary_geometry --captions_per_row 1 --rest_per_subject 1 --one_sided 0.5
TESTED := --captions_per_row 1 --rest_per_subject 2 --random_per_tested 7 --one_sided 0.5

.PHONY: demo small test clean

demo: $(VENV)/demo
	$(BIN)/python -m dataset_scripts.build_anny --out $(DATA)/anny $(RECIPE) --num_proc $(PROCESSES) --meshes
ifdef ICT
	$(BIN)/python -m dataset_scripts.build_ict_facekit --source "$(ICT)" --out $(DATA)/ict $(RECIPE) --subjects 20 10 60 --num_proc $(PROCESSES)
endif
	ACCELERATE_USE_CPU=true $(BIN)/torchrun --nproc_per_node $(PROCESSES) train.py \
	    --dataset $(DATA)/anny $(if $(ICT),--also_test $(DATA)/ict) --output_dir $(RUN) --overwrite --steps 550 --view_dropout 0.6 --num_workers 0
	$(BIN)/mvfer predict $(DATA)/anny/meshes/*.obj --model $(RUN) --picture views.png

small: $(VENV)/demo
ifndef ICT
	$(error name ICT-FaceKit's folder: make small ICT=path/to/FaceXModel VALID=path/to/valid-avatars-glb)
endif
	$(BIN)/python -m dataset_scripts.build_anny --out $(FAMILIES)/anny --subjects 500 30 10 $(VARIED)
	$(BIN)/python -m dataset_scripts.build_ict_facekit --source "$(ICT)" --out $(FAMILIES)/ict --subjects 500 30 10 $(VARIED)
	$(BIN)/python -m dataset_scripts.build_valid --source "$(VALID)" --out $(FAMILIES)/valid $(VARIED) --people 16 \
	    --expressions_per_subject 1 --random_per_subject 7
	$(BIN)/python -m dataset_scripts.build_anny --out $(FAMILIES)/anny-test --subjects 1 1 60 --seed 1001 $(TESTED)
	$(BIN)/python -m dataset_scripts.build_ict_facekit --source "$(ICT)" --out $(FAMILIES)/ict-test --subjects 1 1 60 --seed 1001 $(TESTED)
	$(BIN)/python -m dataset_scripts.build_valid --source "$(VALID)" --out $(FAMILIES)/valid-test $(TESTED)
	ACCELERATE_USE_CPU=true $(BIN)/python train.py --dataset $(FAMILIES)/anny $(FAMILIES)/ict $(FAMILIES)/valid \
	    --output_dir runs/small --overwrite --steps 4500 --captions fresh --languages en ja --view_dropout 0.5 --poor_sensor 0.5 \
	    --eval_every 500 --num_workers 0
	$(BIN)/mvfer evaluate --model runs/small --dataset $(FAMILIES)/anny --also_test $(FAMILIES)/anny-test $(FAMILIES)/ict-test \
	    $(FAMILIES)/valid-test --baseline 0 1 3 all rest --actions --wordings --robustness \
	    --calibrate --calibrate_on $(FAMILIES)/ict $(FAMILIES)/valid --update_card --out report/small
	$(BIN)/python -m mvfer.hub.bundle runs/small mvfer/models/small

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

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
