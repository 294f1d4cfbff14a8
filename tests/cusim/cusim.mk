# tests/cusim/cusim.mk - the CUDA backend on the emulator (needs g++ on x86-64 and
# CUDA's headers), and its tests there and on GPUs; included by the Makefile after
# kernels/cuda/cuda.mk. No part of plain `make`; `make test` builds and tests the emulation.
# The toolkit's headers, or else those of NVIDIA's Python packages: 7 MB, fetched once.
CUDA_H  := $(if $(wildcard $(CUDA)/include/cuda_runtime.h),$(CUDA)/include,$B/cuda-headers/nvidia/cu13/include)
EMU     := $(wildcard tests/cusim/*.c)
EMU     := $(filter-out tests/cusim/test_% tests/cusim/count_step.c tests/cusim/gpu_bench.c,$(EMU))
EMUH    := tests/cusim/internal.h tests/cusim/cusim.h tests/cusim/stream.h
SIMFLAGS := -std=c++17 -g -MMD -MP -fPIC -fvisibility=hidden -fno-extern-tls-init -fno-threadsafe-statics \
           -ffp-contract=off -Wall -Wno-unknown-pragmas \
           -Wno-parentheses -I. -I$(CUDA_H) -include tests/cusim/cusim.h \
           $(shell grep -qw fma /proc/cpuinfo 2>/dev/null && echo -mfma -mf16c)
CHECKS  := -fsanitize=thread,alignment,bounds,shift -Wno-tsan

$B/cusim/fast/cuda.o $B/cusim/checked/cuda.o: SIMFLAGS += $(OPS_INTERFACE)

# Everything that is compiled for both libraries: $B/cusim/fast (served) and $B/cusim/checked (tests).
SIM_C   := $(EMU:tests/cusim/%.c=%.o) shared.o
$B/cusim/fast/%.o: kernels/cuda/%.cu tests/cusim/cusim.h | $(CUDA_H)/cuda_runtime.h
	@mkdir -p $(@D)
	@echo "  SIM  $<"
	@g++ $(SIMFLAGS) -O2 -x c++ -c -o $@ $<
$B/cusim/checked/%.o: kernels/cuda/%.cu tests/cusim/cusim.h | $(CUDA_H)/cuda_runtime.h
	@mkdir -p $(@D)
	@echo "  SIM  $< (checked)"
	@g++ $(SIMFLAGS) -O1 $(CHECKS) -x c++ -c -o $@ $<
$B/cusim/checked/%.o: tests/cusim/%.cu kernels/cuda/tc.cuh kernels/cuda/common.cuh $(EMUH) | $(CUDA_H)/cuda_runtime.h
	@mkdir -p $(@D)
	@echo "  SIM  $< (checked)"
	@g++ $(SIMFLAGS) -O1 $(CHECKS) -x c++ -c -o $@ $<

SIMCC   := $(CC) -std=gnu11 -O2 -g -MMD -MP -fPIC -fvisibility=hidden $(WARN) -I. -I$(CUDA_H) -D_GNU_SOURCE
$B/cusim/emu/%.o: tests/cusim/%.c $(EMUH) | $(CUDA_H)/cuda_runtime.h
	@mkdir -p $(@D)
	@$(SIMCC) -c -o $@ $<
$B/cusim/emu/shared.o: tests/cusim/shared.cc
	@mkdir -p $(@D)
	@g++ -std=c++17 -O2 -fPIC -fvisibility=hidden -c -o $@ $<

-include $(wildcard $B/cusim/*/*.d)

SIM_EMU := $(SIM_C:%=$B/cusim/emu/%) $(PLUGIN_C)
SIM_FAST    := $(CU:kernels/cuda/%.cu=$B/cusim/fast/%.o) $(SIM_EMU)
SIM_CHECKED := $(CU:kernels/cuda/%.cu=$B/cusim/checked/%.o) $(SIM_EMU)
SIM_WRAPPERS := $B/cusim/checked/wrappers.o $(SIM_EMU)
$B/libopenautoglm_cusim.so: $(SIM_FAST)
	@g++ -shared -o $@ $^ -ldl -lpthread
$B/libopenautoglm_cusim_checked.so: $(SIM_CHECKED)
	@g++ -shared -o $@ $^ -ldl -lpthread

$B/libcusim_selfcheck.so: $B/cusim/checked/bugs.o $(SIM_EMU)
	@g++ -shared -o $@ $^ -ldl -lpthread

$B/libcusim_wrappers.so: $(SIM_WRAPPERS)
	@g++ -shared -o $@ $^ -ldl -lpthread

cusim: $B/libopenautoglm_cusim.so ## the CUDA backend on the emulator: --device cusim

cusim-checked: $B/libopenautoglm_cusim_checked.so $B/libcusim_selfcheck.so $B/libcusim_wrappers.so

$B/cuda-headers/nvidia/cu13/include/cuda_runtime.h: tests/cusim/requirements.txt | $(VENV)/tests
	@echo "  GET  CUDA's headers"
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $B/cuda-headers -r $<
	@touch $@

# What the tests need where it can be had; where it cannot, they say `skip`.
cusim-for-tests: $(if $(wildcard $(CUDA_H)),,$(VENV)/tests)
	@if [ "$$(uname -m)" != x86_64 ] || ! command -v g++ >/dev/null; then \
		echo "the emulation of CUDA needs g++ on x86-64"; \
	elif ! $(MAKE) -s $(CUDA_H)/cuda_runtime.h; then echo "the emulation of CUDA needs CUDA's headers"; \
	else $(MAKE) cusim cusim-checked; fi

CUSIM_TESTS := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/cusim/test_*.c))
cusim-test: $(CUSIM_TESTS) cusim-for-tests
cusim-test: ## the CUDA backend on the emulator: kernels, golden cases, streams; the emulator itself
	@tests/run.sh $(CUSIM_TESTS)

cusim-test-all: ## the same with every golden case, in more chunks
	@CUSIM_ALL=1 $(MAKE) cusim-test

# ---- on GPUs ----
$(eval $(call NVCC_RULE,tests/cusim))
$B/libopenautoglm_cuda_wrappers.so: $B/cuda/wrappers.o
	@$(NVCC) -shared -o $@ $^ -cudart static -Xlinker --no-undefined

cuda-report: $B/libopenautoglm_cuda.so cusim-checked $O/tests/cusim/count_step $O/openautoglm $B/libopenautoglm_cusim.so
cuda-report: ## registers, bytes, rooflines of the CUDA kernels, into docs/cuda.md
	$(PYTHON) tests/cusim/report.py

# On the machine with the GPU: for its architecture alone, so that building takes a minute.
GPU_ARCH = $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
gpu-libraries: cusim-checked
	@test -n "$(GPU_ARCH)" || { echo "nvidia-smi finds no GPU here"; exit 1; }
	@$(MAKE) ARCHS=$(GPU_ARCH) $B/libopenautoglm_cuda.so $B/libopenautoglm_cuda_wrappers.so

gpu-test: gpu-libraries $(CUSIM_TESTS) $O/openautoglm
gpu-test: ## on a machine with a GPU: wrappers, operations, golden cases, replays, answers, compute-sanitizer
	@$(or $(wildcard $(PYTHON)),python3) tests/cusim/gpu_test.py

gpu-bench: gpu-libraries $O/tests/cusim/gpu_bench $O/openautoglm
gpu-bench: ## on a machine with a GPU: operations next to their limits and PyTorch, the server next to vLLM
	@$(or $(wildcard $(PYTHON)),python3) tests/cusim/gpu_bench.py

.PHONY: cuda-report cusim cusim-checked cusim-for-tests cusim-test cusim-test-all \
        gpu-libraries gpu-test gpu-bench

include tests/cusim/kit.mk
