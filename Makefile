# pantry. `make help` lists the targets.
#
# Everything is built under $(BUILD). MODE=asan and the other modes have their own folders in it, so modes never mix. A change
# of compiler or flags rebuilds. Works with GNU make 3.81 (macOS) and newer.

BUILD ?= build
MODE ?= release
PREFIX ?= /usr/local
DESTDIR ?=
MODEL ?= qwen2.5-coder:1.5b
FUZZ_SECONDS ?= 60
ifeq ($(origin CC),default)
CC := cc
endif
ifeq ($(origin AR),default)
AR := ar
endif
COMMA := ,

B := $(BUILD)$(if $(filter-out release,$(MODE)),/$(MODE))

# ---- the machine that the compiler builds for ----

TARGET := $(shell $(CC) -dumpmachine 2>/dev/null)
ARCH := $(if $(filter aarch64% arm64%,$(TARGET)),arm64,$(if $(filter x86_64% amd64%,$(TARGET)),x86_64,other))
OS := $(if $(findstring darwin,$(TARGET))$(findstring macos,$(TARGET)),macos,linux)

# ---- libraries ----

PKGS := jansson libpcre2-8 libutf8proc libcrypto libedit libarchive libcurl libmicrohttpd ncursesw libjpeg libpng libwebp \
    libwebpdemux yaml-0.1
# the chat's line editor, the service and the monitor's screen are not in the library
LIB_PKGS := $(filter-out libedit libmicrohttpd ncursesw,$(PKGS))
# Homebrew keeps libraries that macOS also has, in older versions, out of the default path.
ifeq ($(OS),macos)
BREW := $(shell brew --prefix 2>/dev/null)
KEGS := curl libarchive libedit ncurses openssl@3
KEG_PATH := $(subst $() $(),:,$(KEGS:%=$(BREW)/opt/%/lib/pkgconfig))
PKG_CONFIG ?= PKG_CONFIG_PATH=$(KEG_PATH):$(PKG_CONFIG_PATH) pkg-config
EXTRA_CFLAGS := -I$(BREW)/include
EXTRA_LIBS := -L$(BREW)/lib
else
PKG_CONFIG ?= pkg-config
endif
# Without the macros of ncurses: every file chooses what it takes from the system.
PKG_CFLAGS := $(filter-out -D_DEFAULT_SOURCE -D_XOPEN_SOURCE=%,$(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)) $(EXTRA_CFLAGS)
PKG_LIBS := $(EXTRA_LIBS) $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
DL_LIB := $(if $(filter linux,$(OS)),-ldl)
LIBS := $(PKG_LIBS) -lm -pthread $(DL_LIB)

# ---- flags ----

WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wmissing-prototypes -Wstrict-prototypes
SANITIZE := -fno-omit-frame-pointer -fno-sanitize-recover=all -g
FLAGS_release := -O2 -g
FLAGS_debug := -O0 -g
# With clang the objects serve fuzzers and tests alike.
FLAGS_asan := -O1 -fsanitize=$(if $(findstring clang,$(CC)),fuzzer-no-link$(COMMA))address,undefined $(SANITIZE)
FLAGS_tsan := -O1 -fsanitize=thread -DPN_FEW_ISAS $(SANITIZE)
ifeq ($(FLAGS_$(MODE)),)
$(error MODE=$(MODE) is not one of release, debug, asan, tsan)
endif
CFLAGS_ALL = -std=c17 $(WARN) $(FLAGS_$(MODE)) -fPIC -fvisibility=hidden -pthread -Iinclude -Isrc $(PKG_CFLAGS) $(CFLAGS)
DEPS = -MMD -MP

# The instruction sets of this architecture, ISAS, and the folder and flags of each.
ISA := src/device/cpu/isa
include $(ISA)/isas.mk

# ---- files ----

rwildcard = $(foreach f,$(wildcard $(1)/*),$(call rwildcard,$(f),$(2)) $(filter $(subst *,%,$(2)),$(f)))
SRC_ALL := $(sort $(call rwildcard,src,*.c))
LIB_SRC := $(filter-out src/cli/% src/server/% $(wildcard $(ISA)/*/*.c),$(SRC_ALL))
CLI_SRC := $(filter src/cli/% src/server/%,$(SRC_ALL)) # the program: its commands and the service
isa_objects = $(patsubst $(ISA)/%.c,$(B)/$(ISA)/$(1)/%.o,$(sort $(wildcard $(ISA)/$(ISA_FOLDER_$(1))/*.c)))
# The kernels of GPUs as one text, which drivers compile, and compiled for NVIDIA's where nvcc is found.
GPU_KERNELS := $(B)/embedded/gpu_kernels.o $(B)/embedded/gpu_fatbin.o
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o) $(foreach i,$(ISAS),$(call isa_objects,$(i))) $(GPU_KERNELS)
# Files that the program carries: docs/NAME.json as the bytes pn_embedded_NAME.
EMBEDDED := $(B)/embedded/openapi.o
CLI_OBJ := $(CLI_SRC:%.c=$(B)/%.o) $(EMBEDDED)
TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
# Shared by unit tests and fuzzers: an archive, so that a fuzzer does not link the parts that need cmocka.
SUPPORT_OBJ := $(patsubst tests/support/%.c,$(B)/tests/support/%.o,$(sort $(wildcard tests/support/*.c)))
SHARED_SUPPORT := $(B)/tests/support/support.a
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
EXAMPLES := $(patsubst docs/examples/%.c,$(B)/examples/%,$(sort $(wildcard docs/examples/*.c)))
# A CUDA driver for machines without a GPU, and its kernels as C++: see tests/cuda-emulator. Without a C++ compiler, or under
# a sanitizer (which does not know fibers), tests run without it.
CXX_FOUND := $(shell command -v $(CXX) 2>/dev/null)
HERE := $(filter $(ARCH),$(subst aarch64,arm64,$(shell uname -m)))
EMULATED := $(if $(and $(CXX_FOUND),$(HERE),$(filter release,$(MODE)),$(filter linux,$(OS))),$(B)/cuda-emulator/libcuda.so.1 \
    $(B)/cuda-emulator/gpu_kernels_cuda.so $(B)/metal-emulator/libobjc.A.dylib)
TOOLS := $(patsubst tests/tools/%.c,$(B)/tools/%,$(sort $(wildcard tests/tools/*.c)))
BENCHES := $(patsubst bench/%.c,$(B)/bench/%,$(sort $(wildcard bench/*.c)))
HAS_MAIN := $(filter src/cli/main.c,$(CLI_SRC))

VERSION := $(shell sed -n 's/^.define PANTRY_VERSION "\(.*\)"/\1/p' include/pantry.h)
ABI := $(firstword $(subst ., ,$(VERSION)))
ifeq ($(OS),macos)
SO := libpantry.dylib
SO_ABI := libpantry.$(ABI).dylib
SO_FLAGS = -dynamiclib -install_name $(PREFIX)/lib/$(SO_ABI) -Wl,-exported_symbols_list,$(B)/exports
else
SO := libpantry.so
SO_ABI := libpantry.so.$(ABI)
NO_UNDEFINED := -Wl,--no-undefined # but the program provides a sanitizer's functions
SO_FLAGS = -shared -Wl,-soname,$(SO_ABI) -Wl,--version-script=$(B)/exports $(if $(filter release,$(MODE)),$(NO_UNDEFINED))
endif

# ---- targets ----

# The targets that do everything use all processors, unless a -j says otherwise.
PARALLEL = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))
SUBMAKE = $(MAKE) --no-print-directory $(PARALLEL)

all: $(B)/libpantry.a $(B)/$(SO) $(if $(HAS_MAIN),$(B)/pantry) ## build the library, static and shared, and the program

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1	\2/p' Makefile | awk -F'\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

run: ## set up, build, and chat with the default model (MODEL=... takes another)
	@tools/setup build model
	+@$(SUBMAKE) all
	@$(B)/pantry run $(MODEL)

test: ## set up, build, and run the unit tests
	@tools/setup build
	+@$(SUBMAKE) unit

# ONLY="engine gguf" runs some of the tests; SLOW=1 also runs slow tests that rarely fail.
CHOSEN := $(if $(ONLY),$(addprefix $(B)/tests/test_,$(ONLY)),$(TESTS))
unit: $(CHOSEN) $(if $(HAS_MAIN),$(B)/pantry) $(EMULATED)
	@$(if $(SLOW),PANTRY_TEST_SLOW=1) tools/run-tests $(B) $(CHOSEN)

check: ## check format, include rules, sizes, exports, and builds for other compilers and systems
	@tools/setup build check
	@tools/check

# Real models, if this machine has any, take too long under a sanitizer.
NO_STORE = $(CURDIR)/$(B)/no-store

# A clang that has libFuzzer, so that `make asan` and `make fuzz` share their objects; else the usual compiler.
FUZZ_CC = $$(tools/find-fuzz-clang 2>/dev/null || echo $(CC))

asan: ## build with the address and undefined-behaviour sanitizers and run the unit tests
	@tools/setup build
	+@PANTRY_HOME=$(NO_STORE) $(SUBMAKE) MODE=asan CC=$(FUZZ_CC) unit

tsan: ## build with the thread sanitizer and run the unit tests
	@tools/setup build
	+@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.suppressions PANTRY_HOME=$(NO_STORE) $(SUBMAKE) MODE=tsan unit

fuzz: ## build every fuzz target and run each for FUZZ_SECONDS
	@tools/setup build fuzz
	+@$(SUBMAKE) MODE=asan CC=$(FUZZ_CC) fuzzers
	@tools/run-fuzz $(BUILD)/asan $(FUZZ_SECONDS)

fuzzers: $(FUZZERS)

diff: ## compare with the reference implementations in Python (tests/diff)
	@tools/setup build python
	+@$(SUBMAKE) all programs
	@tools/run-diff $(BUILD)

MUTATE = +@JOBS=$(or $(JOBS),$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)) tools/mutate $(if $(N),-n $(N)) \
    $(if $(SEED),--seed $(SEED))

mutate: ## see how many small bugs the tests notice: ROOM=engine N=50 SEED=1, or FILES=..., or AGAIN=results
	@tools/setup build python
	$(MUTATE) $(if $(AGAIN),--again $(AGAIN),$(if $(FILES),--files $(FILES),--room $(or $(ROOM),all)))

mutate-change: ## the same for the lines of the last change: N=10, BASE=commit
	@tools/setup build python
	$(MUTATE) --change $(or $(BASE),auto) $(if $(GATE),--gate)

bench: ## measure prefill and decode speed of MODEL on this machine
	@tools/setup build model
	+@$(SUBMAKE) all programs
	@$(B)/pantry bench $(MODEL)

tests: $(TESTS)

emulated: $(EMULATED) ## build the emulated GPUs that tests use

objects: $(LIB_OBJ) $(CLI_OBJ)

programs: $(TOOLS) $(BENCHES)

examples: $(EXAMPLES) ## build the programs in docs/examples

# Outside the loader's folders a program needs the path of the library.
RPATH = $(if $(filter linux,$(OS)),$(if $(filter /usr /usr/local,$(PREFIX)),, -Wl$(COMMA)-rpath$(COMMA)$$(libdir)))
# Not their dependencies: the archive is linked with shared libraries, which name their own.
PRIVATE_LIBS = $(strip $(shell $(PKG_CONFIG) --libs $(LIB_PKGS) 2>/dev/null) -lm -pthread $(DL_LIB))
# Where each shell looks for completions, and under which name.
BASH_COMPLETION := share/bash-completion/completions/pantry
ZSH_COMPLETION := share/zsh/site-functions/_pantry
FISH_COMPLETION := share/fish/vendor_completions.d/pantry.fish
CMAKE_FILES := pantry-config.cmake pantry-config-version.cmake
MAN_PAGES := $(notdir $(wildcard docs/man/*.1))
INSTALLED := bin/pantry lib/libpantry.a lib/$(SO_ABI) lib/$(SO) include/pantry.h lib/pkgconfig/pantry.pc $(CMAKE_FILES:%=lib/cmake/pantry/%) \
    $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION) $(MAN_PAGES:%=share/man/man1/%)
# ldconfig makes the loader find the new library. Only as root, and not for a staged install (DESTDIR).
LDCONFIG = $(if $(filter linux,$(OS)),if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then \
	    PATH="$$PATH:/sbin:/usr/sbin"; if command -v ldconfig >/dev/null; then ldconfig; fi; fi)

install: all ## install program, library, header, man pages and shell completions under PREFIX
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	$(if $(HAS_MAIN),install -m 755 $(B)/pantry $(DESTDIR)$(PREFIX)/bin/pantry)
	install -m 644 $(B)/libpantry.a $(DESTDIR)$(PREFIX)/lib/libpantry.a
	install -m 755 $(B)/$(SO) $(DESTDIR)$(PREFIX)/lib/$(SO_ABI)
	ln -sf $(SO_ABI) $(DESTDIR)$(PREFIX)/lib/$(SO)
	install -m 644 include/pantry.h $(DESTDIR)$(PREFIX)/include/pantry.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@PRIVATE_LIBS@|$(PRIVATE_LIBS)|' \
	    -e 's|@RPATH@|$(subst $$(libdir),$${libdir},$(RPATH))|' tools/pantry.pc.in \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/pantry.pc
	mkdir -p $(DESTDIR)$(PREFIX)/lib/cmake/pantry
	for f in $(CMAKE_FILES); do sed -e 's|@SO_ABI@|$(SO_ABI)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' \
	    tools/$$f.in > $(DESTDIR)$(PREFIX)/lib/cmake/pantry/$$f || exit 1; done
	mkdir -p $(DESTDIR)$(PREFIX)/share/man/man1 $(addprefix $(DESTDIR)$(PREFIX)/,$(dir $(BASH_COMPLETION) \
	    $(ZSH_COMPLETION) $(FISH_COMPLETION)))
	install -m 644 $(MAN_PAGES:%=docs/man/%) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 docs/completions/pantry.bash $(DESTDIR)$(PREFIX)/$(BASH_COMPLETION)
	install -m 644 docs/completions/pantry.zsh $(DESTDIR)$(PREFIX)/$(ZSH_COMPLETION)
	install -m 644 docs/completions/pantry.fish $(DESTDIR)$(PREFIX)/$(FISH_COMPLETION)
	@$(LDCONFIG)

uninstall: ## remove the files of `make install` with the same PREFIX; models stay
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(INSTALLED))
	@$(LDCONFIG)

manual: $(B)/pantry ## write docs/commands.md, the man pages and the shell completions
	@tools/manual $(B)/pantry

format: ## lay out C files (.clang-format), Python files (ruff) and Markdown (100 columns)
	@tools/format -i

clean: ## remove what was built
	rm -rf $(BUILD)

# Without the libraries nothing compiles: one clear message instead of many errors.
ifeq ($(shell $(PKG_CONFIG) --exists $(PKGS) 2>/dev/null && echo yes),)
$(B)/flags: missing-libraries
endif
missing-libraries:
	@echo "pantry needs the libraries $(PKGS); 'tools/setup build' installs them" >&2; exit 1

# ---- rules ----

# One short line per step; V=1 shows the commands.
ifeq ($(V),1)
Q :=
say =
else
Q := @
say = @echo '$(1) $(2)'
endif

# Rewritten only when the compiler or its flags change; all objects depend on it.
FLAGS_NOW := $(CC) $(TARGET) $(CFLAGS_ALL) $(LDFLAGS) $(LIBS) $(foreach i,$(ISAS),$(i): $(ISA_FLAGS_$(i)))
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv $@.new $@; fi

# Floating point in tensor/ is the reference: no contraction, so that every machine computes the same bits. The exception
# flags and errno are unused, and preserving them would keep gcc from vectorizing.
$(B)/src/tensor/%.o: CFLAGS_HERE := $(if $(filter release,$(MODE)),-O3) -ffp-contract=off -fno-trapping-math -fno-math-errno
# check-arm64 runs kernels under an emulator, where the time to compile them counts.
KERNEL_OPT ?= -O3
ifneq ($(filter release,$(MODE)),)
$(B)/src/device/%.o: CFLAGS_HERE := $(KERNEL_OPT)
endif
$(B)/src/engine/scan.o: CFLAGS_HERE := $(if $(filter release,$(MODE)),-O3) -fno-trapping-math -fno-math-errno

$(B)/src/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(CFLAGS_HERE) $(DEPS) -c $< -o $@

$(B)/embedded/%.c: docs/%.json
	@mkdir -p $(@D)
	$(call say,EMBED,$<)
	$(Q){ echo '#include "server/embedded.h"'; echo 'const unsigned char pn_embedded_$*[] = {'; \
	    od -An -v -tu1 $< | sed 's/\([0-9][0-9]*\)/\1,/g'; echo '};'; \
	    echo 'const size_t pn_embedded_$*_len = sizeof pn_embedded_$*;'; } > $@.new && mv $@.new $@

GPU_SRC := $(wildcard src/device/gpu/kernels/*.gpu) src/device/gpu/args.h src/tensor/type.def src/tensor/act.def \
    src/tensor/quant/iquants_grid.def src/device/gpu/products.def
$(B)/embedded/gpu_kernels.c: tools/embed-kernels $(GPU_SRC)
	@mkdir -p $(@D)
	$(call say,EMBED,src/device/gpu/kernels)
	$(Q)tools/embed-kernels gpu_kernels >$@.new && mv $@.new $@

# All builds share it, since it takes a minute. Without nvcc it is empty, and a GPU's own driver compiles the text.
GPU_FATBIN := build/gpu_fatbin.c
$(GPU_FATBIN): tools/compile-kernels tools/embed-kernels $(GPU_SRC)
	@mkdir -p $(@D)
	$(call say,NVCC,src/device/gpu/kernels)
	$(Q)tools/compile-kernels $(OS) >$@.new && mv $@.new $@

$(B)/embedded/gpu_fatbin.c: $(GPU_FATBIN)
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(B)/embedded/%.o: $(B)/embedded/%.c $(B)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(DEPS) -c $< -o $@

# Of kernels only what may go wrong in them: checks of every pointer double the time to compile them, and coverage of
# arithmetic guides no fuzzer.
ifeq ($(MODE),asan)
ISA_SANITIZE := -fno-sanitize=null,alignment,pointer-overflow,object-size$(if $(findstring clang,$(CC)),$(COMMA)fuzzer-no-link)
endif

define isa_rule
$(B)/$(ISA)/$(1)/%.o: $(ISA)/%.c $(B)/flags
	@mkdir -p $$(@D)
	$$(call say,CC,$$< for $(1))
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(CFLAGS_HERE) $$(ISA_FLAGS_$(1)) $$(ISA_SANITIZE) -DPN_ISA=$(1) $$(DEPS) -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

$(B)/cuda-emulator/libcuda.so.1: tests/cuda-emulator/libcuda.c tests/gpu/fibers.c tests/gpu/fibers.h src/device/cuda/api.def $(B)/flags
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c17 $(WARN) -O2 -g -fPIC -shared -fvisibility=hidden $(CFLAGS) -Isrc -Itests tests/cuda-emulator/libcuda.c \
	    tests/gpu/fibers.c -Wl,-soname,libcuda.so.1 $(DL_LIB) -o $@

$(B)/cuda-emulator/kernels.cu: tools/embed-kernels $(GPU_SRC)
	@mkdir -p $(@D)
	$(Q)tools/embed-kernels >$@.new && mv $@.new $@

$(B)/cuda-emulator/gpu_kernels_cuda.so: tests/cuda-emulator/kernels.cpp tests/gpu/cuda_shim.h $(B)/cuda-emulator/kernels.cu
	$(call say,C++,$<)
	$(Q)$(CXX) -std=c++17 -O1 -g -fPIC -shared -Wl,-Bsymbolic -I$(@D) -Isrc -Itests $< -o $@

# In place of macOS's Objective-C runtime and of Metal: see tests/metal-emulator. It compiles kernels as C++ when it runs.
METAL_EMULATOR := tests/metal-emulator
$(B)/metal-emulator/libobjc.A.dylib: $(wildcard $(METAL_EMULATOR)/*.[ch]) $(B)/flags
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c17 $(WARN) -D_GNU_SOURCE -O2 -g -fPIC -shared -fvisibility=hidden $(CFLAGS) \
	    -DMETAL_EMULATOR_INCLUDE='"$(CURDIR)/$(METAL_EMULATOR)"' $(wildcard $(METAL_EMULATOR)/*.c) \
	    -Wl,-soname,libobjc.A.dylib $(DL_LIB) -o $@

# Tests calculate with sizes that are enumerators; newer compilers warn where these meet floats.
TEST_FLAGS := -Itests -Itests/support -Wno-enum-float-conversion
$(B)/tests/unit/%.o: tests/unit/%.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(TEST_FLAGS) $(DEPS) -c $< -o $@

$(B)/tests/support/%.o: tests/support/%.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(TEST_FLAGS) $(DEPS) -c $< -o $@

# The list of members rebuilds the archive when a source file is deleted.
$(B)/members: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(LIB_OBJ) > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv $@.new $@; fi

$(B)/libpantry.a: $(LIB_OBJ) $(B)/members
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $(LIB_OBJ)

$(B)/exports: Makefile
	@mkdir -p $(@D)
	@printf '%s\n' $(if $(filter macos,$(OS)),'_pantry_*','{ global: pantry_*; local: *; };') > $@

$(B)/$(SO): $(LIB_OBJ) $(B)/members $(B)/exports
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(SO_FLAGS) $(LIB_OBJ) $(LIBS) -o $@
	@ln -sf $(SO) $(B)/$(SO_ABI)

$(B)/pantry: $(CLI_OBJ) $(B)/libpantry.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) $^ $(LIBS) -o $@

$(SHARED_SUPPORT): $(SUPPORT_OBJ)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(B)/tests/%: $(B)/tests/unit/%.o $(SHARED_SUPPORT) $(B)/libpantry.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lcmocka -o $@

# Parts of the program with unit tests of their own.
$(B)/tests/test_metrics: $(B)/src/cli/metrics.o
$(B)/tests/test_repeat: $(B)/src/cli/repeat.o
$(B)/tests/test_ndjson: $(B)/src/cli/ndjson.o
$(B)/tests/test_guard: $(B)/src/server/guard.o
$(B)/tests/test_json: $(B)/src/server/json.o
$(B)/tests/test_keys: $(B)/src/server/keys.o
$(B)/tests/test_models: $(B)/src/server/models.o $(B)/src/server/adapters.o
$(B)/tests/test_top_view: $(patsubst %,$(B)/src/cli/%.o,top_view top_page say terminal)
$(B)/tests/test_said: $(B)/src/server/said.o

$(B)/fuzz/%: tests/fuzz/%.c $(SHARED_SUPPORT) $(B)/libpantry.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer $(DEPS) $(TEST_FLAGS) $< $(filter %.o,$^) $(SHARED_SUPPORT) $(B)/libpantry.a $(LIBS) -o $@

$(B)/fuzz/fuzz_monitor: $(B)/src/cli/metrics.o
$(B)/fuzz/fuzz_ndjson: $(B)/src/cli/ndjson.o

define program
$(B)/$(1)/%: $(2)/%.c $(B)/libpantry.a
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(DEPS) $$(LDFLAGS) $$< $(B)/libpantry.a $$(LIBS) -o $$@
endef
$(eval $(call program,examples,docs/examples))
$(eval $(call program,tools,tests/tools))
$(eval $(call program,bench,bench))

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TESTS:$(B)/tests/%=$(B)/tests/unit/%.d) $(SUPPORT_OBJ:.o=.d)
-include $(FUZZERS:=.d) $(EXAMPLES:=.d) $(TOOLS:=.d) $(BENCHES:=.d)

FORCE:
.SUFFIXES:
.PHONY: all help tests objects programs run test unit check asan tsan fuzz fuzzers diff mutate mutate-change bench examples install uninstall manual format clean missing-libraries FORCE
.SECONDARY:
