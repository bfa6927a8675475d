# What the scripts of a guest share.
export PATH=/bin

# The shell of busybox would take its own applet.
ip() { /bin/ip "$@"; }

# Runs a command in the network namespace s (server) or c (client).
ns() {
    local name=$1
    shift
    ip netns exec "$name" "$@"
}

# Seconds since the guest has booted.
now() { cut -d' ' -f1 /proc/uptime; }

# Tries a condition, a shell command, ten times a second for some seconds: until SECONDS COMMAND.
until_true() {
    local tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        usleep 100000
    done
}

has_carrier() { [ "$(ns "$1" cat "/sys/class/net/${1}0/carrier" 2>/dev/null)" = 1 ]; }
