# openautoglm - `make help` lists the targets. Sanitizer builds call this file again with SAN and NAME set.
B      := build
CC     ?= cc
VENV   := $(B)/venv
PYTEST := $(VENV)/bin/python -m pytest

PKGS   := jansson libcurl libssl libcrypto libjpeg libpng zlib libwebp libpcre2-8 libutf8proc
WARN   := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wno-psabi
X86    := $(filter x86_64%,$(shell $(CC) -dumpmachine))
ARM64  := $(filter aarch64%,$(shell $(CC) -dumpmachine))
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fstack-clash-protection $(if $(X86),-fcf-protection)
OPT    ?= -O2 -g
VERSION := $(shell cat VERSION)
# -ffp-contract=off: an expression means the same whoever compiles it; kernels ask for FMA by name.
# -fPIC, and symbols that stay within: one set of objects is the program and the shared library.
CFLAGS += -std=gnu11 $(OPT) $(WARN) -fPIC -fvisibility=hidden \
          $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer,$(HARDEN)) -ffp-contract=off \
          -MMD -MP -I. -D_GNU_SOURCE -DVERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lgif -lm -lpthread -ldl
LDFLAGS += $(if $(SAN),-fsanitize=$(SAN),-pie -Wl,-z,relro,-z,now,-z,noexecstack)

# Sanitizer builds live in folders of their own: build/asan, build/tsan.
O      := $(B)$(if $(NAME),/$(NAME))
ROOMS  := base config image checkpoint tokenizer template grammar kernels kernels/ref kernels/cpu model model/families \
          output engine fetch server selftest library cli
SRC    := $(wildcard $(ROOMS:%=%/*.c))
OBJ    := $(SRC:%.c=$O/%.o)
LIB    := $(filter-out $O/cli/main.o $O/cli/version.o,$(OBJ))
TESTS  := $(patsubst tests/%.c,$O/tests/%,$(wildcard tests/*/test_*.c))

all: $O/openautoglm ## build/openautoglm (the default)

# The documented defaults follow the table. A program for another machine may not run here; then the file stays as it
# is, and a test says so if it is old.
ifndef NAME
all: config/default.json
config/default.json: config/options.inc | $O/openautoglm
	@$O/openautoglm defaults > $O/default.json && { cmp -s $O/default.json $@ || cp $O/default.json $@; }; touch $@
endif

$O/openautoglm: $(OBJ)
	@echo "  LD  $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$O/libopenautoglm.a: $(LIB)
	@rm -f $@
	@ar rcs $@ $^

# Only what library/openautoglm.h declares can be seen from outside, and only what that needs is in it: no HTTP.
VERBS  := $(filter $O/library/%,$(OBJ))
SONAME := libopenautoglm.so.$(firstword $(subst ., ,$(VERSION)))
$O/libopenautoglm.so: $(VERBS) $O/libopenautoglm.a
	@echo "  LD  $@"
	@$(CC) $(filter-out -pie,$(LDFLAGS)) -shared -Wl,-soname,$(SONAME) $(if $(SAN),,-Wl,--no-undefined) -o $@ $^ \
		-Wl,--as-needed $(LDLIBS)
	@ln -sf libopenautoglm.so $O/$(SONAME)

library: $O/libopenautoglm.so ## build/libopenautoglm.so, for programs of your own (docs/c-api.md)

# What compilers are told is part of what they make: the file is written when that has changed.
ifneq ($(file <$O/flags),$(CFLAGS))
$(shell mkdir -p $O)
$(file >$O/flags,$(CFLAGS))
endif

$O/%.o: %.c VERSION $O/flags
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(CFLAGS) $(ISA) -c -o $@ $<

# --version names the commit; COMMIT=... says it where git is not there to be asked. No other object knows it, so that a
# commit makes this one alone anew.
override COMMIT := $(shell release/commit.sh $O/commit '$(COMMIT)')
$O/cli/version.o: $O/commit
$O/cli/version.o: CFLAGS += -DCOMMIT='"$(COMMIT)"'
$O/commit:

# The page for people is a part of this object; the compiler does not list what the assembler includes.
$O/server/page.o: $(wildcard web/*)

# So is the description of the API, as JSON. The system's own Python, because setup.sh installs its YAML.
PYTHON3 ?= /usr/bin/python3
$O/server/openapi.o: $O/openapi.json
$O/server/openapi.o: CFLAGS += -DOPENAPI_JSON='"$O/openapi.json"'
$O/openapi.json: openapi.yaml
	@mkdir -p $(@D)
	@$(PYTHON3) -c 'import json, sys, yaml; \
		json.dump(yaml.safe_load(open("$<")), sys.stdout, ensure_ascii=False, separators=(",", ":"))' > $@.new \
		|| { echo "$<: $(PYTHON3) cannot read it; it needs the module yaml, Debian's package python3-yaml"; exit 1; }
	@mv $@.new $@

# What a new type of numbers must do is what does not compile: no switch over an enumeration has a `default`.
$O/kernels/%.o $O/model/%.o: CFLAGS += -Wswitch-enum

# A backend in a library of its own must have been made with the same interface.
OPS_INTERFACE := -DOPS_INTERFACE=$(firstword $(shell cat kernels/ops.h kernels/dtype.h | cksum))u
$O/kernels/plugin.o: CFLAGS += $(OPS_INTERFACE)

# The plain backend is one thread's, and most of the time of the tests that compare with it.
ifeq ($(SAN),thread)
$O/kernels/ref/%.o $O/kernels/half.o: CFLAGS := $(filter-out -fsanitize=thread,$(CFLAGS))
endif

# What a sanitizer puts into loops that are unrolled for registers takes minutes to optimise.
LESS   := $(if $(SAN),-O1)
%isa_generic.o: ISA := $(LESS)
ifneq ($(X86),)
AVX2   := -mavx2 -mfma -mf16c -mbmi2 $(LESS)
AVX512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mbmi2 $(LESS)
%_avx2.o:       ISA := $(AVX2)
%_avxvnni.o:    ISA := $(AVX2) -mavxvnni
%_avx512.o:     ISA := $(AVX512)
%_avx512vnni.o: ISA := $(AVX512) -mavx512vnni
%_amx.o:        ISA := $(AVX512) -mavx512vnni -mamx-tile -mamx-bf16 -mamx-int8
endif
ifneq ($(ARM64),)
%_neon.o:       ISA := $(LESS)
%_neondot.o:    ISA := -march=armv8.2-a+dotprod $(LESS)
endif

$O/tests/%: tests/%.c $O/libopenautoglm.a
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(CFLAGS) -o $@ $< $(filter %.o,$^) $O/libopenautoglm.a $(LDFLAGS) $(shell pkg-config --libs check) $(LDLIBS)

-include $(OBJ:.o=.d) $(TESTS:=.d)
include kernels/cuda/cuda.mk
-include tests/cusim/cusim.mk

include tests/tests.mk
include release/release.mk

demo: all ## start the server, ask it about a screenshot, mark the tap
	@cli/demo.sh

# What they put between a check and a use makes gcc suspect strings that are not null and fit.
ASAN   := SAN=address,undefined NAME=asan OPT="-O2 -g -Wno-format-truncation -Wno-format-overflow"
TSAN   := SAN=thread NAME=tsan OPT="-O2 -g -Wno-format-truncation -Wno-format-overflow"

asan: ## build/asan/openautoglm with AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) $(ASAN) all

tsan: ## build/tsan/openautoglm with ThreadSanitizer
	@$(MAKE) $(TSAN) all

clean: ## remove what was built (the virtual environment and what bench-peers installed stay)
	find $(B) -mindepth 1 -maxdepth 1 ! -name venv ! -name peers -exec rm -rf {} +

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{ printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: all library demo asan tsan clean help
.DEFAULT_GOAL := all
