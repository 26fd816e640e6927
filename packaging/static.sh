#!/usr/bin/env bash
# One static file of the command fhec, for any x86-64 Linux: linked with musl, which a C compiler for musl (the package
# musl-tools has musl-gcc) and Rust's standard library for that target build.
#
#     packaging/static.sh [DESTINATION]     target/fhec-static by default
#
# What follows a `--` goes to cargo, such as `-- --no-default-features` for an evaluator without secret-key code.
set -euo pipefail
cd "$(dirname "$0")/.."

destination=target/fhec-static
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    destination=$1
    shift
fi
[ "${1:-}" != -- ] || shift

target=x86_64-unknown-linux-musl
compiler=${CC_x86_64_unknown_linux_musl:-musl-gcc}
if ! command -v "$compiler" >/dev/null; then
    echo "FAILED: $compiler is missing: install musl-tools, or name a C compiler for musl in CC_x86_64_unknown_linux_musl" >&2
    exit 1
fi
rustup target list --installed | grep -qx "$target" || rustup target add "$target"

export CC_x86_64_unknown_linux_musl=$compiler
cargo build --release --target "$target" -p fhec-cli "$@"
mkdir -p "$(dirname "$destination")"
cp "${CARGO_TARGET_DIR:-target}/$target/release/fhec" "$destination"
# A static file has no program interpreter.
if readelf --program-headers "$destination" | grep -q INTERP; then
    echo "FAILED: $destination is not static" >&2
    exit 1
fi
"$destination" --version
ls -l "$destination"
