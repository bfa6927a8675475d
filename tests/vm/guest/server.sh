# Starts and stops the server under test, and reports checks. In: $nic, and $mode, the mode of the
# checks that follow.

# Reports one check: report NAME ok|FAIL [DETAIL].
report() {
    local name=$1 verdict=$2
    shift 2
    echo "check $(uname -r | cut -d+ -f1) $nic $mode $name $verdict $*"
}

# Reports a check by whether a command succeeds; keeps the end of the log if it fails.
check() {
    local name=$1
    shift
    if "$@"; then report "$name" ok; else
        report "$name" FAIL
        grep -v ' listening ' /tmp/log | tail -4 | sed 's/^/    /'
    fi
}

is_dead() { [ ! -d "/proc/$server" ]; }
serves() { grep -q ' serving ' /tmp/log || is_dead; }

# Starts the server in a mode and waits until it serves: start MODE [FLAG]...
start() {
    local requested=$1
    shift
    start_over xdp --xdp-mode "$requested" "$@"
}

# The same over a transport: start_over TRANSPORT [FLAG]...
start_over() {
    local transport=$1
    shift
    : >/tmp/log
    started=$(now)
    /bin/ip netns exec s simoom serve --interface s0 --http 80 --root /www --memcached 11211 \
        --memory 16M --transport "$transport" --cores "${cores:-0-1}" --connections 2000 \
        --drain-timeout 0s --admin 9090 "$@" 2>>/tmp/log &
    server=$!
    until_true 60 serves && ! is_dead
}

# Ends the server by a signal; its exit code.
stop() {
    kill "-$1" "$server"
    wait "$server"
}

chosen() { sed -n 's/.* serving transport=AF_XDP, \([^ ]*\) mode.*/\1/p' /tmp/log; }

# The sum of a counter or gauge over all workers. A label may have a space: "kernel 0".
metric() {
    ns s wget -q -O - http://127.0.0.1:9090/metrics |
        awk -v name="simoom_$1" '{ sub(/\{.*\}/, ""); sub(/_total$/, "", $1) }
            $1 == name { sum += $2 } END { print sum + 0 }'
}

field() { sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\).*/\1/p" /tmp/out | head -1; }

# A load from the client's namespace must end without an error: load URL [FLAG]...
load() {
    timeout -s KILL 60 /bin/ip netns exec c simoom load "$@" --json >/tmp/out 2>/tmp/err
    [ $? = 0 ] && [ "$(field errors)" = 0 ] && [ "$(field responses)" -gt 0 ] && return
    echo "    responses=$(field responses) errors=$(field errors) first=$(field first_error)"
    tail -3 /tmp/err | sed 's/^/    /'
    return 1
}

# The same, over AF_XDP.
xdp_load() { load "$@" --interface c0 --source 198.18.64.1/24 --core 0; }

same_bytes() {
    timeout 30 /bin/ip netns exec c wget -q -O /tmp/got http://198.18.0.1/1m
    cmp -s /tmp/got /www/1m
}

quiet_log() { ! dmesg | grep -E 'WARNING|BUG:|Oops|Call Trace|hung|Unit Hang|NETDEV WATCHDOG'; }
