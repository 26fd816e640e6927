#!/bin/sh
# Names of types and traits that product code defines more than once, with how often and where: a reader who meets such a
# name has to find out which one is meant. Test code, examples and macros of macros are left out.
#
#     tests/names.sh [FOLDER]     the working tree, or another one
cd "${1:-$(dirname "$0")/..}" || exit 1
find . \( -path ./target -o -path ./fuzz -o -name tests -o -name examples -o -name benches -o -name build.rs \) -prune \
    -o -name '*.rs' ! -name tests.rs -path '*/src/*' -print | sort | while read -r file; do
    # What follows `#[cfg(test)] mod` at the left margin is test code to the end of the file.
    awk -v file="${file#./}" '
        /^#\[cfg\(test\)\]/ { held = 1; next }
        held && /^(pub(\([a-z]+\))? )?mod / && /\{/ { exit }
        { held = 0 }
        match($0, /^ *(pub(\([a-z]+\))? )?(struct|enum|trait|union) [A-Za-z0-9_]+/) {
            n = split(substr($0, RSTART, RLENGTH), words, " ")
            print words[n], file
        }' "$file"
done | sort -u | awk '
    { count[$1]++; files[$1] = files[$1] " " $2 }
    END { for (name in count) if (count[name] > 1) printf "%3d %s:%s\n", count[name], name, files[name] }' |
    sort -k1,1nr -k2,2 | awk '{ print } END { print NR " names are defined more than once" }'
