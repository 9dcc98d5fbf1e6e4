#!/bin/bash
# `chrimg inject`, seen from inside: the guest boots and shows the very bytes that were injected,
# whatever holds the image; after `snapshot -a` the old ones are back.
# shellcheck disable=SC2317  # functions are called through check and check_boot
. "$(dirname "$0")/boot/lib.sh"
needs_tool qemu-system-x86_64 qemu-img debugfs
if [[ ! (-e $ovmf_code && -e $ovmf_vars) ]]; then skip_all "OVMF is not installed"; fi

root_offset=$((65570 * 512))

# ---- the configuration ----

# All that a shell, a terminal or a file system could take for something else.
make_scripts() {
    local long
    long=$(printf 'x%.0s' {1..3000})
    cat >base.rsc <<'RSC'
/system identity set name="stand-in: $HOME `id` \\ \" \$x %d\r\n"
/ip address add address=192.0.2.1/24 interface=ether1 comment="größer, 日本語, ~ ^ [ ] { }"
/ip dns set servers=192.0.2.53,192.0.2.54
RSC
    cat >site.rsc <<RSC
	/system note set note="a tab before, blanks behind"   
/system script add name=long source="$long"
/system clock set time-zone-name=Europe/Berlin
RSC
    # Of many blocks, and no newline at its end.
    for ((i = 0; i < 400; i++)); do
        printf '/ip firewall address-list add list=many address=198.51.%d.%d comment="entry %d"\n' \
            $((100 + i / 250)) $((i % 250)) "$i"
    done >many.rsc
    printf '/system logging add topics=info action=memory' >>many.rsc
    head -c 70000 /dev/urandom >upload
    : >show-files
}

# ---- images ----

make_images() {
    make_scripts
    make_stock --root-file show-files:rw/show-files || return
    "$CHRIMG" fatten --require-bios stock.img -o fat.img &&
        "$CHRIMG" convert stock.img plain.qcow2 &&
        "$CHRIMG" fatten --require-bios -c stock.img -o small.qcow2 &&
        cp plain.qcow2 kept.qcow2 && cp stock.img before.img
}

# The file as a reader of another house finds it in the image.
autorun_in() { # IMAGE FORMAT
    local raw=$1
    if [[ $2 == qcow2 ]]; then
        raw=seen.raw
        rm -f seen.raw
        qemu-img convert -f qcow2 -O raw "$1" seen.raw || return
    fi
    debugfs -R 'cat /rw/autorun.scr' "$raw?offset=$root_offset" 2>/dev/null
}

# ---- boots ----

boot_until_shown() { # IMAGE FORMAT FIRMWARE
    # What the guest writes is thrown away.
    local disk_options=format=$2,snapshot=on
    boot_until_serial "$1" "$3" "$boot_timeout" 'chrimg-files-end' 'standin: root is on none' &&
        autorun_bytes "$serial" >shown
}

# The commands of the sources, without the lines that name the sources and lead back to the top menu: nothing lost,
# nothing changed.
same_commands() { # FILE SOURCE...
    local file=$1 source
    shift
    for source; do
        cat "$source"
        [[ ! $(tail -c 1 "$source") ]] || echo
    done >wanted.commands
    grep -avE '^(#.*|/|)$' "$file" | cmp - wanted.commands
}

# FILE is whole on the disk, names each source, and what the guest read is it.
shows_injected() { # IMAGE FORMAT FIRMWARE SOURCE...
    local image=$1 format=$2 boots_on=$3
    shift 3
    boot_until_shown "$image" "$format" "$boots_on" || return
    autorun_in "$image" "$format" >wanted
    cmp shown wanted && same_commands shown "$@" || return
    for source; do
        grep -a '^#' shown | grep -qF "${source##*/}" || { echo "no comment names $source"; return 1; }
    done
}

inject_and_boot() { # IMAGE FORMAT FIRMWARE SOURCE...
    local image=$1 sources=("${@:4}")
    "$CHRIMG" inject --replace "$image" "${sources[@]}" && shows_injected "$@"
}

shows_the_old_one() { # IMAGE FORMAT FIRMWARE
    boot_until_shown "$@" && printf '%s\n' "$autorun_line" | cmp - shown
}

# --file and --put: what sha256sum says in the guest.
inject_files_and_boot() { # IMAGE FORMAT FIRMWARE
    local sum
    "$CHRIMG" inject --file upload:first.bin --put upload:/rw/deep/er/second.bin "$1" || return
    boot_until_shown "$@" || return
    sum=$(sha256sum <upload | cut -d' ' -f1)
    tr -d '\r' <"$serial" | grep -a "^$sum  rw/" >found
    grep -qx "$sum  rw/deep/er/second.bin" found && grep -q "/first.bin\$" found
}

kept_image_is_injected() {
    "$CHRIMG" snapshot -c clean kept.qcow2 && inject_and_boot kept.qcow2 qcow2 bios base.rsc many.rsc
}

apply_brings_back() {
    "$CHRIMG" snapshot -a clean kept.qcow2 && shows_the_old_one kept.qcow2 qcow2 bios &&
        qemu-img check -q -f qcow2 kept.qcow2
}

untouched() { "$CHRIMG" inject stock.img base.rsc; [[ $? == 1 ]] && cmp stock.img before.img; }

check 'images can be made' make_images
check 'a configuration that is there is not replaced unasked' untouched
check_boot 'raw: the guest shows the very bytes' bios inject_and_boot stock.img raw bios base.rsc
check_boot 'fattened raw, on UEFI: of two sources' uefi inject_and_boot fat.img raw uefi base.rsc site.rsc
check_boot 'qcow2: of many blocks' bios inject_and_boot plain.qcow2 qcow2 bios many.rsc site.rsc
check_boot 'compressed qcow2' bios inject_and_boot small.qcow2 qcow2 bios site.rsc base.rsc many.rsc
check_boot 'qcow2 with a snapshot' bios kept_image_is_injected
check_boot 'snapshot -a brings the old configuration back' bios apply_brings_back
check_boot 'files of --file and --put are in the guest' bios inject_files_and_boot plain.qcow2 qcow2 bios
check 'the images are sound after all' qemu-img check -q -f qcow2 plain.qcow2
check 'the compressed one too' qemu-img check -q -f qcow2 small.qcow2
done_testing
