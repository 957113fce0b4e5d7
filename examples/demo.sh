#!/bin/sh
# Starts the demo shop and testudo in front of it, and stops both together.
# Usage: [SHOP=127.0.0.1:PORT] examples/demo.sh BIN [testudo up flags...]
set -eu
bin=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
at=${SHOP:-127.0.0.1:8081}

"$bin/shop" --listen "$at" &
shop=$!
trap 'kill $shop 2>/dev/null || true; wait $shop 2>/dev/null || true' EXIT INT TERM

"$bin/testudo" up --demo --config "$here/demo.yaml" --protect "http://$at" --scan "${here%/*}" "$@"
