#!/usr/bin/env bash
# `chrimg lint` as people and editors use it: exit codes, messages, JSON, standard input.
# shellcheck disable=SC2016  # dollars of jq and of RouterOS
. "$(dirname "$0")/lib.sh"
needs_tool jq

cat >good.rsc <<'END'
# a bridge and an address
/interface bridge
add name=bridge1 comment="LAN; not # a comment"
/ip address
add address={{ ip }}/24 \
    interface=bridge1
/user add name=joe group=full password="{{ env://ROUTER_PASSWORD }}"
/user remove [find name=admin]
:foreach i in=[/ip address find] do={ :put "address $[/ip address get $i address]" }
END
cat >bad.rsc <<'END'
add address=192.0.2.1/24
/ipp address print
:put "never closed
END
echo '/system reboot' >warning.rsc
printf '/ip address\r\nprint\r\n' >windows.rsc

# silent NAME COMMAND...: exits with 0 and says nothing.
silent() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1) && [ -z "$output" ]; then
        ok "$name"
    else
        not_ok "$name" "$output"
    fi
}

# ---- exit codes and messages ----

silent "a good script: nothing to say" "$CHRIMG" lint good.rsc
silent "an empty one" "$CHRIMG" lint /dev/null
odd=$'two\nlines\e[31m.rsc'
cp bad.rsc "$odd"
check_exit "a name is on one line, and steers no terminal" 1 \
    '^two\\x0alines\\x1b\[31m\.rsc:1:1: error: add' "$CHRIMG" lint "$odd"
check_equal "each finding is one line" "$("$CHRIMG" lint "$odd" | wc -l)" 3
rm "$odd"
check_exit "an empty name" 2 'name of a script is empty' "$CHRIMG" lint ''
check_exit "closed standard input" 1 'cannot read standard input' sh -c '"$CHRIMG" lint - <&-'
printf '\357\273\277/ip address\n' >one.rsc
printf '\357\273\277/ip route\n' >two.rsc
check_exit "files that were joined, with a mark each" 0 '^<stdin>:1:1: note: 2 byte order marks' \
    sh -c 'cat one.rsc two.rsc | "$CHRIMG" lint -'
check_exit "each file has its own" 0 '^two.rsc:1:1: note: the byte order mark' "$CHRIMG" lint one.rsc two.rsc
check_exit "errors: exit status 1" 1 '^bad\.rsc:1:1: error: add is no command here' \
    "$CHRIMG" lint bad.rsc
check_exit "the nearest menu" 1 '^bad\.rsc:2:1: warning: /ipp .* is /ip meant\?' "$CHRIMG" lint bad.rsc
check_exit "an open quote" 1 '^bad\.rsc:3:6: error: this " is never closed' "$CHRIMG" lint bad.rsc
check_exit "warnings alone: exit status 0" 0 '^warning\.rsc:1:1: warning: ' "$CHRIMG" lint warning.rsc
check_exit "notes alone: exit status 0" 0 '^windows\.rsc:1:1: note: 2 lines end in CR LF' \
    "$CHRIMG" lint windows.rsc
check_exit "several files" 1 '^bad\.rsc:1:1: error' "$CHRIMG" lint good.rsc bad.rsc
check_equal "findings are data: on standard output" "$("$CHRIMG" lint bad.rsc 2>/dev/null | wc -l)" 3
check_equal "nothing is on standard error" "$("$CHRIMG" lint bad.rsc 2>&1 >/dev/null)" ""
check "every line is FILE:LINE:COLUMN: SEVERITY: TEXT" sh -c \
    '! "$CHRIMG" lint bad.rsc windows.rsc warning.rsc | grep -vE "^[a-z]+\.rsc:[0-9]+:[0-9]+: (error|warning|note): "'

# Who is removed in one file may be replaced in the next.
echo '/user remove admin' >remove.rsc
echo '/user add name=joe group=full' >add.rsc
check_exit "the last user" 0 'remove\.rsc:1:1: warning: .*no user is left' "$CHRIMG" lint remove.rsc
silent "not with another file" "$CHRIMG" lint remove.rsc add.rsc

# ---- wrong usage, wrong files ----

check_exit "no file" 2 'name the scripts' "$CHRIMG" lint
check_exit "an unknown option" 2 'there is no option --fix' "$CHRIMG" lint --fix good.rsc
check_exit "standard input twice" 2 'once only' "$CHRIMG" lint - - </dev/null
check_exit "a missing file" 1 'cannot open none\.rsc' "$CHRIMG" lint none.rsc
check_exit "a folder" 2 'is a folder, not a script' "$CHRIMG" lint .
check_exit "an image by mistake" 1 '/dev/zero is larger than 4096 KiB' "$CHRIMG" lint /dev/zero
printf '/ip\0address\n' >nul.rsc
check_exit "a NUL byte" 1 '^nul\.rsc:1:4: error: this is a NUL byte' "$CHRIMG" lint nul.rsc
printf '\377\376/\0i\0p\0' >utf16.rsc
check_exit "UTF-16" 1 '^utf16\.rsc:1:1: error: .*UTF-16' "$CHRIMG" lint utf16.rsc
printf '# caf\351\n/caf\351 print\n' >latin1.rsc
check_exit "Latin-1 in a comment: the router gets it" 1 \
    '^latin1\.rsc:1:6: warning: this byte is not UTF-8; the router gets it as it is$' "$CHRIMG" lint latin1.rsc
check_exit "in code it is an error" 1 '^latin1\.rsc:2:5: error: this is not UTF-8' "$CHRIMG" lint latin1.rsc
check "nothing is printed that is not UTF-8" sh -c '"$CHRIMG" lint latin1.rsc | iconv -f UTF-8 -t UTF-8'
check "nor in JSON" sh -c '"$CHRIMG" lint --json latin1.rsc |
    jq -e "[.findings[].text] | any(contains(\"/caf? is no menu\"))"'
printf '/\033cx\302\233y print\n' >escape.rsc
check_exit "control characters are not printed raw" 0 '/.x1bcx.xc2.x9by is no menu' \
    "$CHRIMG" lint escape.rsc
check "not one" sh -c '! "$CHRIMG" lint escape.rsc | LC_ALL=C grep -q "[[:cntrl:]]"'

printf 'set name=x\n' >set.rsc
check_exit "no /set is suggested" 1 '^set\.rsc:1:1: error: .*no menu is chosen$' \
    "$CHRIMG" lint set.rsc

# ---- standard input ----

check_exit "standard input" 1 '^<stdin>:1:1: error: ' "$CHRIMG" lint - <bad.rsc
printf 'hunter2 hunter2\n/hunter2 print\n:hunter2\nhunter2=hunter2\n{{ hunter2! }}\n"hunter2\n' >secret.rsc
check_exit "a file is quoted" 1 'hunter2' "$CHRIMG" lint secret.rsc
for option in "" --json; do
    # shellcheck disable=SC2086
    "$CHRIMG" lint $option - <secret.rsc >output 2>&1
    check_equal "what is piped in is not quoted${option:+, $option}" "$(grep -c hunter2 output)" 0
    check "but is judged${option:+, $option}" grep -q 'error' output
done

check_equal "nor is a pipe with a name" "$("$CHRIMG" lint <(cat secret.rsc) 2>&1 | grep -c hunter2)" 0

# ---- JSON ----

check "JSON of a good script" sh -c '"$CHRIMG" lint --json good.rsc |
    jq -e ". == {schema: 1, files: [\"good.rsc\"], errors: 0, warnings: 0, findings: []}"'
"$CHRIMG" lint --json bad.rsc good.rsc - <windows.rsc >report
check_equal "JSON: exit status as without" $? 1
check "JSON: counts, files and places" jq -e '.errors == 2 and .warnings == 1 and
    .files == ["bad.rsc", "good.rsc", "<stdin>"] and
    (.findings[0] | .file == "bad.rsc" and .line == 1 and .column == 1 and
        .severity == "error" and .id == "not-a-command") and
    (.findings[-1] | .file == "<stdin>" and .severity == "note" and .id == "crlf")' report
cp bad.rsc $'caf\351 "x".rsc'
check "JSON: any name of a file" sh -c '"$CHRIMG" lint --json "$1" | jq -e ".errors == 2"' - \
    $'caf\351 "x".rsc'

# ---- references are not resolved ----

cat >refs.rsc <<'END'
:put "{{ cmd://run }} {{ op://vault/item/field }} {{ file:///nonexistent }} {{ key }}"
END
mkdir bin
printf '#!/bin/sh\ntouch "%s/was-run"\n' "$PWD" >bin/op
chmod +x bin/op
silent "references need not have a value" env PATH="$PWD/bin:$PATH" "$CHRIMG" lint refs.rsc
check "no program is run" test ! -e was-run
check_exit "but must have a form that is known" 1 '^x\.rsc:1:6: error: \{\{ htp://x \}\} is not a reference' \
    sh -c 'echo ":put {{ htp://x }}" >x.rsc; "$CHRIMG" lint x.rsc'

# ---- a value in a string that is run ----

printf '%s\n' '/system scheduler add name=x on-event="set password=\"{{ env://S }}\""' >code.rsc
check_exit "a reference in code that is a string" 1 \
    '^code\.rsc:1:55: error: .*run as code.*; in a block, as in on-event=\{' "$CHRIMG" lint code.rsc
printf '%s\n' '/system scheduler add name=x on-event={ /user set admin password="{{ env://S }}" }' >code.rsc
silent "in a block it is a value" "$CHRIMG" lint code.rsc

# ---- what would be written literally ----

printf '%s\n' '/user set admin comment="CORP\{{ env://U }}"' >literal.rsc
check_exit "a reference behind a backslash" 1 'error: a reference cannot .*; \\\\ is a backslash' \
    "$CHRIMG" lint literal.rsc
printf '%s\n' '/user set admin comment="{{' 'env://U }}"' >literal.rsc
check_exit "a reference over two lines" 1 '^literal\.rsc:1:26: error: a reference stands on one line' \
    "$CHRIMG" lint literal.rsc

# ---- large and odd input ends ----

# 400 000 bytes and more of each of these; the blanks of a block become the text.
printf -v block '%400s' ''
for text in '{{' '{{ x }}' '"' '[' '(' '{' $'\x5c' $'\n' '{{ env://' 'a ' '[find ' '}]' $'\\\n' '/a ' '$[' '"$['; do
    for ((i = 0; i < 1000; i++)); do printf '%s' "${block// /"$text"}"; done >large.rsc
    timeout 20 "$CHRIMG" lint large.rsc >output 2>&1
    status=$?
    case $status in
    0 | 1) ok "much of $(printf %q "$text")" ;;
    *) not_ok "much of $(printf %q "$text")" "exit status $status" "$(head -c 300 output)" ;;
    esac
done

done_testing
