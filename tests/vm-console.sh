#!/bin/bash
# Machines on a terminal: `chrimg console` and `chrimg boot -i` talk with the guest, and whatever ends them, the
# terminal is as it was.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 jq curl tmux

make_images() { make_asking plain serial-shell; }

# ---- terminals ----

on_terminal() { tmux -S "$WORK/tmux" -f /dev/null "$@"; }
screen() { on_terminal capture-pane -p -S -3000 -t test; }
type_keys() { on_terminal send-keys -t test "$@"; }

wait_for_screen() { # PATTERN
    local deadline=$((SECONDS + patience))
    until screen | grep -qE "$1"; do
        ((SECONDS < deadline)) || { echo "no $1 on the screen:"; screen | tail -n 20; return 1; }
        sleep 0.2
    done
}

# A shell on a terminal of its own, with COMMAND; the terminal's modes before and after are noted.
open_terminal() { # COMMAND
    rm -f before after
    on_terminal new-session -d -s test -x 150 -y 40 "stty -g >before; $1; echo status \$? >after.status; stty -g >after; sleep 600"
}

close_terminal() {
    local deadline=$((SECONDS + 20))
    until [[ -s after ]]; do ((SECONDS < deadline)) || { echo "it is still attached"; screen; return 1; }; sleep 0.1; done
    on_terminal kill-server
    rm -f "$WORK/tmux"
    cmp before after
}

console_attaches() {
    open_terminal "$CHRIMG console talk"
    # The prompt was before we came.
    type_keys Enter && wait_for_screen 'standin#' && type_keys 'expr 6 \* 7' Enter &&
        wait_for_screen '^42' || return
    type_keys C-] && close_terminal && web_answers talk
}

console_ends_by_signal() {
    open_terminal "$CHRIMG console talk"
    type_keys Enter && wait_for_screen 'standin#' || return
    kill -TERM "$(pgrep -f "^$CHRIMG console talk")" && close_terminal && web_answers talk
}

console_ends_with_the_machine() {
    open_terminal "$CHRIMG console talk"
    type_keys Enter && wait_for_screen 'standin#' || return
    kill -9 "$(vm_pid talk)" && close_terminal && "$CHRIMG" ps && is_off talk &&
        "$CHRIMG" stop --forget talk && nothing_is_left talk
}

foreground_quits() {
    open_terminal "$CHRIMG boot plain.img -i --name front --throwaway"
    wait_for_screen 'standin#' && type_keys 'echo he""re' Enter && wait_for_screen '^here' || return
    type_keys C-a x && close_terminal && nothing_is_left front
}

foreground_ends_by_signal() {
    open_terminal "$CHRIMG boot plain.img -i --name front --throwaway"
    wait_for_screen 'standin#' || return
    kill -TERM "$(pgrep -f "^$CHRIMG boot plain.img -i")" && close_terminal && nothing_is_left front
}

# ---- tests ----

check 'an image can be made' make_images
check 'it boots, to be talked to' "$CHRIMG" boot plain.img --name talk --timeout "$patience"
check 'console on a terminal: attached, answered, detached' console_attaches
check 'console: a signal restores the terminal' console_ends_by_signal
check 'console: so does the end of the machine' console_ends_with_the_machine
check 'boot -i on a terminal: Ctrl-A X ends both' foreground_quits
check 'boot -i: a signal ends both and restores the terminal' foreground_ends_by_signal
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
