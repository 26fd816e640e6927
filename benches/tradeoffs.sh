#!/usr/bin/env bash
# The figures of docs/accuracy-and-time.md: the convolutional digit network under the options that trade accuracy for time, a row
# of a table for each. Predicted times are those of the built-in profile for two threads, whatever else the machine does.
#
#     benches/tradeoffs.sh [IMAGES.npy LABELS.npy]
#
# The images are the 10,000 of the MNIST test set, pixel / 255, float32 [n, 1, 28, 28]; without them accuracy is left out. FHEC
# names another program than the release build.
set -euo pipefail
cd "$(dirname "$0")/.."

fhec=${FHEC:-target/release/fhec}
[ -n "${FHEC:-}" ] || cargo build --release --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fixed=(models/mnist_cnn.onnx --calibration models/calibration.npz -o "$work/plan.fhe" --force)
[ $# -lt 2 ] || fixed+=(--validation "$1" --labels "$2")

# Of what a compilation prints, the rest of the line that begins with a word.
line() { sed -n "s/^$1 *//p" "$work/report" | head -1; }
row() {
    if "$fhec" "${fixed[@]}" "$@" >"$work/report" 2>"$work/errors"; then
        printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "${*:-(defaults)}" \
            "$(awk '/^relu/ { printf "%s%s", n++ ? ", " : "", $3 }' "$work/report")" \
            "$(line agreement | cut -d' ' -f1-2)" "$(line accuracy | cut -d' ' -f1-2)" "$(line parameters | grep -o '[0-9]* levels')" \
            "$(line time | cut -d' ' -f1-2)" "$(line keys | sed 's/.*keys, \(.*\) in.*/\1/')" "$(line memory | cut -d' ' -f1-2)"
    else
        printf '| %s | refused: %s |\n' "$*" "$(tr '\n' ' ' <"$work/errors" | tr -s ' │×' ' ')"
    fi
}

echo "| options | degrees | agreement, held back | right of 10,000 | levels | predicted time | keys | predicted memory |"
echo "|---|---|---:|---:|---:|---:|---:|---:|"
row
for degree in 2 3 7 15 31; do row --degree $degree; done
for per_cent in 90 99 99.9; do row --min-agreement $per_cent; done
for seconds in 0.05 0.1 0.2 0.4; do row --max-latency $seconds; done
for bytes in 40M 80M 200M; do row --max-keys $bytes; done
for bytes in 400M 600M; do row --max-memory $bytes; done
row --batch 8
for bits in 12 16 20; do row --precision $bits; done
