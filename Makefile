# Every target works on a fresh Debian 12 with Rust: tests/packages.sh installs the Debian packages that are missing.
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

.PHONY: all build demo test test-host lint bench man install

all: build

build:
	@tests/packages.sh build
	$(CARGO) build --release --locked

# A kernel with device-mapper, blank disks, and dmtool at work on them.
demo:
	@tests/packages.sh build kernel
	$(CARGO) test --quiet --locked --test demo

test:
	@tests/packages.sh build kernel
	$(CARGO) test --locked --no-fail-fast

# The kernel tests on this machine itself, as root, on loop devices: for a host with device-mapper.
test-host:
	@tests/packages.sh build kernel
	tests/host.sh $(CARGO) test --locked --no-fail-fast --test kernel -- --test-threads=1

lint:
	@tests/packages.sh build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --quiet --locked --test walls
	shellcheck -s sh tests/*.sh tests/harness/*.sh

bench:
	@tests/packages.sh build kernel
	$(CARGO) bench --locked --bench bench

# The manual pages are committed; tests/manual.rs pins them to the help.
man:
	@tests/packages.sh build
	DMTOOL_WRITE_MAN=1 $(CARGO) test --quiet --locked --test manual

install: build
	install -D -m 0755 target/release/dmtool $(DESTDIR)$(PREFIX)/sbin/dmtool
	for page in man/*.8; do install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man8/$${page##*/} || exit 1; done
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|' systemd/dmtool-activate.service \
	    > $(DESTDIR)$(PREFIX)/lib/systemd/system/dmtool-activate.service
	mkdir -p $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	target/release/dmtool completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/dmtool
	target/release/dmtool completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_dmtool
	target/release/dmtool completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/dmtool.fish
