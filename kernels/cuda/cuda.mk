# kernels/cuda/cuda.mk - the CUDA backend as it is shipped: libopenautoglm_cuda.so, which nvcc makes; included by the
# Makefile. It is no part of plain `make`. tests/cusim/cusim.mk builds the same sources for the emulator.
CUDA    ?= /usr/local/cuda
NVCC    ?= $(CUDA)/bin/nvcc
CU      := $(wildcard kernels/cuda/*.cu)

# For the newest architecture also PTX, for those to come. A kernel that spills fails the build. Contraction is off: fma
# only where the source says fmaf, so that results do not depend on how a kernel was inlined.
ARCHS   ?= 80 86 89 90 100 120
GENCODE := $(foreach a,$(ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
           $(foreach a,$(lastword $(ARCHS)),-gencode arch=compute_$(a),code=compute_$(a))
NVFLAGS := -std=c++17 -O3 -I. -fmad=false -Werror all-warnings -Xcompiler -fPIC,-fvisibility=hidden -Xptxas -v \
           $(GENCODE)
$B/cuda/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVFLAGS)' | cmp -s - $@ || echo '$(NVFLAGS)' > $@
define NVCC_RULE
$B/cuda/%.o: $(1)/%.cu $B/cuda/flags
	@echo "  NVCC  $$<"
	@$(NVCC) $(NVFLAGS) $$(NVDEFS) -MMD -MP -c -o $$@ $$< 2> $$@.log || { cat $$@.log; exit 1; }
	@! grep -E -B2 '[1-9][0-9]* bytes spill' $$@.log || { rm $$@; exit 1; }
endef
$(eval $(call NVCC_RULE,kernels/cuda))
$B/cuda/cuda.o: NVDEFS := $(OPS_INTERFACE)

# What a backend in a library of its own shares with the program, in C.
PLUGIN_C := $(addprefix $B/plugin/,kernels/dtype.o kernels/half.o kernels/panels.o kernels/quant.o kernels/slab.o \
                         base/err.o)
$B/plugin/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) -std=gnu11 -O2 -g -MMD -MP -fPIC -fvisibility=hidden -ffp-contract=off $(WARN) -I. -D_GNU_SOURCE -c -o $@ $<

CUDA_OBJ := $(CU:kernels/cuda/%.cu=$B/cuda/%.o) $(PLUGIN_C)
$B/libopenautoglm_cuda.so: $(CUDA_OBJ)
	$(NVCC) -shared -o $@ $^ -cudart static -Xlinker --no-undefined

cuda: $B/libopenautoglm_cuda.so ## the CUDA backend for GPUs (needs nvcc; ARCHS="90" for one architecture)

-include $(wildcard $B/cuda/*.d) $(PLUGIN_C:.o=.d)

.PHONY: FORCE cuda
