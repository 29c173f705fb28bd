# pantry. `make help` lists the targets.
BUILD ?= build
CC ?= cc
MODE ?= release

PKGS := jansson libpcre2-8 libutf8proc libcrypto libedit
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS := $(shell pkg-config --libs $(PKGS))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wmissing-prototypes -Wstrict-prototypes
OPT := -O2 -g
CFLAGS_ALL = -std=c17 $(WARN) $(OPT) -fPIC -fvisibility=hidden -pthread -MMD -MP -Iinclude -Isrc $(PKG_CFLAGS) $(CFLAGS)
LIBS := $(PKG_LIBS) -lm -pthread

SRC := $(filter-out src/cli/%,$(sort $(shell find src -name '*.c')))
OBJ := $(SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard src/cli/*.c)))
TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))

all: $(BUILD)/libpantry.a $(if $(CLI_OBJ),$(BUILD)/pantry)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c $< -o $@

# Reference results are the same to the bit on every machine: no fused multiply-add.
$(BUILD)/src/tensor/%.o: OPT += -O3 -ffp-contract=off

$(BUILD)/libpantry.a: $(OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/pantry: $(CLI_OBJ) $(BUILD)/libpantry.a
	$(CC) $(CFLAGS_ALL) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libpantry.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests $(LDFLAGS) $< $(BUILD)/libpantry.a $(LIBS) -lcmocka -o $@

test: $(TESTS)
	@for t in $(TESTS); do $$t || exit 1; done

-include $(OBJ:.o=.d) $(CLI_OBJ:.o=.d)
.PHONY: all test
