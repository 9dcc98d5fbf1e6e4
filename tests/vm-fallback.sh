#!/bin/bash
# KVM that opens and does not run guests: boot, boot -i and restart go on with emulation and say so once, where the
# firmware has not said a word; a machine that was at work is not started again.  A QEMU that breaks down when it is told
# to stands for the broken KVM; nothing of a guest is needed but SeaBIOS, which speaks at once.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 jq python3
{ : <>/dev/kvm; } 2>/dev/null || skip_all '/dev/kvm does not open: nothing would choose it'
[[ $(uname -m) == x86_64 ]] || skip_all 'KVM does not run x86_64 guests here'

cp "$SRC/tests/boot/fake-kvm" qemu
kvm_is() { echo "$*" >kvm-state; }
# What was found out about the KVM of this host is not what is tested: it is remembered as one that runs guests.
trust_kvm() {
    mkdir -p "$XDG_CACHE_HOME/chrimg"
    echo "$(cat /proc/sys/kernel/random/boot_id) runs" >"$XDG_CACHE_HOME/chrimg/kvm"
}

# Without ports, which another machine could take while one is started again.
boot() { "$CHRIMG" boot --ready none --forward none --qemu ./qemu "$@"; }

# What was said has the line that says so, once.
said_once() { [[ $(grep -c 'KVM does not run guests on this host; started again with emulation' said) == 1 ]]; }

ends_up_on() { # NAME ACCEL
    cat said
    [[ $(vm_value "$1" '"\(.accel) \(.status)"') == "$2 running" ]]
}

ends() { "$CHRIMG" stop --now --forget "$1" && nothing_is_left "$1"; } # NAME

# ---- boot ----

breaks_at_once() {
    trust_kvm; kvm_is stuck
    boot stock.img --name once --json >report 2>said && ends_up_on once tcg && said_once &&
        jq -e '.fell_back and .accel == "tcg" and .waited_ms == null' report && ends once
}

# Later than any boot used to look.
breaks_a_little_later() {
    trust_kvm; kvm_is stuck-after 1.5
    boot stock.img --name later >said 2>&1 && ends_up_on later tcg && said_once && ends later
}

finding_is_remembered() {
    boot stock.img --name again >said 2>&1 && ends_up_on again tcg && ! said_once && ends again
}

# A firmware that speaks is proof enough: nothing is waited for any longer.
speaks_at_once() {
    trust_kvm; kvm_is works
    boot stock.img --name works --json >report 2>said && ends_up_on works kvm && jq -e '.start_ms + .ready_ms < 2500' report &&
        ends works
}

named_is_not_replaced() {
    kvm_is stuck
    boot stock.img --name named --accel kvm >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'internal error of kvm' said && grep -q -- '--accel tcg' said &&
        "$CHRIMG" stop --forget named && nothing_is_left named
}

# Time that is up says nothing about networks, where KVM is known not to run guests.
named_and_known_to_be_broken() {
    echo "$(cat /proc/sys/kernel/random/boot_id) broken" >"$XDG_CACHE_HOME/chrimg/kvm"
    kvm_is works
    boot stock.img --name known --accel kvm --forward 0:80 --ready http --timeout 2 >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'hint: --accel tcg: KVM does not run guests' said &&
        ! grep -q 10.0.2.15 said && ends known
}

# ---- restart ----

restart_falls_back() {
    trust_kvm; kvm_is works
    boot stock.img --name restart >said 2>&1 && ends_up_on restart kvm || return
    kvm_is stuck
    "$CHRIMG" restart --now --json restart >report 2>said && ends_up_on restart tcg && said_once &&
        jq -e .fell_back report
}

# The record says so from then on.
restarts_on_tcg() {
    "$CHRIMG" restart --now restart >said 2>&1 && ends_up_on restart tcg && ! said_once && ends restart
}

# ---- boot -i ----

attach() { # NAME
    : >screen
    "$CHRIMG" boot --forward none --qemu ./qemu stock.img -i --name "$1" --throwaway </dev/null >screen 2>said &
    attached=$!
}

wait_for_screen() { # PATTERN
    local deadline=$((SECONDS + patience))
    until grep -qa "$1" screen; do
        if ((SECONDS > deadline)) || ! kill -0 "$attached"; then cat screen said; return 1; fi
        sleep 0.1
    done
}

attached_falls_back() {
    trust_kvm; kvm_is stuck-after 5
    attach front
    wait_for_screen SeaBIOS && ends_up_on front tcg && said_once || return
    kill -TERM "$attached"
    wait "$attached"
    [[ $? == 143 ]] && nothing_is_left front
}

attached_to_one_at_work() {
    trust_kvm; kvm_is breaks-after 2
    attach front
    wait_for_screen firmware
    wait "$attached"
    [[ $? == 1 ]] && cat said && grep -q 'internal error of kvm' said && ! said_once && nothing_is_left front
}

check 'an image can be made' "$MKCHR" 7.19 stock.img
check 'boot: KVM is stuck at once' breaks_at_once
check 'boot: KVM is stuck after a moment' breaks_a_little_later
check 'the next boot does not try it' finding_is_remembered
check 'boot: firmware that speaks is proof enough' speaks_at_once
check 'an accelerator that is named is not replaced' named_is_not_replaced
check 'nor where it is known not to run guests: the hint says so first' named_and_known_to_be_broken
check 'restart falls back, as boot does' restart_falls_back
check 'and does not try again' restarts_on_tcg
check 'boot -i: stuck before a word, while attached' attached_falls_back
check 'boot -i: a machine at work is not started again' attached_to_one_at_work
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
