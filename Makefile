# Every target works on a fresh Debian 12 with Rust: tests/packages.sh installs the Debian packages that are missing.
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
BUILT = target/release/dmtool
BINARY = $(BUILT)
DEBS = target/debian
CARGO_DEB_VERSION = 3.8.0
CARGO_DEB = target/tools/cargo-deb-$(CARGO_DEB_VERSION)/bin/cargo-deb
CARGO_DENY_VERSION = 0.20.2
CARGO_DENY = target/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_FUZZ_VERSION = 0.13.2
CARGO_FUZZ = target/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
BUILD_FUZZ = $(CARGO) fetch --quiet --locked --manifest-path tests/fuzz/Cargo.toml && \
    $(CARGO_FUZZ) build --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none
MAN = $(DESTDIR)$(PREFIX)/share/man/man8
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
SHARE = $(DESTDIR)$(PREFIX)/share
DOC = $(SHARE)/doc/dmtool

.PHONY: all build demo test test-host torture fuzz lint audit valgrind bench man install uninstall deb

all: build

build:
	@tests/packages.sh build
	$(CARGO) build --release --locked

# A kernel with device-mapper, blank disks, and dmtool at work on them.
demo:
	@tests/packages.sh build kernel
	$(CARGO) test --quiet --locked --test demo

# The package is made by a test, for another test; the tool for it is best had before. A panic's words are the last thing
# that its test says. A guest has one processor and waits half of its time (for udev, dmeventd, Docker): three of them keep
# two processors busy.
TEST_THREADS ?= $(shell echo $$((($$(nproc) * 3 + 1) / 2)))
test: $(CARGO_DEB)
	@tests/packages.sh build kernel deb
	RUST_BACKTRACE=0 RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --no-fail-fast

# The kernel tests on this machine itself, as root, on loop devices: for a host with device-mapper.
test-host:
	@tests/packages.sh build kernel
	tests/host.sh $(CARGO) test --locked --no-fail-fast --test kernel -- --test-threads=1

# dmtool cut off by kills, crashes and power cuts, for an hour, or for TORTURE_SECONDS; see tests/torture.rs.
torture: $(CARGO_FUZZ)
	@tests/packages.sh build kernel torture
	$(BUILD_FUZZ)
	$(CARGO) test --locked --test torture

# Whatever comes from outside, as a fuzzer thinks of it: FUZZ_SECONDS (60) for each of FUZZ_TARGETS (all), one after the
# other. Stable Rust has no sanitizer, and safe code needs none.
fuzz: $(CARGO_FUZZ)
	@tests/packages.sh build torture
	$(BUILD_FUZZ)
	tests/fuzz.sh $(FUZZ_TARGETS)

# SC2207: clap's script takes compgen's words as they come, and they are dmtool's own.
lint:
	@tests/packages.sh build lint
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --quiet --locked --test walls
	shellcheck -s sh tests/*.sh tests/harness/*.sh packaging/debian/postrm
	@mkdir -p target/completions
	for shell in bash zsh fish; do target/debug/dmtool completions $$shell > target/completions/$$shell && \
	    $$shell -n target/completions/$$shell || exit 1; done
	shellcheck -s bash -e SC2207 target/completions/bash
	for page in man/*.8; do said=$$(groff -ww -man -Tutf8 -rLL=80n -z $$page 2>&1) && [ -z "$$said" ] && \
	    [ "$$(groff -man -Tutf8 -P-cbou -rLL=80n $$page | LC_ALL=C.UTF-8 wc -L)" -le 80 ] || \
	    { echo "$$page: $${said:-wider than 80 columns}"; exit 1; }; done

# What dmtool is made of, by .cargo/deny.toml. OFFLINE=1 leaves out what is known against it, which lies elsewhere.
audit: $(CARGO_DENY)
	$(CARGO_DENY) --locked check licenses bans sources
	@if [ -n "$(OFFLINE)" ]; then echo "audit: OFFLINE, so nobody asked for advisories" >&2; \
	elif $(CARGO_DENY) --locked fetch db; then $(CARGO_DENY) --locked check --disable-fetch advisories; \
	else echo "audit: the advisories could not be had, so nobody knows of any; OFFLINE=1 leaves them out" >&2; exit 1; fi

# The tests of what stands on foreign functions, and dmtool itself on a real pool in a guest. Memory that "possibly" is
# lost is not: Rust keeps its hash tables and threads by pointers into their middle.
VALGRIND = valgrind --quiet --vgdb=no --error-exitcode=99 --leak-check=full \
    --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect
valgrind:
	@tests/packages.sh build kernel torture
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(VALGRIND)" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$(VALGRIND)" \
	    $(CARGO) test --locked --lib -- --test-threads=1 sys::
	$(CARGO) test --locked --test kernel -- --ignored valgrind::

bench:
	@tests/packages.sh build kernel
	$(CARGO) bench --locked --bench bench

# The manual pages are committed; tests/manual.rs pins them to the help.
man:
	@tests/packages.sh build
	DMTOOL_WRITE_MAN=1 $(CARGO) test --quiet --locked --test manual

# Everything below DESTDIR and PREFIX, as packagers expect it. Given a BINARY, none is built.
install: $(if $(filter $(BUILT),$(BINARY)),build)
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/sbin/dmtool
	mkdir -p $(UNITS) $(MAN) $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions \
	    $(SHARE)/fish/vendor_completions.d $(DOC)
	install -m 0644 man/*.8 $(MAN)
	for unit in $(notdir $(wildcard systemd/*)); do \
	    sed 's|/usr/local/sbin|$(PREFIX)/sbin|' systemd/$$unit > $(UNITS)/$$unit || exit 1; done
	$(BINARY) completions bash > $(SHARE)/bash-completion/completions/dmtool
	$(BINARY) completions zsh > $(SHARE)/zsh/site-functions/_dmtool
	$(BINARY) completions fish > $(SHARE)/fish/vendor_completions.d/dmtool.fish
	install -m 0644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE $(DOC)
	for file in $$(find examples -type f); do install -D -m 0644 $$file $(DOC)/$$file || exit 1; done

# What install put there. Units are stopped and disabled by whoever enabled them; pools, and what dmtool knows of them,
# stay.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/dmtool $(addprefix $(MAN)/,$(notdir $(wildcard man/*.8))) \
	    $(addprefix $(UNITS)/,$(notdir $(wildcard systemd/*))) $(SHARE)/bash-completion/completions/dmtool \
	    $(SHARE)/zsh/site-functions/_dmtool $(SHARE)/fish/vendor_completions.d/dmtool.fish
	rm -f $(addprefix $(DOC)/,README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE $(shell find examples -type f))
	-find $(DOC) -depth -type d -empty -delete

# A Debian package of what install installs below /usr: target/debian/dmtool_*.deb.
deb: $(CARGO_DEB)
	rm -rf target/package $(DEBS)
	$(MAKE) install DESTDIR=target/package PREFIX=/usr
	printf 'dmtool (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
	    "$$(sed -n '/^version = "\(.*\)"/ { s//\1/p; q }' Cargo.toml)" \
	    "$$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" \
	    "$$(LC_ALL=C date -u -R -r CHANGELOG.md)" > target/package/changelog.Debian
	$(CARGO_DEB) --no-build --no-strip --locked --offline --output $(DEBS)/

# The tool that packs it, without its own compression: dpkg's tools have that.
$(CARGO_DEB):
	@tests/packages.sh build deb
	$(CARGO) install --quiet --locked --debug --no-default-features --root target/tools/cargo-deb-$(CARGO_DEB_VERSION) \
	    --target-dir target/tools/build --version $(CARGO_DEB_VERSION) cargo-deb
	rm -rf target/tools/build

# It takes three minutes to build, so no other target wants it.
$(CARGO_DENY):
	@tests/packages.sh build
	$(CARGO) install --quiet --locked --debug --no-default-features --root target/tools/cargo-deny-$(CARGO_DENY_VERSION) \
	    --target-dir target/tools/build-deny --version $(CARGO_DENY_VERSION) cargo-deny
	rm -rf target/tools/build-deny

$(CARGO_FUZZ):
	@tests/packages.sh build
	$(CARGO) install --quiet --locked --debug --root target/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION) \
	    --target-dir target/tools/build-fuzz --version $(CARGO_FUZZ_VERSION) cargo-fuzz
	rm -rf target/tools/build-fuzz
