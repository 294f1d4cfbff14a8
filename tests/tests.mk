# tests/tests.mk - what runs the tests, the training and the measurements; included by the Makefile.

PYTHON  := $(VENV)/bin/python
SCREENS ?= 500
SEED    ?= 1
MINUTES ?= 120

# The emulator of CUDA comes with checks of its own, which do not go together with a sanitizer's.
ifdef SAN
TESTS   := $(filter-out $O/tests/cusim/%,$(TESTS))
else
test test-c: cusim-for-tests
endif

test: $(TESTS) $O/openautoglm $O/libopenautoglm.so layers format
test: $(VENV)/tests ## every test, ending in a line that counts them
	@OPENAUTOGLM_BIN=$(abspath $O/openautoglm) tests/run.sh --api $(TESTS)

test-c: $(TESTS) ## the C tests alone
	@tests/run.sh $(TESTS)

BENCHES := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/bench/*_bench.c))
-include $(BENCHES:=.d)

ifndef SAN
test test-api: $(BENCHES)
endif

test-api: $O/openautoglm $O/libopenautoglm.so $(VENV)/tests ## the tests of the HTTP API alone, with the openai client
	@OPENAUTOGLM_BIN=$(abspath $O/openautoglm) tests/run.sh --api

# The sanitizers' own memmem() looks at the whole text before each search: finding all of many matches takes minutes.
asan-test: ## every test under AddressSanitizer and UndefinedBehaviorSanitizer
	@ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:intercept_memmem=0 \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(MAKE) $(ASAN) TEST_SLOW=1 test

tsan-test: ## every test under ThreadSanitizer
	@TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:intercept_memmem=0 $(MAKE) $(TSAN) TEST_SLOW=1 test

# Loaded in front of the C library by tests/api/test_memory.py.
$O/tests/alloc/fail_alloc.so: tests/alloc/fail_alloc.c
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -shared -fPIC -o $@ $< -ldl

ifndef SAN
test test-api: $O/tests/alloc/fail_alloc.so
endif

# Tests of the verbs from within and from outside go together.
$O/tests/library/test_library: | $O/libopenautoglm.so

alloc-test: $O/openautoglm $O/tests/alloc/fail_alloc.so $(VENV)/tests
alloc-test: ## requests while memory is refused: each n-th allocation up to 400, once and repeatedly
	@ALLOC_TEST_TO=400 OPENAUTOGLM_BIN=$(abspath $O/openautoglm) \
		$(PYTEST) -q -s -p no:cacheprovider tests/api/test_memory.py

layers: ## who may include whom
	@tests/layers.sh

format: ## how long lines are, white space at their ends, tabs
	@tests/format.sh

bench: $O/tests/bench/ops_bench ## kernels as shares of this machine's peaks: BENCH="--json --only int8 --threads 1"
	@$O/tests/bench/ops_bench $(BENCH)

bench-peers: all $(VENV)/tests ## our server beside llama.cpp and OpenVINO GenAI: ARGS="--rows text,decode --rounds 3"
	@$(PYTHON) python/benchmark/run.py $(ARGS)

# Two sets of Python packages in one virtual environment: for the tests, and on top of them for training.
$(VENV)/tests: tests/requirements.txt
	@echo "  VENV for the tests"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -q --disable-pip-version-check -r $<
	@touch $@

$(VENV)/training: python/requirements.txt $(VENV)/tests
	@echo "  VENV for training"
	@$(PYTHON) -m pip install -q --disable-pip-version-check -r $<
	@touch $@

venv: $(VENV)/training ## the Python environment for training, evaluation and golden files

train: $(VENV)/training ## train the native model: MINUTES=120
	PYTHONPATH=python $(PYTHON) -m openautoglm.train --out build/runs/a --minutes $(MINUTES)

eval: all $(VENV)/tests ## ask the server about fresh screens: SCREENS=500 SEED=1
	@PYTHONPATH=python $(PYTHON) -m openautoglm.evaluate --serve build/openautoglm --screens $(SCREENS) --seed $(SEED)

phone: all $(VENV)/tests ## an agent does a task on a scripted phone: TASK='Open Settings, then go back'
	@$(PYTHON) python/phone/run.py $${TASK:+"$$TASK"} --filmstrip $(B)/phone.png

.PHONY: phone test test-c test-api alloc-test asan-test tsan-test layers format bench bench-peers venv train eval

# Partial redundancy elimination takes a third of the time, for loops that only tests run.
$O/tests/kernels/test_ops: $O/tests/kernels/wide.o $O/tests/kernels/narrow.o
$O/tests/kernels/wide.o $O/tests/kernels/narrow.o: ISA := $(LESS) -fno-tree-pre
-include $O/tests/kernels/wide.d $O/tests/kernels/narrow.d
