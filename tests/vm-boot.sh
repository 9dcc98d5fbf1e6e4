#!/bin/bash
# `chrimg boot` and `chrimg run`: every firmware, architecture and kind of image that there is
# comes up, answers, goes off, and what it wrote is where it belongs.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 qemu-img debugfs e2fsck jq curl
if [[ ! (-e $ovmf_code && -e $ovmf_vars) ]]; then skip_all "OVMF is not installed"; fi

make_images() {
    make_asking stock count-boots &&
        "$CHRIMG" fatten --require-bios stock.img -o fat.img &&
        "$CHRIMG" convert stock.img plain.qcow2 &&
        "$CHRIMG" fatten --require-bios -c stock.img -o small.qcow2 &&
        sha256sum stock.img fat.img >sums
}

unchanged() { sha256sum --quiet -c sums; }

boot() { "$CHRIMG" boot --timeout "$patience" "$@"; }

overlay_of() { find "$state/$1" -name '*.qcow2' ! -name '*vars*'; } # NAME

# ---- a raw image stays as it is ----

raw_boots() {
    boot stock.img --name raw >said 2>&1 || { cat said; return 1; }
    web_answers raw && [[ $(vm_value raw .firmware) == SeaBIOS ]] && grep -q 'kept as it is' said
}

base_is_not_written_to() {
    boot stock.img --name writer --write >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'stock.img is in use: instance raw runs from it' said &&
        grep -q 'hint: chrimg stop raw first' said && ! grep -q 'writes to the raw image itself' said &&
        web_answers raw
}

raw_stops() { "$CHRIMG" stop raw && is_off raw && unchanged; }

overlay_has_counted() { [[ $(boots_counted "$(overlay_of raw)" qcow2) == "$1" ]]; } # BOOTS

raw_goes_on() { boot stock.img --name raw && "$CHRIMG" stop raw && overlay_has_counted 2 && unchanged; }

# Written behind its overlay's back.
changed_image_is_refused() {
    cp --preserve=all stock.img kept.img
    touch stock.img
    boot stock.img --name raw
    local status=$?
    cp --preserve=all kept.img stock.img
    [[ $status == 1 ]] && is_off raw
}

# As unzip, cp -p and tar leave it: with a time from before the overlay.
replaced_image_is_refused() { # BYTES
    cp --preserve=all stock.img kept.img
    printf x | dd of=stock.img bs=1 seek=1000000 conv=notrunc status=none
    truncate -s "+$1" stock.img
    if [[ $1 == 0 ]]; then touch -d '3 years ago' stock.img; else touch -r kept.img stock.img; fi
    boot stock.img --name raw >said 2>&1
    local status=$?
    cp --preserve=all kept.img stock.img
    [[ $status == 1 ]] && cat said && grep -q 'stock.img has changed since' said &&
        grep -q 'stop --forget raw' said && is_off raw && unchanged
}

# --throwaway and --rm are for machines, not for what another one of the same name has kept.
kept_is_not_thrown_away() { # OPTION
    boot stock.img --name raw "$1" >said 2>&1
    [[ $? == 1 ]] && cat said && grep -q 'stop --forget raw' said && is_off raw && overlay_has_counted 2
}

raw_is_forgotten() { "$CHRIMG" stop --forget raw && nothing_is_left raw; }

written_raw_boots() {
    cp stock.img written.img
    boot written.img --name written --write && "$CHRIMG" stop --forget written &&
        [[ $(boots_counted written.img raw) == 1 ]] && nothing_is_left written
}

# ---- UEFI, qcow2 ----

throwaway_on_uefi() {
    boot fat.img --name fat --uefi --throwaway && web_answers fat && [[ $(vm_value fat .firmware) == UEFI ]] &&
        "$CHRIMG" stop fat && nothing_is_left fat && unchanged
}

qcow2_boots() {
    boot plain.qcow2 --name plain --ready tcp:22 || return
    # Who comes first is greeted, and that is all of SSH that there is.
    exec 3<>"/dev/tcp/127.0.0.1/$(vm_port plain 22)" && read -r -t 30 -u 3 banner
    exec 3>&-
    [[ $banner == SSH-2.0-standin* ]]
}

qcow2_was_written_to() {
    "$CHRIMG" stop --forget plain && nothing_is_left plain &&
        [[ $(boots_counted plain.qcow2 qcow2) == 1 ]] && qemu-img check -q plain.qcow2
}

compressed_on_uefi() {
    boot small.qcow2 --name small --uefi --rm --ready 'serial:^standin: ready' && says small 'standin: ready' &&
        "$CHRIMG" stop small && nothing_is_left small &&
        [[ $(boots_counted small.qcow2 qcow2) == 1 ]] && qemu-img check -q small.qcow2
}

# ---- aarch64 ----

make_arm_image() {
    "$SRC/scripts/standin" "$standin" aarch64 &&
        "$MKCHR" arm64 arm.img --kernel "$standin/BOOTAA64.EFI" --autorun autorun \
            --root-file ask-count-boots:rw/count-boots
}

arm_boots() {
    boot arm.img --name arm && web_answers arm && says arm 'standin: root is on /dev/vda2' &&
        [[ $(vm_value arm .arch) == aarch64 && $(vm_value arm .firmware) == UEFI ]]
}

arm_stops() {
    "$CHRIMG" stop arm >said && cat said && grep -q 'shut down' said && is_off arm &&
        [[ $(boots_counted "$(overlay_of arm)" qcow2) == 1 ]] && "$CHRIMG" stop --forget arm && nothing_is_left arm
}

# ---- run ----

run_gives_addresses() {
    # shellcheck disable=SC2016  # for the shell that chrimg starts
    "$CHRIMG" run --name run --timeout "$patience" stock.img -- sh -c \
        'test "$(curl -s -m 20 -o /dev/null -w "%{http_code}" "$CHR_HTTP")" = 200 && exit 7'
    [[ $? == 7 ]] && nothing_is_left run && unchanged
}

# ---- accelerators ----

kvm_state() {
    local line
    line=$("$CHRIMG" doctor | grep -E '^(good|lacking) +KVM:')
    case $line in
    *'does not run guests'*) echo broken ;;
    good*) echo works ;;
    *) echo missing ;;
    esac
}

# The trial has found out; QEMU is not started with KVM at all.
trial_spares_a_start() {
    boot stock.img --name spared --throwaway >said 2>&1 || { cat said; return 1; }
    cat said
    [[ $(vm_value spared .accel) == tcg ]] && "$CHRIMG" stop spared && grep -q 'KVM does not run guests' said &&
        ! grep -q 'started again' said
}

# As if the trial had not seen it: QEMU ends in internal-error.
falls_back() {
    echo "$(cat /proc/sys/kernel/random/boot_id) runs" >"$XDG_CACHE_HOME/chrimg/kvm"
    boot fat.img --uefi --name back --throwaway >said 2>&1 || { cat said; return 1; }
    cat said
    [[ $(vm_value back .accel) == tcg ]] && "$CHRIMG" stop back && grep -q 'KVM.*started again.*TCG' said
}

finding_is_cached() {
    boot fat.img --uefi --name again --throwaway >said 2>&1 || { cat said; return 1; }
    cat said
    [[ $(vm_value again .accel) == tcg ]] && "$CHRIMG" stop again && ! grep -q 'started again' said &&
        nothing_is_left again
}

# ---- tests ----

check 'images can be made' make_images
check 'raw image boots on SeaBIOS, in an overlay, and says so' raw_boots
check '--write to the image below its overlay is refused' base_is_not_written_to
check 'it stops, and the image is as it was' raw_stops
check 'what the guest wrote is in the overlay' overlay_has_counted 1
check 'the same instance goes on where it was' raw_goes_on
check 'an image that was changed since is refused' changed_image_is_refused
check 'an image that was replaced by an older one is refused' replaced_image_is_refused 0
check 'an image of another size and the same time is refused' replaced_image_is_refused 512
check '--throwaway does not throw away what is kept' kept_is_not_thrown_away --throwaway
check '--rm does not remove what is kept' kept_is_not_thrown_away --rm
check 'stop --forget leaves nothing' raw_is_forgotten
check 'raw image with --write is written to' written_raw_boots
check 'fattened image boots on OVMF, throwaway' throwaway_on_uefi
check_exit 'what does not boot with UEFI is refused, with the way out' 1 'chrimg fatten' boot stock.img --uefi
check 'qcow2 boots, ready when port 22 speaks' qcow2_boots
check 'what the guest wrote is in it' qcow2_was_written_to
check 'compressed qcow2 boots on OVMF, ready by its serial line' compressed_on_uefi
check 'chrimg run: addresses for the command, its status, nothing left' run_gives_addresses

kvm=$(kvm_state)
if [[ $kvm == broken ]]; then
    check 'KVM that does not run guests is not chosen, and it is said' trial_spares_a_start
    check 'KVM that breaks: the machine comes up on TCG, and it is said' falls_back
    check 'the finding is remembered: the next boot does not try' finding_is_cached
else
    skip 'KVM that does not run guests' "KVM here: $kvm"
fi

if command -v qemu-system-aarch64 >/dev/null && [[ -e /usr/share/AAVMF/AAVMF_CODE.fd ]]; then
    check 'an aarch64 image can be made' make_arm_image
    check 'it boots on EDK2' arm_boots
    check 'it hears the power button' arm_stops
else
    skip 'aarch64 image boots on EDK2' 'qemu-system-arm or qemu-efi-aarch64 is not installed'
fi
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
