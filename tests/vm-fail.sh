#!/bin/bash
# Guests that do not become ready: `chrimg boot` says why, and with --rm nothing is left.  A web server
# that is only slow is waited for.
#
# Each boots as soon as the one before it is up, as most of the time they do nothing.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 jq curl

# Guests are up long before, also beside other work.
deadline=30
guests=(no-web mute-web no-network no-disk no-loader power-off slow-web)

make_images() {
    for guest in no-web mute-web no-network power-off; do make_asking "$guest" "$guest" || return; done
    make_asking slow-web slow-web=3 && make_asking no-disk &&
        printf '\xcd\x18' >give-up &&  # INT 18h: the BIOS is to try the next disk
        "$MKCHR" 7.19 no-loader.img --kernel "$standin/BOOTX64.EFI" --mbr give-up
}

start() { # GUEST
    local options=(--timeout "$deadline" --rm)
    case $1 in
    no-disk) options+=(--disk-bus sata) ;;     # for which the guest has no driver
    slow-web) options=(--timeout "$patience" --rm) ;;
    esac
    "$CHRIMG" boot "$1.img" --name "$1" "${options[@]}" >"$1.said" 2>&1
    echo $? >"$1.status"
}

start_all() {
    for guest in "${guests[@]}"; do
        start "$guest" &
        until says "$guest" 'standin: (ready|root is on none)|No bootable device' || [[ -e $guest.status ]]; do sleep 0.1; done
    done
    wait
}

fails_saying() { # GUEST PATTERN
    cat "$1.said"
    [[ $(cat "$1.status") == 1 ]] && grep -qiE "$2" "$1.said"
}

waited_for() { # GUEST
    cat "$1.said"
    [[ $(cat "$1.status") == 0 ]] && web_answers "$1" && says "$1" '0 more answers like that' &&
        "$CHRIMG" stop "$1"
}

check 'images can be made' make_images
check 'they all boot' start_all
check 'nothing listens' fails_saying no-web 'nothing listens'
check 'nothing answers' fails_saying mute-web 'nothing answered|does not answer'
points_at_no_machine() { # GUEST
    cat "$1.said"
    grep -q 'nothing of it is kept' "$1.said" && ! grep -qE "chrimg (console|logs|stop) $1" "$1.said"
}
for guest in no-web no-network no-disk; do check "$guest: no hint at a machine that is gone" points_at_no_machine "$guest"; done
check 'no network' fails_saying no-network 'network'
check 'QEMU ended' fails_saying power-off 'QEMU (has )?(ended|died)|turned (it)?self off'
check 'kernel without a disk' fails_saying no-disk 'no (root partition|disk)'
check 'firmware that finds nothing to boot' fails_saying no-loader 'firmware.* found nothing to boot'
check 'a web server that first answers 503 is waited for' waited_for slow-web
for guest in "${guests[@]}"; do check "nothing is left of $guest" nothing_is_left "$guest"; done
done_testing
