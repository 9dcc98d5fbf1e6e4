#!/usr/bin/env bash
# The test runner itself: what it must count as a failure.
. "$(dirname "$0")/lib.sh"

# A tree of its own, with its own copy of the runner.
mkdir -p tree/tests build/tests/unit
cp "$SRC/tests/run" "$SRC/tests/lib.sh" tree/tests/

# given NAME [MODE] <<script: a test program of that tree.
given() {
    cat >"tree/tests/$1.sh"
    chmod "${2:-755}" "tree/tests/$1.sh"
}

# The closing line and the exit status of a run of the programs that match PATTERN.
closing() {
    local output status
    # Variables of the outer run must not reach the inner one.
    output=$(env -u BUILD -u SRC TEST_TIMEOUT=2 tree/tests/run build "/$1.sh" 2>/dev/null)
    status=$?
    echo "$(tail -n 1 <<<"$output"), exit $status"
}

given good <<'X'
#!/bin/sh
echo "ok 1 - a"; echo "ok 2 - b"; echo "1..2"
X
given bad <<'X'
#!/bin/sh
echo "1..2"; echo "ok 1 - a"; echo "not ok 2 - b"; exit 1
X
given skips <<'X'
#!/bin/sh
echo "1..3"; echo "ok 1 - a"; echo "ok 2 - b # SKIP no tool"; echo "not ok 3 # SKIP as cmocka says it"
X
given skips-all <<'X'
#!/bin/sh
echo "1..0 # SKIP nothing fits"
X
given short <<'X'
#!/bin/sh
echo "1..3"; echo "ok 1 - a"; echo "ok 2 - b"
X
given long <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - a"; echo "ok 2 - b"
X
given planless <<'X'
#!/bin/sh
echo "ok 1 - a"
X
given silent <<'X'
#!/bin/sh
echo "all is well"
X
given empty <<'X'
#!/bin/sh
echo "1..0"
X
given crashes <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - a"; kill -SEGV $$
X
given hangs <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - a"; sleep 30
X
given bails <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - a"; echo "Bail out! no disk"; exit 1
X
given not-executable 644 <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - a"
X
given with-lib <<'X'
#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
check "true" true
check "false" false
check_equal "equal" a a
check_equal "not equal" a b
check_exit "status and text" 3 "^he.lo$" sh -c 'echo hello >&2; exit 3'
check_exit "other status" 1 "hello" sh -c 'echo hello; exit 3'
check_exit "other text" 3 "bye" sh -c 'echo hello; exit 3'
skip "skipped" "a reason"
done_testing
X
given lib-stops <<'X'
#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
ok "one"
exit 0
X
given private <<'X'
#!/bin/sh
echo "1..1"
if [ "$PWD" = "$TMPDIR" ] && [ -z "$(ls)" ] && [ -d "$SRC/tests" ] && [ "${BUILD#/}" != "$BUILD" ]
then echo "ok 1 - private folder"; touch litter; else echo "not ok 1 - private folder"; fi
X

check_equal "passes are counted" "$(closing good)" "2 passed, 0 failed, 0 skipped, exit 0"
check_equal "failures are counted" "$(closing bad)" "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "skips are counted, cmocka's too" "$(closing skips)" \
    "1 passed, 0 failed, 2 skipped, exit 0"
check_equal "a run of nothing but skips fails" "$(closing skips-all)" \
    "0 passed, 0 failed, 1 skipped, exit 1"
check_equal "too few tests" "$(closing short)" "2 passed, 1 failed, 0 skipped, exit 1"
check_equal "too many tests" "$(closing long)" "2 passed, 1 failed, 0 skipped, exit 1"
check_equal "no plan" "$(closing planless)" "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "no TAP" "$(closing silent)" "0 passed, 1 failed, 0 skipped, exit 1"
check_equal "an empty plan" "$(closing empty)" "0 passed, 1 failed, 0 skipped, exit 1"
check_equal "a crash behind a full plan" "$(closing crashes)" \
    "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "a hang" "$(closing hangs)" "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "bail out" "$(closing bails)" "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "a script that is not executable" "$(closing not-executable)" \
    "0 passed, 1 failed, 0 skipped, exit 1"
check_equal "no program" "$(closing no-such-test)" "0 passed, 0 failed, 0 skipped, exit 1"
check_equal "helpers of lib.sh" "$(closing with-lib)" "3 passed, 4 failed, 1 skipped, exit 1"
check_equal "a script that stops early" "$(closing lib-stops)" \
    "1 passed, 1 failed, 0 skipped, exit 1"
check_equal "each program has a private folder" "$(closing private)" \
    "1 passed, 0 failed, 0 skipped, exit 0"

cat >"build/tests/unit/program" <<'X'
#!/bin/sh
echo "1..1"; echo "ok 1 - $CMOCKA_MESSAGE_OUTPUT"
X
chmod +x build/tests/unit/program
touch build/tests/unit/program.o
check_equal "unit programs run, objects beside them do not" \
    "$(env -u BUILD -u SRC tree/tests/run build unit/ | tail -n 1)" \
    "1 passed, 0 failed, 0 skipped"
check_equal "-x leaves programs out" \
    "$(env -u BUILD -u SRC tree/tests/run -x 'tests/[a-km-z]*.sh' -x 'tests/unit/*' build | tail -n 1)" \
    "3 passed, 2 failed, 0 skipped"
check_exit "the failing program's output is shown in full" 1 '^    \| ok 1 - a$' \
    env -u BUILD -u SRC tree/tests/run build /bad.sh

done_testing
