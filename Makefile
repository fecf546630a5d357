# The commands of this project; `make` alone lists them. ARGS is handed on: make demo ARGS="--agents 4".
CARGO ?= cargo
PREFIX ?= /usr/local
ARGS ?=

.PHONY: help
help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

.PHONY: demo
demo: ## a whole farm on this machine, dispatched to the end and audited
	@.ci/prepare demo
	$(CARGO) run --release --locked -- demo $(ARGS)

.PHONY: test
test: ## every test, on a real PostgreSQL, real gRPC and real RQD agents
	@.ci/prepare test
	$(CARGO) test --locked --no-fail-fast $(ARGS)

.PHONY: bench
bench: ## frames per second booked and launched, beside the database's own floor
	@.ci/prepare demo
	$(CARGO) bench --locked --bench farm -- $(ARGS)

.PHONY: lint
lint: ## formatting and lints, as warnings that fail
	@.ci/prepare lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- --deny warnings

.PHONY: generate
generate: ## the manual pages and completions, out of the command line's definition
	@.ci/prepare build
	UPDATE_GENERATED=1 $(CARGO) test --locked --test suite generated::the_files_are_fresh

.PHONY: build
build: ## the program, in target/release
	@.ci/prepare build
	$(CARGO) build --release --locked

# What has been built is installed as it is, so that root needs no toolchain.
.PHONY: install
install: ## the program with its manual and completions, under PREFIX (/usr/local)
	@test -x target/release/cue-scheduler || $(MAKE) build
	install -D -m 755 target/release/cue-scheduler $(DESTDIR)$(PREFIX)/bin/cue-scheduler
	install -D -m 644 config/scheduler.yaml $(DESTDIR)$(PREFIX)/share/cue-scheduler/scheduler.yaml
	@for page in man/*.1; do \
	  test ! -e $$page || install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man1/$${page##*/}; done
	@test ! -e completions/cue-scheduler.bash || install -D -m 644 completions/cue-scheduler.bash \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cue-scheduler
	@test ! -e completions/_cue-scheduler || install -D -m 644 completions/_cue-scheduler \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cue-scheduler
	@test ! -e completions/cue-scheduler.fish || install -D -m 644 completions/cue-scheduler.fish \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cue-scheduler.fish
