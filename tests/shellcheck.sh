#!/usr/bin/env bash
# Every shell script of the project passes shellcheck.
. "$(dirname "$0")/lib.sh"
needs_tool shellcheck

scripts=()
while IFS= read -r file; do
    case $(head -n 1 "$file") in
    '#!'*sh) scripts+=("$file") ;;
    esac
done < <(cd "$SRC" && find .ci fixtures imgtool scripts tests -type f \
    ! -name '*.[ch]' ! -name '*.md' | sort | sed "s|^|$SRC/|")

# SC2317: functions that check calls by name look unreachable to it.
check "there are scripts to look at (${#scripts[@]})" test "${#scripts[@]}" -gt 5
for file in "$SRC/tests/lib.sh" "${scripts[@]}"; do
    check "${file#"$SRC"/}" shellcheck -x -P SCRIPTDIR -e SC2317 "$file"
done

done_testing
