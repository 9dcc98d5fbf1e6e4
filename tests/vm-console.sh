#!/bin/bash
# Machines on a terminal: `chrimg console` and `chrimg boot -i` talk with the guest, and whatever ends them, the
# terminal is as it was.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 jq curl tmux script

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

# It holds the line; another one is refused, and does not say first that it has it.
second_console_is_refused() {
    open_terminal "$CHRIMG console talk"
    type_keys Enter && wait_for_screen 'standin#' || return
    script -qec "'$CHRIMG' console talk" /dev/null </dev/null >said
    cat said
    grep -q 'another console is attached' said && ! grep -q 'attached to talk' said || return
    type_keys C-] && close_terminal
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

# ---- tables ----

# `chrimg ps` on a terminal that is WIDTH wide: no line is longer, so none wraps.
ps_fits() { # WIDTH PATTERN UNWANTED
    local lines
    rm -f ended
    on_terminal new-session -d -s test -x "$1" -y 10 "LC_ALL=C.UTF-8 $CHRIMG ps; touch ended; sleep 600"
    until [[ -e ended ]]; do sleep 0.1; done
    lines=$(on_terminal capture-pane -p -t test | sed '/^ *$/d')
    on_terminal kill-server
    rm -f "$WORK/tmux"
    echo "$lines"
    [[ $(wc -l <<<"$lines") == 2 ]] && grep -qE "$2" <<<"$lines" && ! grep -qE "$3" <<<"$lines"
}

ps_is_whole_in_a_pipe() { "$CHRIMG" ps | grep -qE "^talk +running +[a-z]+ +[0-9]+ .* $WORK/plain.img\$"; }

# The router boots for longer than what is typed ahead lasts.
foreground_without_terminal() {
    local pid
    echo 'echo he""re' | "$CHRIMG" boot plain.img -i --name front --throwaway >output 2>said &
    pid=$!
    until [[ $(vm_value front .running) == true ]]; do kill -0 "$pid" || return; sleep 0.1; done
    until grep -qa 'standin#' output; do kill -0 "$pid" || { cat said output; return 1; }; sleep 0.3; done
    cat said
    grep -q 'front runs until its router is shut down; SIGINT or SIGTERM ends it' said && ! grep -q 'Ctrl-A' said || return
    "$CHRIMG" stop --now front && wait "$pid" && nothing_is_left front
}

# ---- tests ----

check 'an image can be made' make_images
check 'it boots, to be talked to' "$CHRIMG" boot plain.img --name talk --timeout "$patience"
check 'ps in a pipe shows all of it' ps_is_whole_in_a_pipe
check 'ps on a wide terminal, too' ps_fits 200 "^NAME +STATUS +ACCEL +PID +UP +HTTP +IMAGE.*$WORK/plain.img\$|^talk .* $WORK/plain.img\$" '…'
check 'ps on 80 columns shortens the path' ps_fits 80 '^talk .* 127.0.0.1:[0-9]+ /[^ ]*…[^ ]*plain.img$' "$WORK"
check 'ps on 40 columns leaves columns out' ps_fits 40 '^talk +running +127.0.0.1:[0-9]+$' 'ACCEL|PID|UP|IMAGE'
check 'console on a terminal: attached, answered, detached' console_attaches
check 'console: a second one is refused at once' second_console_is_refused
check 'console: a signal restores the terminal' console_ends_by_signal
check 'console: so does the end of the machine' console_ends_with_the_machine
check 'boot -i on a terminal: Ctrl-A X ends both' foreground_quits
check 'boot -i: a signal ends both and restores the terminal' foreground_ends_by_signal
check 'boot -i without a terminal goes on until the machine is off' foreground_without_terminal
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
