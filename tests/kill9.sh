#!/usr/bin/env bash
# Kills keygen, encrypt, eval and compile with SIGKILL at random moments and looks at what is left:
#   FHEC=target/release/fhec REPO=. bash tests/kill9.sh [TIMES [COMMAND...]]
# After every kill no file has changed that was there, every file that appeared is whole, and the next start leaves nothing
# unfinished in the folder. Prints one line per command and fails at the first fault.
set -euo pipefail
fhec=$(realpath "${FHEC:?}"); repo=$(realpath "${REPO:?}"); times=${1:-50}
commands=("${@:2}"); [ ${#commands[@]} -gt 0 ] || commands=(keygen encrypt eval compile)
models=$repo/models
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
fail() { echo "FAILED: $*" >&2; ls -la >&2; exit 1; }

"$fhec" "$models/mnist_mlp.onnx" --calibration "$models/calibration.npz" -o p.fhe >/dev/null
"$fhec" keygen p.fhe --secret a.key --evaluation a.ev >/dev/null
"$fhec" encrypt p.fhe --secret a.key --input "$models/digits.npy" --limit 6 -o x.ct >/dev/null
"$fhec" eval p.fhe --evaluation a.ev --input x.ct -o y.ct >/dev/null
"$fhec" decrypt p.fhe --secret a.key --input y.ct -o y.npy >/dev/null
b3() { sha256sum p.fhe a.key a.ev x.ct y.ct; }
before=$(b3)

command_of() {
    case $1 in
        keygen) echo "$fhec keygen p.fhe --secret n.key --evaluation n.ev" ;;
        encrypt) echo "$fhec encrypt p.fhe --secret a.key --input $models/digits.npy --limit 2 -o n.ct" ;;
        eval) echo "$fhec eval p.fhe --evaluation a.ev --input x.ct -o n.out" ;;
        compile) echo "$fhec $models/mnist_mlp.onnx --calibration $models/calibration.npz -o n.fhe" ;;
    esac
}

# What appeared is whole: it loads, and does what it is for.
whole() {
    [ ! -e n.fhe ] || cmp -s n.fhe p.fhe || fail "a plan that differs"
    [ ! -e n.out ] || cmp -s n.out y.ct || fail "results that differ"
    [ ! -e n.ct ] || "$fhec" eval p.fhe --evaluation a.ev --input n.ct -o /dev/null >/dev/null || fail "ciphertexts that do not load"
    [ ! -e n.ev ] || [ -e n.key ] || fail "evaluation keys whose secret key is lost"
    [ ! -e n.key ] || "$fhec" encrypt p.fhe --secret n.key --input "$models/digits.npy" --limit 1 -o n.one >/dev/null || fail "a secret key that does not load"
    [ ! -e n.ev ] || "$fhec" eval p.fhe --evaluation n.ev --input n.one -o /dev/null >/dev/null || fail "evaluation keys that do not load"
}

for name in "${commands[@]}"; do
    command=$(command_of "$name")
    start=$(date +%s%N); $command >/dev/null; took=$((($(date +%s%N) - start) / 1000000))
    rm -f n.*
    killed=0; finished=0; left=0; unfinished=0
    for _ in $(seq "$times"); do
        $command >/dev/null 2>&1 & pid=$!
        sleep "$(awk -v ms="$took" -v r="$RANDOM" 'BEGIN { printf "%.4f", ms * 1.1 * r / 32768 / 1000 }')"
        if kill -9 "$pid" 2>/dev/null; then killed=$((killed + 1)); else finished=$((finished + 1)); fi
        wait "$pid" 2>/dev/null || true
        left=$((left + $(find . -name '.fhec-*' | wc -l)))
        [ ! -e n.out.partial ] || unfinished=$((unfinished + 1))
        # The next start: it sweeps, and an evaluation goes on from what is kept.
        "$fhec" report p.fhe -o n.html >/dev/null
        [ -z "$(find . -name '.fhec-*')" ] || fail "$name: something is left after the next start"
        if [ "$name" = eval ]; then
            # Where the results are there already it refuses to replace them.
            $command >/dev/null 2>&1 || [ -e n.out ] || fail "eval does not go on"
        fi
        [ ! -e n.out.partial ] || fail "partial results are left after the evaluation"
        [ "$(b3)" = "$before" ] || fail "$name: a file that was there has changed"
        whole
        rm -f n.*
    done
    echo "$name: $took ms; killed $killed of $times, $finished had ended; $left unfinished files with a name before the next start, 0 after; $unfinished times partial results, all resumed to equal bytes"
done
