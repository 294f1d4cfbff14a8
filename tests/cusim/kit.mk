# tests/cusim/kit.mk - one folder with all that a bare machine with a GPU needs to check, measure and train; included by
# cusim.mk. KIT_DEVICE=cusim puts the emulator in the place of the GPU, to try the kit where there is none.
KIT        := $B/gpu-kit
KIT_DEVICE ?= cuda
KIT_ARCH   ?= 90
KIT_BIN    := $(KIT)/build
KIT_STEPS  := test_wrappers test_ops test_golden test_replay test_resize test_blas gpu_bench
KIT_LIBS   := $(if $(filter cuda,$(KIT_DEVICE)),libopenautoglm_cuda.so libopenautoglm_cuda_wrappers.so,\
                libopenautoglm_cusim.so libopenautoglm_cusim_checked.so) libcusim_wrappers.so
# The libraries lie beside the programs; old tags, so that they are found for the libraries' own needs and for plug-ins.
# C++'s own libraries go into the plug-ins: Debian's ask for a newer glibc than all the rest.
KIT_LINK    = -s -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/$(1)'
KIT_STATIC := -static-libstdc++ -static-libgcc

gpu-kit: ## a folder for a bare machine with a GPU: checks, measures, trains (docs/cuda.md; KIT_ARCH=90)
	@test "$(KIT_DEVICE)" != cuda || test -x "$(NVCC)" || { echo "gpu-kit: needs nvcc; $(NVCC) is not there"; exit 1; }
	@rm -rf $(KIT)
	@$(MAKE) $(CUDA_H)/cuda_runtime.h
	@$(MAKE) ARCHS="$(KIT_ARCH)" kit-files

kit-files: $(KIT_BIN)/openautoglm $(KIT_STEPS:%=$(KIT_BIN)/tests/cusim/%) $(KIT_LIBS:%=$(KIT_BIN)/%) $(VENV)/kit
	@PYTHONPATH=python $(PYTHON) tests/cusim/kit/fonts.py $(KIT)/fonts
	@tests/cusim/kit/fill.sh $(KIT) "$(KIT_DEVICE)" "$(KIT_ARCH)"

$(KIT_BIN)/openautoglm: $(OBJ)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CC) $(LDFLAGS) $(call KIT_LINK,lib) -o $@ $(OBJ) $(LDLIBS)

$(KIT_BIN)/tests/cusim/%: tests/cusim/%.c $O/libopenautoglm.a
	@mkdir -p $(@D)
	@echo "  CC  $< (kit)"
	@$(CC) $(filter-out -MMD -MP,$(CFLAGS)) -o $@ $< $O/libopenautoglm.a $(LDFLAGS) $(call KIT_LINK,../../lib) \
		$(shell pkg-config --libs check) $(LDLIBS)

$(KIT_BIN)/libopenautoglm_cuda.so: $(CUDA_OBJ)
$(KIT_BIN)/libopenautoglm_cuda_wrappers.so: $B/cuda/wrappers.o
$(KIT_BIN)/libopenautoglm_cuda.so $(KIT_BIN)/libopenautoglm_cuda_wrappers.so:
	@mkdir -p $(@D)
	@$(NVCC) -shared -o $@ $^ -cudart static -Xlinker --no-undefined,-s $(KIT_STATIC:%=-Xcompiler %)

$(KIT_BIN)/libopenautoglm_cusim.so: $(SIM_FAST)
$(KIT_BIN)/libopenautoglm_cusim_checked.so: $(SIM_CHECKED)
$(KIT_BIN)/libcusim_wrappers.so: $(SIM_WRAPPERS)
$(KIT_BIN)/libopenautoglm_cusim.so $(KIT_BIN)/libopenautoglm_cusim_checked.so $(KIT_BIN)/libcusim_wrappers.so:
	@mkdir -p $(@D)
	@g++ -shared -s $(KIT_STATIC) -o $@ $^ -ldl -lpthread

$(VENV)/kit: tests/cusim/kit/requirements.txt | $(VENV)/tests
	@echo "  VENV for the kit's fonts"
	@$(PYTHON) -m pip install -q --disable-pip-version-check -r $<
	@touch $@

.PHONY: gpu-kit kit-files
