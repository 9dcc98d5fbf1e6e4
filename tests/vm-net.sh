#!/bin/bash
# The networks of `chrimg boot`: two machines on one segment, ports of this host that lead into
# a guest, ports that are taken.
# shellcheck disable=SC2317  # functions are called through check
. "$(dirname "$0")/boot/machines.sh"
needs_tool qemu-system-x86_64 jq curl

make_images() {
    make_asking left 'segment=10.9.0.1 10.9.0.2' && make_asking right 'segment=10.9.0.2 10.9.0.1' &&
        make_asking plain
}

boot() { "$CHRIMG" boot --timeout "$patience" --throwaway "$@"; }

# ---- a segment ----

# Each is ready when it hears the other, so none is alone; and none waits for one that failed.
both_boot() {
    local left right result=0
    boot left.img --name left --net user --net socket:lab --ready 'serial:10\.9\.0\.2 answers' >left.said 2>&1 &
    left=$!
    boot right.img --name right --net socket:lab --net user --ready 'serial:10\.9\.0\.1 answers' >right.said 2>&1 &
    right=$!
    wait -n "$left" "$right" || { result=1; kill "$left" "$right" 2>/dev/null; }
    wait "$left" || result=1
    wait "$right" || result=1
    cat left.said right.said
    return "$result"
}

both_answer() { web_comes_up left && web_comes_up right; }

addresses_differ() {
    local macs
    macs=$("$CHRIMG" boot left.img --name left2 --net user --net socket:lab --print &&
        "$CHRIMG" boot right.img --name right2 --net user --net socket:lab --print)
    [[ $(grep -oE 'mac=[0-9a-f:]{17}' <<<"$macs" | sort -u | wc -l) == 4 ]]
}

# Another segment: the peer is not there.
other_segment_is_apart() {
    boot right.img --name apart --net user --net socket:other --ready http || return
    sleep 3
    ! says apart 'answers' && "$CHRIMG" stop --now apart
}

both_stop() { "$CHRIMG" stop --now left && "$CHRIMG" stop --now right && nothing_is_left left && nothing_is_left right; }

# ---- ports ----

# Addresses in hexadecimal, as the kernel writes them, that PORT listens on.
listens_on() { # PORT
    awk -v port=":$(printf '%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { sub(/:.*/, "", $2); print $2 }' \
        /proc/net/tcp /proc/net/tcp6 | sort -u
}

forwards_lead_inside() {
    local web=$1 range=$2
    boot plain.img --name ports --forward "web=$web:80" --forward "$range-$((range + 1)):22-23" \
        --forward "$((range + 2)):69/udp" --forward panel=0:443 >said || return
    cat said
    # What one would paste, by where it leads.
    grep -qE "^  web +http://127\.0\.0\.1:$web\$" said && grep -qE '^  panel +https://127\.0\.0\.1:[0-9]+$' said &&
        grep -qE "^  ssh +ssh -p $range admin@127\.0\.0\.1\$" said &&
        grep -qE "^  69 +127\.0\.0\.1:$((range + 2)) \(UDP\)\$" said &&
        "$CHRIMG" ps | grep -qE "^ports .* 127\.0\.0\.1:$web " || return
    [[ $(curl -s -m 20 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$web/") == 200 ]] || return
    exec 3<>"/dev/tcp/127.0.0.1/$range" && read -r -t 30 -u 3 banner
    exec 3>&-
    [[ $banner == SSH-2.0-standin* ]] || { echo "no banner on $range"; return 1; }
    # For this host alone.
    [[ $(listens_on "$web") == 0100007F ]] || { echo "$web is open on $(listens_on "$web")"; return 1; }
}

# Found before QEMU is started: no log of it, no instance.
taken_port_is_found() { # PORT
    boot plain.img --name second --forward "$1:80" >said 2>&1
    [[ $? == 1 ]] || { cat said; return 1; }
    cat said
    grep -q "$1" said && [[ ! -e $state/second ]]
}

# By a program that is none of ours.
port_of_another_program_is_found() {
    local port holder result
    until [[ $(listens_on "${port:-0}") ]] && kill -0 "$holder"; do
        port=$(free_port)
        "$standin/x86_64/unpacked/bin/busybox" nc -l -p "$port" >/dev/null </dev/null &
        holder=$!
        sleep 0.5
    done
    taken_port_is_found "$port"
    result=$?
    kill "$holder"
    return "$result"
}

# The default ports step aside.
defaults_move_on() {
    boot plain.img --name beside --ready tcp:22 && web_comes_up beside && web_answers ports &&
        [[ $(vm_port beside 80) != $(vm_port ports 80) ]] && "$CHRIMG" stop --now beside
}

listens_where_told() {
    local port
    port=$(free_port)
    boot plain.img --name open --listen 0.0.0.0 --forward "$port:80" && [[ $(listens_on "$port") == 00000000 ]] &&
        "$CHRIMG" stop --now open
}

# The first of three in a row.
free_range() {
    local port
    until port=$(free_port) && [[ ! $(listens_on $((port + 1)))$(listens_on $((port + 2))) ]]; do :; done
    echo "$port"
}

check 'images can be made' make_images
check 'two machines on one segment hear each other' both_boot
check 'and each has its user network as before' both_answer
check 'every port of every machine has its own MAC address' addresses_differ
check 'another segment is apart' other_segment_is_apart
check 'both stop, and nothing is left' both_stop
web=$(free_port)
range=$(free_range)
check 'forwards: by name, a range, UDP; on this host alone' forwards_lead_inside "$web" "$range"
check 'a port of a running machine is taken' taken_port_is_found "$web"
check 'the default ports step aside' defaults_move_on
check 'a port of another program is taken' port_of_another_program_is_found
check 'stop' "$CHRIMG" stop ports
check '--listen opens to others' listens_where_told
check 'nothing is left at all' test -z "$(our_processes)$(find "$runtime" "$state" -mindepth 1 2>/dev/null)"
done_testing
