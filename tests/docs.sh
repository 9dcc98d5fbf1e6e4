#!/usr/bin/env bash
# The man page and README.md say what the program does: its commands, options, JSON and findings,
# and README's example is what comes out.
# shellcheck disable=SC2016  # dollars of jq and sh, back quotes of Markdown
. "$(dirname "$0")/lib.sh"
needs_tool jq man qemu-img e2fsck

page=$SRC/imgtool/chrimg.1
readme=$SRC/README.md
layouts=(7.17 7.19 7.20 fat arm64 raw v6 mbr2)

# check_same NAME FILE FILE: both hold the same lines, and some; the difference is shown.
check_same() {
    local difference
    if [ ! -s "$2" ] || [ ! -s "$3" ]; then
        not_ok "$1" "$2 or $3 is empty"
    elif difference=$(diff "$2" "$3"); then
        ok "$1"
    else
        not_ok "$1" "< $2   > $3" "$difference"
    fi
}

# ---- the man page's source ----

# Lines of the section .Sh NAME, without its heading.
section() {
    awk -v name="$1" '/^\.Sh / { inside = ($0 == ".Sh " name); next } inside' "$page"
}

# Lines of the subsection .Ss NAME of the section on stdin.
subsection() {
    awk -v name="$1" '/^\.Ss / { inside = ($0 == ".Ss " name); next } inside'
}

page_commands() {
    section COMMANDS | sed -n 's/^\.Ss //p' | sort
}

synopsis_commands() {
    section SYNOPSIS | sed -n 's/^\.Cm //p' | grep -vx help | sort -u
}

# ".It Fl o Ar OUT , Fl -output Ar OUT" -> "-o OUT", "--output OUT"; "Ns Op = Ns Ar ALG" -> "[=ALG]",
# "Op Ar B" -> "[B]"; the program leaves the value of the short name out.
page_options() {
    section COMMANDS | subsection "$1" | sed -n 's/^\.It Fl /Fl /p' | sed 's/ , /\n/g' |
        sed -E 's/^Fl /-/; s/ Ns Op = Ns Ar ([A-Z]+)/[=\1]/; s/ Op Ar ([A-Z]+)/ [\1]/; s/ (Ar|Cm) / /g' |
        sort
}

# The options of a command that .Sh SYNOPSIS names, without values; bundled ones one by one.
synopsis_options() {
    section SYNOPSIS | awk -v name="$1" '/^\.Nm/ { next } /^\.Cm / { inside = ($2 == name); next } inside' |
        grep -oE 'Fl [-a-zA-Z]+' | sed 's/^Fl //' |
        while IFS= read -r option; do
            case $option in
            -*) echo "-$option" ;;
            *) grep -o . <<<"$option" | sed 's/^/-/' ;;
            esac
        done | sort
}

# "KEY: TYPE" for each key that the page documents of a command's report.
page_keys() {
    section JSON | subsection "Output of $1" |
        sed -nE 's/^\.It Va ([^ ]+) Pq (.+)$/\1: \2/p' | sort
}

# "ID SEVERITY..." of each finding.
page_findings() {
    section DIAGNOSTICS | subsection Findings | sed -nE 's/^\.It Li ([^ ]+) Pq (.*)/\1 \2/p' | sort
}

page_repairs() {
    section DIAGNOSTICS | subsection Repairs | sed -nE 's/^\.It Li //p' | sort
}

page_remarks() {
    section DIAGNOSTICS | subsection 'Remarks of lint' | sed -nE 's/^\.It Li ([^ ]+) Pq (.*)/\1 \2/p' | sort
}

# Each remark that the unit test of lint has seen, "E1:6 unbalanced-quote" -> "unbalanced-quote error".
tested_remarks() {
    grep -ohE '[EWN][0-9]+:[0-9]+ [a-z0-9-]+' "$SRC/tests/unit/rsc_lint.c" |
        sed -E 's/^E[^ ]* (.*)/\1 error/; s/^W[^ ]* (.*)/\1 warning/; s/^N[^ ]* (.*)/\1 note/' | sort -u
}

# Words with a dash in the sources of lint that look like ids: all ids of the page are there.
source_words() {
    grep -rohE '"[a-z0-9]+(-[a-z0-9]+)*"' "$SRC/lib/rsc" | tr -d '"' | sort -u
}

page_exit_codes() {
    section 'EXIT STATUS' | sed -nE 's/^\.It ([0-9]+)$/\1/p' | sort
}

# ---- the program ----

program_commands() {
    "$CHRIMG" --help | sed -nE 's/^  ([a-z]+) +.*/\1/p' | sort
}

# "  -o, --output OUT      write OUT" -> "-o OUT", "--output OUT"
program_options() {
    "$CHRIMG" "$1" --help | sed -nE 's/^ +(-.*)$/\1/p' | sed -E 's/ {2,}.*//' |
        awk '{ value = ""
               if (match($0, / [^ -][^ ]*$/)) { value = substr($0, RSTART); $0 = substr($0, 1, RSTART - 1) }
               count = split($0, names, ", ")
               for (i = 1; i <= count; i++) print names[i] value }' | sort
}

# "FINDINGS ID" for each id that FILE... can add to a list; ids stand in the call or on the two lines after it.
added_ids() {
    grep -rhE -A2 'findings_add\(' "$@" |
        awk '/findings_add\(/ { list = /repairs/ ? "repairs" : "findings" }
             { while (match($0, /"[a-z0-9]+(-[a-z0-9]+)*"/)) {
                   print list, substr($0, RSTART + 1, RLENGTH - 2)
                   $0 = substr($0, RSTART + RLENGTH) } }' | sort -u
}

# What the commands can find; what only `check` can; what that takes for damage; what it repairs.
info_findings() {
    added_ids "$SRC/lib/part" "$SRC/lib/op/inspect.c" | sed -n 's/^findings //p' | sort -u
}

check_findings() {
    added_ids "$SRC/lib/part" "$SRC/lib/op/check.c" | sed -n 's/^findings //p' | sort -u
}

worse_for_check() {
    sed -n '/const damage\[\] = {/,/};/p' "$SRC/lib/op/check.c" | grep -oE '"[a-z-]+"' | tr -d '"' | sort
}

program_repairs() {
    added_ids "$SRC/lib/op/check.c" | sed -n 's/^repairs //p' | sort -u
}

program_exit_codes() {
    sed -nE 's/^ +EXIT_[A-Z]+ = ([0-9]+),.*/\1/p' "$SRC/imgtool/tool.h" | sort
}

for command in $(program_commands); do
    page_options "$command" >page
    program_options "$command" >program
    check_same "$command: man page and --help have the same options" page program
    # The synopsis need not say -h, nor the long name of what has a short one.
    synopsis_options "$command" | sort -u >synopsis
    "$CHRIMG" "$command" --help | sed -nE 's/^ +(-[^] ,[]+).*/\1/p' | grep -vx -- -h | sort -u >program
    if [ -s program ]; then
        check_same "$command: the synopsis has each option" synopsis program
    else
        check_equal "$command: the synopsis has no option" "$(cat synopsis)" ""
    fi
done
page_commands >page
program_commands >program
synopsis_commands >synopsis
check_same "man page and --help have the same commands" page program
check_same "the synopsis has the same commands" synopsis program
page_findings | sed 's/ .*//' >page
sort -u <(info_findings) <(check_findings) >program
check_same "man page and sources have the same findings" page program
page_findings | sed -n 's/ .*; check$//p' >page
comm -13 <(info_findings) <(check_findings) >program
check_same "man page and sources have the same findings of check alone" page program
section DIAGNOSTICS | subsection Findings | sed '/^\.Bl/,$d' | sed -nE 's/^\.Li ([^ ]+).*/\1/p' | sort >page
comm -23 <(info_findings) <(check_findings) >program
check_same "man page and sources have the same findings of info alone" page program
page_findings | sed -n 's/ .*; damage for check$//p' >page
worse_for_check >program
check_same "man page and sources have the same findings that are damage for check" page program
page_repairs >page
program_repairs >program
check_same "man page and sources have the same repairs" page program
page_remarks >page
tested_remarks >program
check_same "man page and the test of lint have the same remarks" page program
page_remarks | sed 's/ .*//' | sort -u | comm -23 - <(source_words) >missing
check_equal "all remarks of lint are in its sources" "$(cat missing)" ""
page_exit_codes >page
program_exit_codes >program
check_same "man page and sources have the same exit codes" page program

# ---- JSON ----

# report NAME FILE COMMAND...: what the command says as JSON, in reports/NAME/FILE; its exit status too.
report() {
    local file="reports/$1/$2"
    mkdir -p "reports/$1"
    shift 2
    "$CHRIMG" "$@" --json >"$file"
}

# Reports of the commands on every stand-in, in reports/COMMAND/.
make_reports() {
    local layout image status
    for layout in "${layouts[@]}" bad qcow2; do
        image=$layout.img
        case $layout in
        bad) "$MKCHR" 7.19 "$image" --bad-gpt both || return 1 ;;
        qcow2)
            "$MKCHR" 7.19 raw.img && qemu-img convert -O qcow2 raw.img "$image" &&
                qemu-img snapshot -c first "$image" && rm raw.img || return 1
            ;;
        *) "$MKCHR" "$layout" "$image" || return 1 ;;
        esac
        report info "$layout" info "$image" || return 1
        report extract "$layout" extract "$image" -o "files.$layout" || return 1
        # RouterOS 6 has no EFI loader.
        [ "$layout" = v6 ] || report fatten "$layout" fatten -n "$image" || return 1
        status=0
        report check "$layout" check "$image" || status=$?
        [ "$layout:$status" = bad:3 ] || [ "$status" = 0 ] || return 1
        rm -rf "$image" "files.$layout"
    done
    make_reports_of_conversions && make_reports_of_snapshots && make_reports_of_resizes &&
        make_reports_of_repairs && make_reports_of_lint &&
        make_reports_of_files && make_reports_of_machines
}

make_reports_of_files() {
    printf '/ip dns set servers=192.0.2.53\r\n' >crlf.rsc
    mkdir -p up/sub && echo text >up/sub/file
    "$MKCHR" 7.19 files.img &&
        report inject dry inject -n files.img crlf.rsc --file up &&
        report inject written inject files.img crlf.rsc --boot crlf.rsc:/x.rsc &&
        report ls root ls -R files.img &&
        report ls boot ls files.img:boot:/ &&
        report cp in cp -r up files.img:/up &&
        report cp dry cp -n crlf.rsc files.img:/y &&
        report cp out cp -r files.img:/up out &&
        report rm dry rm -n -r files.img:/up &&
        report rm removed rm -r files.img:/up &&
        rm -r files.img crlf.rsc up out
}

make_reports_of_conversions() {
    "$MKCHR" 7.19 raw.img &&
        report convert qcow2 convert raw.img ours.qcow2 &&
        report convert raw convert ours.qcow2 again.img &&
        report convert vmdk convert raw.img foreign.vmdk &&
        rm again.img foreign.vmdk
}

# Of ours.qcow2 and raw.img, with a disk that has changed in between.
make_reports_of_snapshots() {
    echo '# changed' >autorun.scr
    "$MKCHR" 7.19 changed.img --autorun autorun.scr --boot-file autorun.scr:new.txt &&
        report 'snapshot -l' none snapshot ours.qcow2 &&
        report 'snapshot -c, -a and -d' create snapshot -c first ours.qcow2 &&
        qemu-img convert -n -O qcow2 changed.img ours.qcow2 &&
        report 'snapshot --diff' now snapshot --diff first ours.qcow2 &&
        report 'snapshot -c, -a and -d' apply snapshot -a first ours.qcow2 &&
        report 'snapshot -c, -a and -d' apply-only snapshot -a first --no-keep ours.qcow2 &&
        report 'snapshot --diff' two snapshot --diff 2 first ours.qcow2 &&
        report 'snapshot -l' two snapshot -l ours.qcow2 &&
        report 'snapshot -c, -a and -d' delete snapshot -d 2 ours.qcow2 &&
        rm raw.img changed.img ours.qcow2 autorun.scr
}

make_reports_of_resizes() {
    "$MKCHR" 7.19 raw.img &&
        report resize dry resize -n raw.img 1G &&
        report resize tables resize --tables-only raw.img 200M &&
        report resize grown resize raw.img +100M &&
        report resize same resize raw.img +0 &&
        rm raw.img
}

# A machine that is started and stopped; it need not get anywhere. Where there is no QEMU, only what runs without.
make_reports_of_machines() {
    local status=0
    export XDG_RUNTIME_DIR=$WORK/r XDG_STATE_HOME=$WORK/s XDG_CACHE_HOME=$WORK/c
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    report doctor host doctor || [ $? -eq 1 ] || return 1
    command -v qemu-system-x86_64 >/dev/null || return 0
    "$MKCHR" 7.19 raw.img &&
        report 'boot and restart' boot boot --name docs --ready none raw.img &&
        report ps running ps &&
        report 'boot and restart' restart restart --now docs || status=1
    report stop now stop --now docs &&
        report ps off ps -a &&
        report wait off wait docs &&
        report stop off stop --forget docs && rm raw.img && return "$status"
}

make_reports_of_repairs() {
    "$MKCHR" 7.19 bad.img --bad-gpt backup && report check gpt check --repair all bad.img && rm bad.img
}

make_reports_of_lint() {
    printf ':put 1\n' >good.rsc
    printf '\xEF\xBB\xBFadd\n:put "\n' >bad.rsc
    report lint good lint good.rsc && { report lint bad lint bad.rsc good.rsc || [ $? = 1 ]; } &&
        rm good.rsc bad.rsc
}

# "PATH: KEY KEY ..." for each object, with [] for an index: the same for all images, if all is well.
objects_of() {
    jq -r 'path(..) as $path | getpath($path) | objects |
        ([$path[] | if type == "number" then "[]" else "." + . end] | add // "" | ltrimstr(".")) as $name |
        "\($name): \(keys | join(" "))"' "reports/$1"/* | sort -u
}

objects_of_page() {
    page_keys "$1" | sed 's/: .*//' |
        awk '{ at = match($0, /\.[^.]*$/)
               parent = at ? substr($0, 1, at - 1) : ""; key = at ? substr($0, at + 1) : $0
               keys[parent] = keys[parent] " " key }
             END { for (parent in keys) print parent ":" keys[parent] }' |
        while IFS= read -r line; do
            echo "${line%%:*}: $(tr ' ' '\n' <<<"${line#*: }" | LC_ALL=C sort | paste -sd ' ')"
        done | sort
}

# "KEY: TYPE" for each value that is there, the types as the page words them.
types_of() {
    jq -r 'def kind: if type == "number" then if . == floor then "integer" else "number" end
               elif type != "array" then type
               elif length == 0 then "array" else "array of " + (map(type |
                   if . == "number" then "integer" else . end) | unique | join(", ")) end;
        paths as $path | select($path[-1] | type == "string") |
        ([$path[] | if type == "number" then "[]" else "." + . end] | add | ltrimstr(".")) as $name |
        "\($name): \(getpath($path) | kind)"' "reports/$1"/* | sort -u
}

# Each type that occurs is one of those that the page allows.
types_allowed() {
    local key type allowed wrong=0
    while IFS=: read -r key type; do
        type=${type# }
        allowed=$(page_keys "$1" | sed -n "s/^${key//[\[\].]/\\&}: //p" | sed 's/ or /\n/g')
        if ! grep -qxE -- "$type( of .*)?" <<<"$allowed"; then
            echo "$key is $type; the man page says: ${allowed//$'\n'/ or }"
            wrong=1
        fi
    done < <(types_of "$1")
    return "$wrong"
}

check "reports of all stand-ins" make_reports
for folder in reports/*; do
    command=${folder#*/}
    page_keys "$command" | uniq -d >twice
    check_equal "$command --json: no key is documented twice" "$(cat twice)" ""
    objects_of "$command" >program
    objects_of_page "$command" >page
    check_same "$command --json: exactly the keys of the man page" page program
    check "$command --json: the types of the man page" types_allowed "$command"
    check "$command --json: schema 1" \
        sh -c 'jq -es "map(.schema == 1) | all" reports/"$1"/* >/dev/null' - "$command"
done

# ---- how help looks ----

for command in $(program_commands); do
    check_equal "$command --help: 80 columns are enough" \
        "$("$CHRIMG" "$command" --help | awk 'length > 80')" ""
done
# Options with what they do beside them: all at one column.
check_equal "inject --help: one column for what options do" \
    "$("$CHRIMG" inject --help | sed -nE 's/^( +-.* {2,})[^ ].*/\1/p' | awk '{ print length }' | sort -u | wc -l)" 1

# ---- how the man page looks ----

renders() {
    local messages
    messages=$(MANWIDTH=$1 man --warnings -l "$page" 2>&1 >rendered)
    [ -z "$messages" ] && [ -s rendered ] && return 0
    echo "$messages"
    return 1
}

# Whether other pages are installed is no matter of this one.
lint() {
    local messages
    messages=$(mandoc -T lint "$page" 2>&1 | grep -F "$page" | grep -v 'referenced manual not found')
    [ -z "$messages" ] && return 0
    echo "$messages"
    return 1
}

check "man page renders without warnings, 80 columns" renders 80
check "no line is wider" test "$(wc -L <rendered)" -le 80
check "man page renders without warnings, 50 columns" renders 50
if command -v mandoc >/dev/null; then
    check "mandoc finds nothing to say" lint
else
    skip "mandoc finds nothing to say" "mandoc is not installed"
fi

# ---- README ----

# Indented code, and what stands between back quotes outside of blocks.
readme_code() {
    sed '/^```/,/^```/d' "$readme" | sed -nE 's/^    (.*)/\1/p'
    sed '/^```/,/^```/d' "$readme" | grep -v '^    ' | grep -oE '`[^`]+`' | tr -d '`'
    sed -nE '/^```console/,/^```$/s/^\$ //p' "$readme"
}

# Code lines that begin with a command and go on, as "sudo make install   # why" -> "make install".
readme_lines() {
    readme_code | sed -E 's/^(\$|sudo) //; s/ +#.*//' | grep -E -- "^$1 " | sort -u
}

chrimg_line_exists() {
    local command=$1 word
    shift
    case $command in
    COMMAND) return 0 ;;
    esac
    program_commands | grep -qx -- "$command" || return 1
    for word; do
        case $word in
        --) return 0 ;; # what follows is not ours
        -*) program_options "$command" | sed 's/[ [].*//' | grep -qx -- "${word%%=*}" || return 1 ;;
        esac
    done
}

make_line_exists() {
    local word
    for word; do
        case $word in
        -*) ;;
        build/*) grep -qF "\$(BUILD)/${word#build/}:" "$SRC/Makefile" || return 1 ;;
        *) grep -qE "^$word:" "$SRC/Makefile" || return 1 ;;
        esac
    done
}

while read -r _ command rest; do
    read -ra words <<<"$rest"
    check "README: chrimg $command $rest" chrimg_line_exists "$command" "${words[@]}"
done < <(readme_lines chrimg)
while read -r _ rest; do
    read -ra words <<<"$rest"
    check "README: make $rest" make_line_exists "${words[@]}"
done < <(readme_lines make)
while IFS= read -r script; do
    check "README: $script can be run" test -x "$SRC/$script"
done < <(readme_code | grep -oE '^(scripts|tests)/[a-z-]+' | sort -u)

# Folders of the layout's table, and links.
while IFS= read -r path; do
    check "README: $path is there" test -e "$SRC/$path"
done < <({
    sed -nE 's/^\| `([a-z]+\/[^`]*)`.*/\1/p' "$readme"
    grep -oE '\]\([^)#:]+\)' "$readme" | sed 's/^](//; s/)$//'
} | sort -u)

sed -nE 's/^\| `chrimg ([a-z]+).*/\1/p' "$readme" | sort >page
program_commands >program
check_same "README's table has each command" page program

# Exit codes: the same in both documents.
page_exit_codes >page
sed -nE 's/^\| ([0-9]+) \|.*/\1/p' "$readme" >program
check_same "README and man page have the same exit codes" page program

check "README: what to install for building is in install-deps" sh -c '
    for package in $(sed -nE "s/^    (gcc make .*)/\1/p" "$1"); do
        sed -n "/^packages=(/,/^)/p" "$2" | grep -qw -- "$package" || { echo "$package"; exit 1; }
        found=yes
    done
    [ "$found" ]' - "$readme" "$SRC/scripts/install-deps"

# ---- README's example ----

# Space on the host depends on its file system, sizes of what is compressed on the library, and times on the clock.
without_host() {
    sed -E 's/\([0-9.]+ [KM]iB on disk\)/(... on disk)/
            s/[0-9.]+ [KM]iB on disk$/... on disk/
            /^chrimg: (emulated[:,] |KVM does not run guests)/d
            s/ up after [0-9.]+ s: (.*) [a-z]+$/ up after TIME: \1 ACCEL/
            s/127.0.0.1:[0-9]+/127.0.0.1:PORT/
            s/ssh -p [0-9]+/ssh -p PORT/
            s/before-apply-[0-9]{8}-[0-9]{6}/before-apply-TIME/
            s/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}( .*-) +[0-9.]+ [KM]iB$/DATE\1 SIZE/'
}

# Each command of the block with the lines that README shows of it, as N.command and N.wanted.
split_example() {
    sed -n '/^```console/,/^```$/p' "$readme" | grep -v '^```' |
        awk '/^\$ / { n++; print substr($0, 3) >(n ".command"); printf "" >(n ".wanted"); next }
             { print >(n ".wanted") }'
}

# What stands between two [...] must be there, line after line; no [...] at the end: it ends there.
as_shown() {
    awk 'NR == FNR { got[++count] = $0; next }
         $0 == "[...]" { skipping = 1; next }
         { at++
           while (skipping && at <= count && got[at] != $0) at++
           if (got[at] != $0 || at > count) { print "README: " $0; print "program: " got[at]; bad = 1; exit }
           skipping = 0 }
         END { if (!bad && !skipping && at < count) { print "more: " got[at + 1]; bad = 1 }
               exit bad }' "$1" "$2"
}

run_example() {
    local number command
    # Alone, as the image that is meant is looked for.
    mkdir example
    cd example || return 1
    ln -s "$BUILD" build
    split_example
    [ -e 1.command ] || return 1
    for ((number = 1; ; number++)); do
        [ -e "$number.command" ] || return 0
        command=$(cat "$number.command")
        # The Makefile is not here; what it makes is.
        case $command in
        'make '*) continue ;;
        'scripts/'*) command="$SRC/$command" ;;
        esac
        # From here on the example is about a machine.
        case $command in *scripts/standin*)
            if ! command -v qemu-system-x86_64 >/dev/null || ! command -v nasm >/dev/null; then return 0; fi
            ;;
        esac
        if ! PATH=$BUILD:$PATH bash -c "$command" >got 2>&1; then
            cat got
            return 1
        fi
        without_host <got >"$number.got"
        without_host <"$number.wanted" >wanted
        as_shown "$number.got" wanted || return 1
    done
}

export XDG_RUNTIME_DIR=$WORK/r XDG_STATE_HOME=$WORK/s XDG_CACHE_HOME=$WORK/c
[ -d "$XDG_RUNTIME_DIR" ] || mkdir -m 700 "$XDG_RUNTIME_DIR"
check "README: the example is what comes out" run_example
# What a failed one may have left.
for name in $("$CHRIMG" ps --json | jq -r '.instances[].name'); do
    "$CHRIMG" stop --now "$name" >/dev/null
done

done_testing
