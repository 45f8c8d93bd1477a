#!/bin/sh
# The tests that start real networks, two files at a time: they wait more than they compute. Beside them, at the lowest
# priority, the simulation's seeds, which take what processor time is left. Usage: slow_tests.sh PYTHON TIMEOUT
set -u
python=$1
log=$(mktemp)
nice -n 19 "$python" -m pytest tests/simulation -m slow --timeout 3600 >"$log" 2>&1 &
seeds=$!
trap 'kill $seeds 2>/dev/null; rm -f "$log"; exit 130' INT TERM
"$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "e2e or slow" --ignore tests/simulation --timeout "$2" \
    --reruns 1 --reruns-delay 2 -rR --durations 40 --durations-min 10
others=$?
echo "Waiting for the simulation's seeds"
wait $seeds
ended=$?
cat "$log"
rm -f "$log"
[ $others = 0 ] && [ $ended = 0 ]
