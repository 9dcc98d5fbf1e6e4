#!/usr/bin/env bash
# Zip files that lie, as chr-*.img.zip are given to chrimg.
. "$(dirname "$0")/../lib.sh"
needs_tool zip unzip

SECONDS_ALLOWED=30
KIB_ALLOWED=262144

limited() (
    if ! under_sanitizer "$CHRIMG"; then ulimit -v $KIB_ALLOWED; fi
    exec timeout "$SECONDS_ALLOWED" "$@"
)

# judge NAME FILE STATUS PATTERN: both commands must exit with one of STATUS and say PATTERN.
#
# STATUS INFO/FATTEN: what `info` need not see, which does not read all of the zip.
judge() {
    local name=$1 file=$2 wanted pattern command status reason
    for command in "info $file" "fatten -n $file -o never.img"; do
        wanted=$3 pattern=$4
        case $command in
        info*) if [ "${3%/*}" = 0 ]; then wanted=0 pattern=; fi ;;
        *) wanted=${3#*/} ;;
        esac
        # shellcheck disable=SC2086 # names without spaces
        limited "$CHRIMG" $command >output 2>&1
        status=$?
        reason=
        case "|$wanted|" in
        *"|$status|"*) ;;
        *) reason="exit status $status, wanted $wanted" ;;
        esac
        grep -qE -- "$pattern" output || reason="${reason:+$reason; }nothing matches /$pattern/"
        if [ -z "$reason" ]; then
            ok "$name: ${command%% *}"
        else
            not_ok "$name: ${command%% *}" "$reason" "$(head -c 2000 output)"
        fi
    done
}

le() { # BYTES VALUE
    local i
    for ((i = 0; i < $1; i++)); do
        # shellcheck disable=SC2059 # the format is the byte
        printf "\\x$(printf %02x $((($2 >> (8 * i)) & 255)))"
    done
}

# change FILE OFFSET BYTES VALUE: and it must be another value than before.
change() {
    cp "$1" before.change
    le "$3" "$4" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
    if cmp -s before.change "$1"; then
        not_ok "byte $2 of $1 can be changed" "it holds $4 already"
    fi
}

# Where the first PK\1\2 (central folder) and PK\5\6 (end) of FILE are.
central_of() {
    LC_ALL=C grep -obUaP 'PK\x01\x02' "$1" | tail -n 1 | cut -d: -f1
}
end_of() {
    LC_ALL=C grep -obUaP 'PK\x05\x06' "$1" | tail -n 1 | cut -d: -f1
}

# A zip of one member, made by hand: NAME METHOD CRC PACKED SIZE <DATA
hand_made() {
    local name=$1 method=$2 crc=$3 packed=$4 size=$5 central
    {
        printf 'PK\003\004'
        le 2 20; le 2 0; le 2 "$method"; le 4 0; le 4 "$crc"; le 4 "$packed"; le 4 "$size"
        le 2 ${#name}; le 2 0
        printf %s "$name"
        cat
    } >made.zip
    central=$(stat -c %s made.zip)
    {
        printf 'PK\001\002'
        le 2 20; le 2 20; le 2 0; le 2 "$method"; le 4 0; le 4 "$crc"; le 4 "$packed"; le 4 "$size"
        le 2 ${#name}; le 2 0; le 2 0; le 2 0; le 2 0; le 4 0; le 4 0
        printf %s "$name"
        printf 'PK\005\006'
        le 2 0; le 2 0; le 2 1; le 2 1; le 4 $((46 + ${#name})); le 4 "$central"; le 2 0
    } >>made.zip
    mv made.zip "$6"
}

"$MKCHR" 7.19 chr.img
zip -q good.img.zip chr.img
judge "the good zip" good.img.zip 0 ''

cp good.img.zip crc.img.zip
change crc.img.zip 14 4 0x12345678
change crc.img.zip $(($(central_of crc.img.zip) + 16)) 4 0x12345678
judge "wrong CRC" crc.img.zip 0/3 'CRC|checksum'

cp good.img.zip flip.img.zip
change flip.img.zip 9000000 8 0x123456789abcdef0
judge "damaged data" flip.img.zip 0/3 'CRC|checksum|compress|zip'

zip -q -P secret encrypted.img.zip chr.img
judge "encrypted" encrypted.img.zip 1 'encrypt|password'

cp chr.img other.img
zip -q -1 two.img.zip chr.img other.img
judge "two images" two.img.zip '1|2|3' 'one|two|2 |more than'

printf 'read me\n' >readme.txt
zip -q text.img.zip readme.txt
judge "no image in it" text.img.zip '1|3' 'partition table|no image|bytes'

mkdir folder.img
zip -q folder.img.zip folder.img
judge "a folder in it" folder.img.zip '1|3' 'no image|no file|folder|bytes'

{ printf 'PK\005\006'; le 2 0; le 2 0; le 2 0; le 2 0; le 4 0; le 4 0; le 2 0; } >nothing.img.zip
judge "nothing in it" nothing.img.zip '1|3' 'no image|no file|no member|empty|holds'

head -c 20000000 good.img.zip >cut.img.zip
judge "cut short" cut.img.zip '1|3' 'zip'

cp good.img.zip smaller.img.zip
change smaller.img.zip 22 4 1000000
change smaller.img.zip $(($(central_of smaller.img.zip) + 24)) 4 1000000
judge "larger than it says" smaller.img.zip 3 'zip|size|CRC'

cp good.img.zip larger.img.zip
change larger.img.zip 22 4 0xf0000000
change larger.img.zip $(($(central_of larger.img.zip) + 24)) 4 0xf0000000
judge "smaller than it says" larger.img.zip 0/3 'zip|size|shorter|end'

cp good.img.zip packed.img.zip
change packed.img.zip $(($(central_of packed.img.zip) + 20)) 4 0xf0000000
judge "a packed size past the file" packed.img.zip '1|3' 'zip'

cp good.img.zip offset.img.zip
change offset.img.zip $(($(end_of offset.img.zip) + 16)) 4 0xfffffff0
judge "its folder outside the file" offset.img.zip '1|3' 'zip'

cp good.img.zip count.img.zip
change count.img.zip $(($(end_of count.img.zip) + 8)) 2 60000
change count.img.zip $(($(end_of count.img.zip) + 10)) 2 60000
judge "60000 members promised" count.img.zip '1|3' 'zip'

# 600 MiB of zeros in 600 KB: read within the memory limit, and no disk image.
truncate -s 600M zeros.img
zip -q bomb.img.zip zeros.img
rm zeros.img
judge "a bomb of zeros" bomb.img.zip '1|3' 'partition table'

head -c 4000 /dev/zero | hand_made disk.img 99 0 4000 4000 method.img.zip
judge "an unknown compression method" method.img.zip '1|3' 'method|compress|not supported'

head -c 4000 /dev/zero | hand_made disk.img 8 0 4000 134217728 rubbish.img.zip
judge "deflated rubbish" rubbish.img.zip '1|3' 'zip|compress|CRC|data'

head -c 4096 chr.img | hand_made $'../../\033[2J' 0 0 4096 4096 name.img.zip
limited "$CHRIMG" info name.img.zip >output 2>&1
status=$?
check "a name that climbs and clears the screen: status $status" test $status -ge 1 -a $status -le 3
check "a name that climbs and clears the screen: is not printed raw" \
    eval '! LC_ALL=C grep -q $'"'"'\033'"'"' output'

zip -q inner.zip readme.txt
mv inner.zip inner.img
zip -q nested.img.zip inner.img
judge "a zip in a zip" nested.img.zip '1|3' 'zip|partition table|bytes'

yes 'PK' | head -c 100000 >fake.img.zip
judge "only its name is zip" fake.img.zip '1|3' 'zip|partition table'

check "nothing was written" test ! -e never.img

done_testing
