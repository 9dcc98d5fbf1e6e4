# Machines that `chrimg boot` starts, for tests.  Sourcing it sources lib.sh of this folder and of tests, and gives the
# script runtime, state, cache and configuration folders of its own: what the user has is neither seen nor touched.
# No machine outlives the script.
# shellcheck shell=bash disable=SC2317  # functions are called through check and check_boot

# shellcheck source=boot/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Not below $WORK: paths of sockets are short.
private=$(mktemp -d /tmp/vm.XXXXXX) || exit 1
mkdir -p "$private"/{run,state,cache,config,tmp}
chmod 700 "$private/run"
export XDG_RUNTIME_DIR=$private/run XDG_STATE_HOME=$private/state XDG_CACHE_HOME=$private/cache
export XDG_CONFIG_HOME=$private/config TMPDIR=$private/tmp
runtime=$XDG_RUNTIME_DIR/chrimg
state=$XDG_STATE_HOME/chrimg
root_offset=$((65570 * 512))

# Seconds that a boot may take where other work runs beside.
patience=240

# ---- processes ----

# Those whose arguments name something of ours; not the script itself.
our_processes() {
    local file pid
    for file in /proc/[0-9]*/cmdline; do
        pid=${file//[!0-9]/}
        if [[ $pid != "$$" && $pid != "$BASHPID" ]] &&
            grep -qaF -e "$private" -e "$WORK" "$file" 2>/dev/null; then
            echo "$pid"
        fi
    done
}

end_machines() {
    local pid
    for pid in $(our_processes); do kill -9 "$pid" 2>/dev/null; done
    rm -rf "$private"
}
trap 'status=$?; stop_qemu; end_machines; (exit $status); tap_end' EXIT

show_processes() { # PID...
    local pid
    for pid; do tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c -300; echo; done
}

# ---- what is there, and what is left ----

# A value of `chrimg ps -a --json` for instance NAME.
vm_value() { # NAME JQ-FILTER
    "$CHRIMG" ps -a --json | jq -r --arg name "$1" ".instances[] | select(.name == \$name) | $2"
}

vm_pid() { vm_value "$1" '.pid // empty'; }
vm_port() { vm_value "$1" ".endpoints[] | select(.guest_port == $2) | .port"; } # NAME GUEST-PORT

serial_log() { echo "$state/$1/serial.log"; } # NAME

says() { grep -aqE "$2" "$(serial_log "$1")" 2>/dev/null; } # NAME PATTERN

wait_until_it_says() { # NAME PATTERN
    local deadline=$((SECONDS + patience))
    until says "$1" "$2"; do
        ((SECONDS < deadline)) || { echo "$1 never said $2"; return 1; }
        sleep 0.2
    done
}

# Its web server answers on the port that ps shows.
web_answers() { # NAME
    local port
    port=$(vm_port "$1" 80)
    [[ $(curl -s -m 20 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/") == 200 ]] ||
        { echo "no HTTP 200 from port $port of $1"; return 1; }
}

# The same for a machine that was ready by something else.
web_comes_up() { # NAME
    local deadline=$((SECONDS + patience))
    until web_answers "$1" >/dev/null; do
        ((SECONDS < deadline)) || { web_answers "$1"; return; }
        sleep 0.3
    done
}

# Nothing of instance NAME runs, listens or waits to be removed; what it kept on purpose may be there.
is_off() { # NAME
    local left
    left=$(our_processes)
    if [[ $left ]]; then
        echo "processes are left: $left"
        # shellcheck disable=SC2086  # one word each
        show_processes $left
        return 1
    fi
    left=$(find "$private" -type s; find "$runtime" -mindepth 1 2>/dev/null; find "$TMPDIR" -mindepth 1)
    [[ ! $left ]] || { echo "files are left: $left"; return 1; }
    [[ $(vm_value "$1" .running) != true ]] || { echo "ps says that $1 runs"; return 1; }
}

nothing_is_left() { # NAME
    is_off "$1" || return
    [[ ! -e $state/$1 ]] || { echo "left of $1:"; find "$state/$1"; return 1; }
    [[ ! $(vm_value "$1" .name) ]] || { echo "ps shows $1"; return 1; }
}

# ---- contents ----

# The file PATH of the root partition, as other programs read it from a disk that a guest has left: a copy of
# the partition, whose journal e2fsck replays.
root_file() { # IMAGE FORMAT PATH
    rm -f "$WORK/seen.raw" "$WORK/seen.root"
    qemu-img convert -f "$2" -O raw "$1" "$WORK/seen.raw" &&
        dd if="$WORK/seen.raw" of="$WORK/seen.root" iflag=skip_bytes bs=1M conv=sparse \
            skip="$root_offset" status=none || return
    rm -f "$WORK/seen.raw"
    e2fsck -fy "$WORK/seen.root" >"$WORK/seen.fsck" 2>&1
    echo $? >"$WORK/seen.status"
    debugfs -R "cat $3" "$WORK/seen.root" 2>/dev/null
}

boots_counted() { root_file "$1" "$2" /rw/boots | grep -c booted; } # IMAGE FORMAT

# ---- images ----

# NAME.img: the stock image with requests to the guest, each "FILE" or "FILE=TEXT" in its rw.
make_asking() { # NAME REQUEST...
    local name=$1 request options=()
    shift
    for request; do
        case $request in
        *=*) printf '%s\n' "${request#*=}" >"ask-${request%%=*}" ;;
        *) : >"ask-$request" ;;
        esac
        options+=(--root-file "ask-${request%%=*}:rw/${request%%=*}")
    done
    make_stock "${options[@]}" && { [[ $name == stock ]] || mv stock.img "$name.img"; }
}
