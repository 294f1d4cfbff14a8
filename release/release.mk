# release/release.mk - what is installed, and what is given to people who do not build; included by the Makefile.

PREFIX  ?= /usr/local
DESTDIR ?=
DIST    := $(B)/dist
RELEASE := openautoglm-$(VERSION)-linux-x86_64

install: all $O/libopenautoglm.so
install: ## install program, library, model, man page, completion, systemd unit: PREFIX=/usr/local DESTDIR=
	@release/install.sh $O/openautoglm "$(DESTDIR)" "$(PREFIX)"

# Objects for the oldest C library that a release runs on. What the host's compiler knows of instruction sets is needed,
# so the host compiles, with the headers and libraries of Debian 11 alone.
SYSROOT := $(abspath $(B)/sysroot)
MULTI   := x86_64-linux-gnu
$(SYSROOT)/ready: release/sysroot.sh
	@release/sysroot.sh $(SYSROOT)

dist-program: $(SYSROOT)/ready
	@PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
	PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(MULTI)/pkgconfig:$(SYSROOT)/usr/share/pkgconfig \
	CFLAGS="--sysroot=$(SYSROOT)" \
	LDFLAGS="--sysroot=$(SYSROOT) -B$(SYSROOT)/usr/lib/$(MULTI)/ -L$(SYSROOT)/usr/lib/$(MULTI) -L$(SYSROOT)/lib/$(MULTI) \
	-Wl,-rpath-link,$(SYSROOT)/usr/lib/$(MULTI):$(SYSROOT)/lib/$(MULTI) -Wl,--disable-new-dtags \
	-Wl,-rpath,'\$$\$$ORIGIN/../lib'" \
	$(MAKE) NAME=dist $(DIST)/openautoglm $(DIST)/libopenautoglm.so

dist: dist-program ## build/openautoglm-VERSION-linux-x86_64.tar.zst for every distribution with glibc 2.31 or later
	@release/dist.sh $(DIST)/openautoglm $(SYSROOT) $(B)/$(RELEASE)

deb: all $O/libopenautoglm.so ## build/openautoglm_VERSION_amd64.deb for the Debian that this is
	@release/deb.sh $O/openautoglm $(B) $(VERSION)

wheel: $O/libopenautoglm.so ## build/wheel/openautoglm-*.whl: the Python package with the library and the model
	@OPENAUTOGLM_LIBRARY=$(abspath $O/libopenautoglm.so) $(PYTHON3) python/backend.py $(B)/wheel

.PHONY: install dist dist-program deb wheel
