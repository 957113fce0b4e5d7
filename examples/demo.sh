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
"$bin/testudo" up --demo --config "$here/demo.yaml" --protect "http://$at" --scan "${here%/*}" "$@" &
testudo=$!

# Ctrl-C reaches testudo from the terminal, kill by this; it drains, and the shop goes after it.
trap ':' INT
trap 'kill -TERM $testudo 2>/dev/null || true' TERM
trap 'kill $shop 2>/dev/null || true; wait $shop 2>/dev/null || true' EXIT

status=0
while :; do
	wait $testudo && status=0 || status=$?
	kill -0 $testudo 2>/dev/null || break # a signal ends the wait, not testudo
done
exit $status
