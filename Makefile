# chrimg: make, make check, make install; everything is built in $(BUILD).
#
#   all         the program, the library (.a, .so) and chrimg.pc
#   check       every test (scripts/check installs what they need first)
#   check-asan  the same under AddressSanitizer and UBSan
#   bench       figures beside the peers, in one run
#   fuzz        the libFuzzer targets (clang); FUZZ_SECONDS each

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := $(shell sed -n 's/^.define CHR_VERSION "\(.*\)"/\1/p' lib/chrimg.h)

PACKAGES := ext2fs com_err blkid zlib libzstd minizip jansson
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
PKG_LIBS := $(shell pkg-config --libs $(PACKAGES))

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
            -Wformat=2 -Wno-format-nonliteral
BASE_CFLAGS := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Ilib -fPIC -fvisibility=hidden \
               -pthread $(WARNINGS) $(PKG_CFLAGS)
LIBS := $(PKG_LIBS) -pthread

# The program holds its libraries, where the host has their archives: it starts faster and
# runs on hosts without them.  STATIC=no uses the shared ones.
STATIC_LIBS := -Wl,-Bstatic -Wl,--start-group $(PKG_LIBS) -Wl,--end-group -Wl,-Bdynamic -pthread
ifndef STATIC
STATIC := $(shell echo 'int main(void){return 0;}' | \
  $(CC) -x c -o /dev/null - $(STATIC_LIBS) 2>/dev/null && echo yes || echo no)
endif
PROGRAM_LIBS := $(if $(filter yes,$(STATIC)),$(STATIC_LIBS),$(LIBS))

LIB_SOURCES := $(sort $(wildcard lib/*/*.c))
TOOL_SOURCES := $(sort $(wildcard imgtool/*.c))
FIXTURE_SOURCES := $(sort $(wildcard fixtures/*.c))
UNIT_SOURCES := $(sort $(wildcard tests/unit/*.c))
FUZZ_SOURCES := $(sort $(wildcard tests/fuzz/*.c))
# Small programs over the library, which tests drive and others judge.
STEP_SOURCES := $(sort $(wildcard tests/ext/*.c tests/fat/*.c))
ALL_SOURCES := $(LIB_SOURCES) $(TOOL_SOURCES) $(FIXTURE_SOURCES) $(UNIT_SOURCES) $(FUZZ_SOURCES) \
               $(STEP_SOURCES)

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJECTS := $(call object,$(LIB_SOURCES))
TOOL_OBJECTS := $(call object,$(TOOL_SOURCES))
FIXTURE_OBJECTS := $(call object,$(FIXTURE_SOURCES))
UNIT_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))

.PHONY: all tests check check-asan bench fuzz fuzz-programs install uninstall clean
.DELETE_ON_ERROR:
# Kept, so that a second make has nothing to do.
.SECONDARY:

all: $(BUILD)/chrimg $(BUILD)/libchrimg.so $(BUILD)/chrimg.pc

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(BASE_CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# Changed flags or another compiler rebuild everything.
FLAGS := $(CC) $(CFLAGS) $(BASE_CFLAGS) $(CPPFLAGS) $(LDFLAGS) $(PROGRAM_LIBS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/libchrimg.a: $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libchrimg.so: $(LIB_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libchrimg.so.0 -o $@ $^ $(LIBS)

$(BUILD)/chrimg: $(TOOL_OBJECTS) $(BUILD)/libchrimg.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(PROGRAM_LIBS)

$(BUILD)/chrimg.pc: lib/chrimg.h Makefile
	@mkdir -p $(@D)
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	  'Name: chrimg' 'Description: disk images of RouterOS CHR' 'Version: $(VERSION)' \
	  'Libs: -L$${libdir} -lchrimg' 'Libs.private: $(LIBS)' 'Requires.private: $(PACKAGES)' \
	  'Cflags: -I$${includedir}' > $@

$(BUILD)/mkchr: $(FIXTURE_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libchrimg.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

# Loaded into programs with and without sanitizers, so it takes no flags from outside.
$(BUILD)/tests/powercut/recorder.so: tests/powercut/recorder.c tests/powercut/log.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -shared -fPIC -o $@ $< -pthread

$(BUILD)/tests/powercut/%: tests/powercut/%.c tests/powercut/log.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -o $@ $<

$(BUILD)/tests/hostile/%: tests/hostile/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -o $@ $<

STEP_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(STEP_SOURCES))
$(STEP_PROGRAMS): %: %.o $(BUILD)/libchrimg.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/secrets/scanner.so: tests/secrets/scanner.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -shared -fPIC -o $@ $<

$(BUILD)/tests/secrets/%: tests/secrets/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARNINGS) -o $@ $<

# A fuzz target with a plain main() by default; libFuzzer brings its own.
FUZZ_MAIN ?= $(BUILD)/tests/fuzz/main/replay.o
FUZZ_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SOURCES))
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(FUZZ_MAIN) $(BUILD)/libchrimg.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

TEST_TOOLS := $(addprefix $(BUILD)/tests/,powercut/recorder.so powercut/replay powercut/writer \
  hostile/patch secrets/scanner.so secrets/mask)

tests: all $(BUILD)/mkchr $(UNIT_PROGRAMS) $(TEST_TOOLS) $(STEP_PROGRAMS) $(FUZZ_PROGRAMS)

check: tests
	tests/run $(BUILD)

# Boots are left out: emulation is slow enough without.  The rest may take its time: the cuts
# of powercut-qcow2 alone run for a quarter of an hour on a busy machine.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
check-asan:
	$(MAKE) BUILD=$(BUILD)-asan CFLAGS="-O1 -g $(SANITIZE)" LDFLAGS="$(SANITIZE)" tests
	TEST_TIMEOUT=3600 tests/run -x "tests/boot*" -x "tests/vm-*" $(BUILD)-asan

bench: tests
	scripts/bench $(BUILD)

FUZZ_SECONDS ?= 60
FUZZ_SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
                 -fno-omit-frame-pointer
fuzz:
	$(MAKE) BUILD=$(BUILD)-fuzz CC=clang FUZZ_MAIN= CFLAGS="-O1 -g $(FUZZ_SANITIZE)" \
	  LDFLAGS="-fsanitize=fuzzer,address,undefined" fuzz-programs
	tests/fuzz/run $(BUILD)-fuzz $(FUZZ_SECONDS)

fuzz-programs: $(FUZZ_PROGRAMS)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/chrimg $(DESTDIR)$(PREFIX)/bin/chrimg
	install -m 644 $(BUILD)/libchrimg.a $(DESTDIR)$(PREFIX)/lib/libchrimg.a
	install -m 755 $(BUILD)/libchrimg.so $(DESTDIR)$(PREFIX)/lib/libchrimg.so.0
	ln -sf libchrimg.so.0 $(DESTDIR)$(PREFIX)/lib/libchrimg.so
	install -m 644 lib/chrimg.h $(DESTDIR)$(PREFIX)/include/chrimg.h
	install -m 644 $(BUILD)/chrimg.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/chrimg.pc
	install -m 644 imgtool/chrimg.1 $(DESTDIR)$(PREFIX)/share/man/man1/chrimg.1

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/chrimg lib/libchrimg.a lib/libchrimg.so.0 \
	  lib/libchrimg.so include/chrimg.h lib/pkgconfig/chrimg.pc share/man/man1/chrimg.1)

clean:
	rm -rf $(BUILD)

-include $(wildcard $(patsubst %.c,$(BUILD)/%.d,$(ALL_SOURCES)))
