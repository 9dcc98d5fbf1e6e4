#!/usr/bin/env bash
# The power cut recorder and replayer themselves: do they see everything, and do
# they find the mistakes they are there to find?
. "$(dirname "$0")/lib.sh"

RECORDER=$BUILD/tests/powercut/recorder.so
REPLAY=$BUILD/tests/powercut/replay
WRITER=$BUILD/tests/powercut/writer

letters() {
    head -c 4000 /dev/zero | tr '\0' "$1"
}
letters o >old
letters n >new

# Make start/ and an equal live/ for a program to change.
fresh() {
    rm -rf start live log
    mkdir start
    cp old start/file
    cp -r start live
}

# record PROGRAM [VARIABLE=VALUE...]: run it in live/ under the recorder.
record() {
    local program=$1
    shift
    (cd live && env LD_PRELOAD="$RECORDER" POWERCUT_DIR=. POWERCUT_LOG="$WORK/log" "$@" \
        "$WRITER" "$program")
}

# What `file` is in the folder $1.
state_of() {
    if cmp -s "$1/file" old; then
        echo old
    elif cmp -s "$1/file" new; then
        echo new
    elif [ -e "$1/file" ]; then
        echo broken
    else
        echo missing
    fi
}

# The states of `file` after a cut at every step, for the variants given.
states() {
    local step variant steps
    steps=$("$REPLAY" --count log)
    for variant; do
        for ((step = 0; step <= steps; step++)); do
            rm -rf cut
            "$REPLAY" log start cut "$step" "$variant" || echo "replay failed"
            state_of cut
        done
    done | sort -u | tr '\n' ' '
}

seeds() {
    local seed
    for seed in {1..20}; do echo "random:$seed" "torn:$seed"; done
}

fresh
check "a program that replaces a file runs" record careful
check_equal "its steps" "$("$REPLAY" --list log | sed 's/ inode [0-9]*//' | tr '\n' ';')" \
    "0 start-file file;1 create file.new;2 write off 0 len 1000;3 write off 1000 len 1000;4 write off 2000 len 1000;5 write off 3000 len 1000;6 sync;7 rename file.new -> file;8 sync-folder;"
check_equal "--count counts the steps" "$("$REPLAY" --count log)" 8
check_equal "killed at any step it leaves the old or the new file" "$(states all)" "new old "
# shellcheck disable=SC2046
check_equal "a power cut leaves the old or the new file" "$(states durable $(seeds))" "new old "
rm -rf cut
"$REPLAY" log start cut 7 durable
check_equal "a rename is not durable before fsync of the folder" "$(state_of cut)" old
rm -rf cut
"$REPLAY" log start cut 8 durable
check_equal "and durable after it" "$(state_of cut)" new
rm -rf cut
"$REPLAY" log start cut 5 durable
check "a new file that was never synced has no durable name" test ! -e cut/file.new
rm -rf cut
"$REPLAY" log start cut 6 durable
check "fsync of a new file makes it durable with its name" cmp cut/file.new new

fresh
check "a program that forgets fsync runs" record careless
check_equal "kill -9 does it no harm" "$(states all)" "new old "
# shellcheck disable=SC2046
check_equal "a power cut does: it is caught" "$(states durable $(seeds))" "broken new old "
check_equal "and nothing of it is durable" "$(states durable)" "old "

fresh
check "a program that overwrites in place runs" record straight
check_equal "kill -9 breaks it" "$(states all)" "broken new old "

# Torn writes: sectors of 512 bytes are whole, and some writes are there in part.
torn=0
partial_sectors=0
for seed in {1..40}; do
    rm -rf cut
    "$REPLAY" log start cut 1 "torn:$seed"
    # The first write covers sectors 0 and 1 (in part: to byte 1000).
    case $(head -c 512 cut/file | tr -s on)$(tail -c +513 cut/file | head -c 488 | tr -s on) in
    no | on) torn=$((torn + 1)) ;;
    nn | oo) ;;
    *) partial_sectors=$((partial_sectors + 1)) ;;
    esac
done
check "some writes are torn ($torn of 40)" test "$torn" -gt 0
check_equal "no sector is" "$partial_sectors" 0
rm -rf cut
"$REPLAY" log start cut 4 torn:7
mv cut first
"$REPLAY" log start cut 4 torn:7
check "the same seed gives the same disk" cmp first/file cut/file

fresh
check "a program that uses every call runs" record calls
rm -rf cut
"$REPLAY" log start cut "$("$REPLAY" --count log)" all
check "replaying everything gives what it left" diff -r live cut
check_equal "hard links are one file" "$(stat -c %h cut/a)" 2
rm -rf cut
"$REPLAY" log start cut "$("$REPLAY" --count log)" durable
check "so does replaying what is durable, since it ends with syncfs" diff -r live cut

# What cannot be recorded ends the program.
for what in mapping stdio away; do
    fresh
    check_exit "refused: $what" 99 "powercut recorder: " record $what
done

# Faults.
fresh
check_exit "EIO at step 3" 1 "write.*Input/output error" record careful FAULT_AT=3 FAULT=EIO
check_equal "it stopped there" "$("$REPLAY" --count log)" 2
check_equal "and the write was not done" "$(stat -c %s live/file.new)" 1000
fresh
check_exit "ENOSPC at step 1" 1 "No space left on device" record careful FAULT_AT=1 FAULT=ENOSPC
check "the file was not made" test ! -e live/file.new
fresh
check_exit "a failing fsync" 1 "fsync.*Input/output error" record careful FAULT_AT=6 FAULT=EIO
check_exit "the next step of another process succeeds" 0 "" record careful
fresh
(record careful FAULT_AT=7 FAULT=KILL) 2>/dev/null
check_equal "KILL at step 7" "$?" 137
check_equal "the rename was not done" "$(state_of live)" old
fresh
check_exit "a fault behind the end changes nothing" 0 "" record careful FAULT_AT=9 FAULT=EIO
check_exit "an unknown fault is refused" 99 "FAULT=EPERM" record careful FAULT_AT=9 FAULT=EPERM

# --same
printf 'x' | dd of=a bs=1 seek=9000000 status=none
cp --sparse=never a b
check "--same knows holes" "$REPLAY" --same a b
printf 'y' | dd of=b bs=1 seek=8000001 conv=notrunc status=none
check_exit "--same finds one byte" 1 "differ from byte 8000001" "$REPLAY" --same a b
check_exit "--same finds another size" 1 "bytes" "$REPLAY" --same a old

# --digest
digest() { "$REPLAY" --digest "$1"; }
mkdir -p one/folder one/another
cp --sparse=always a one/a
printf 'second' >one/b
rm -rf other
cp -r one other
cp --sparse=never a other/a
check_equal "--digest does not tell holes from zeros" "$(digest other)" "$(digest one)"
digest_changes() { # COMMAND...
    rm -rf other
    cp -r one other
    (cd other && "$@") && [ "$(digest other)" != "$(digest one)" ]
}
swap_names() { mv a c && mv b a && mv c b; }
set_byte() { printf 'z' | dd of=a bs=1 seek="$1" conv=notrunc status=none; } # OFFSET
check "--digest sees a byte in a hole" digest_changes set_byte 4711
check "--digest sees the last byte" digest_changes set_byte 9000000
check "--digest sees a size" digest_changes truncate -s +1 b
check "--digest sees a name" digest_changes mv b c
check "--digest sees names that are exchanged" digest_changes swap_names
check "--digest sees a new file that is empty" digest_changes touch c
check "--digest sees a file that is gone" digest_changes rm b
check "--digest sees folders" digest_changes rmdir folder
mv one/b one/folder/b
check "--digest sees where a file lies" digest_changes mv folder/b another/b

done_testing
