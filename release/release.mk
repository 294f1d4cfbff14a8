# release/release.mk - what is installed, and what is given to people who do not build; included by the Makefile.

PREFIX  ?= /usr/local
DESTDIR ?=

install: all ## install the program, the model, man page, completion, systemd unit: PREFIX=/usr/local DESTDIR=
	@release/install.sh $O/openautoglm "$(DESTDIR)" "$(PREFIX)"

deb: all ## build/openautoglm_VERSION_amd64.deb for the Debian that this is
	@release/deb.sh $O/openautoglm $(B) $(VERSION)

.PHONY: install deb
